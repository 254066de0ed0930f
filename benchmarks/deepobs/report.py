"""What do the trainings on DeepOBS's problems say, in tables?

Everything comes from the files in the folder of results alone.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.deepobs import beside
from benchmarks.deepobs.compare import best, ends_by_rate
from benchmarks.deepobs.pictures import Tuned, draw
from benchmarks.deepobs.problem import Problem
from benchmarks.deepobs.problems import PROBLEMS
from benchmarks.deepobs.runs import read
from benchmarks.optimizers import OPTIMIZERS
from benchmarks.store import Record
from benchmarks.tables import table

OUT, PAGE = Path(__file__).parents[1], Path(__file__).with_name("page.md")
# Copies of CIFAR-10 whose checksum is known.
COPIES = {"9f6540ce": "recompressed as JPEG"}
WORDS = {"constant": "constant", "cosine": "lowered to 0 by a cosine"}


def write(folder: Path, out: Path) -> None:
    """Writes DEEPOBS.md and its pictures."""
    known = {name: read(folder / f"{name}.jsonl") for name in PROBLEMS}
    sections = [
        section(kind(), found, out)
        for name, kind in PROBLEMS.items()
        for found in groups(kind(), known[name])
    ]
    page = PAGE.read_text(encoding="utf-8").format(
        tolerances=beside.tolerances(),
        **beside.published(known, folder),
        **beside.quoted(known["quadratic_deep"]),
        sections="\n".join(sections),
    )
    out.mkdir(parents=True, exist_ok=True)
    (out / "DEEPOBS.md").write_text(page, encoding="utf-8")
    print(f"wrote {out / 'DEEPOBS.md'}")


def groups(problem: Problem, records: list[Record]) -> Iterator[list[Tuned]]:
    """Yields what can be compared: trainings of one data, schedule and length."""
    mine = [r for r in records if r["optimizer"] in OPTIMIZERS]
    kinds = {(*like(r), r["epochs"]) for r in mine if "curves" in r}
    for *kind, epochs in sorted(kinds):
        alike = [r for r in mine if like(r) == tuple(kind)]
        found = [tuned(problem, alike, name, epochs) for name in OPTIMIZERS]
        if complete := [one for one in found if one]:
            yield complete


def like(record: Record) -> tuple[str, str]:
    """Returns the data and the schedule of a training."""
    return record["data"] or "", record["schedule"]


def tuned(
    problem: Problem, records: list[Record], name: str, epochs: int
) -> Tuned | None:
    """Returns an optimizer, if its trainings of this length are complete."""
    mine = [r for r in records if r["optimizer"] == name]
    shorter = [r for r in mine if "last" in r and r["epochs"] <= epochs]
    length = max((r["epochs"] for r in shorter), default=0)
    tuning = [r for r in shorter if r["epochs"] == length]
    rate = best(problem, tuning) if tuning else None
    long = [r for r in mine if "curves" in r and r["epochs"] == epochs]
    seeds = [r for r in long if r["rate"] == rate]
    return Tuned(name, tuning, seeds, epochs) if seeds else None


def section(problem: Problem, found: list[Tuned], out: Path) -> str:
    """Returns the text of a problem, and draws its picture."""
    data, schedule = like(found[0].seeds[0])
    copy = f", {COPIES.get(data, f'files of checksum {data}')}" if data else ""
    name = problem.name
    if schedule != "constant":
        name = f"{name}-{schedule}-{found[0].epochs}"
    draw(problem, found, out / "figures" / "deepobs" / f"{name}.png")
    unit = ", %" if problem.metric == "accuracy" else ""
    head = ["", "rate", f"test {problem.metric}{unit}", "epochs", "good rates"]
    return (
        f"### {problem.title}{copy} (`{problem.name}`)\n\n"
        f"{measured_on(problem, found)} The learning rate is {WORDS[schedule]}.\n\n"
        f"{table(head, rows(problem, found))}"
        f"![{problem.title}](figures/deepobs/{name}.png)\n"
    )


def measured_on(problem: Problem, found: list[Tuned]) -> str:
    """Returns how much was trained, and on what."""
    first = found[0]
    rates = {r["rate"] for one in found for r in one.tuning}
    every = [r for one in found for r in one.tuning + one.seeds]
    machines = "; ".join(sorted({r["machine"] for r in every}))
    sign = "≥" if problem.sign > 0 else "≤"
    target = "none is set" if problem.target is None else f"{sign} {problem.target:g}"
    hessian = "" if problem.hessian is None else f"Hessian {problem.hessian}, "
    shorter = first.tuning[0]["epochs"]
    tuning = "" if shorter == first.epochs else f" of {plural(shorter, 'epoch')}"
    return (
        f"{hessian}{plural(first.epochs, 'epoch')} (DeepOBS: {problem.epochs}), "
        f"batches of {problem.batch_size}; {len(rates)} learning rates from "
        f"{min(rates):g} to {max(rates):g}, 1 tuning seed{tuning}, "
        f"{plural(len(first.seeds), 'final seed')}. Target: {target}. Trained on "
        f"{machines}."
    )


def plural(count: int, word: str) -> str:
    """Returns how many there are."""
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def rows(problem: Problem, found: list[Tuned]) -> Iterator[list[str]]:
    """Yields a row for each optimizer, the best and what is within its noise bold."""
    curves = [one.curves(f"test_{problem.metric}") for one in found]
    means = [problem.sign * x[:, -1].mean() for x in curves]
    top = curves[int(np.nanargmax(means))][:, -1]
    good = good_rates(problem, found)
    for one, curve, count in zip(found, curves, good, strict=True):
        words = shown(problem, curve[:, -1])
        if near(top, curve[:, -1]):
            words = f"**{words}**"
        rate, tried = one.seeds[0]["rate"], [r["rate"] for r in one.tuning]
        edge = " (edge)" if rate in (min(tried), max(tried)) else ""
        label, epochs = OPTIMIZERS[one.name].label, reached(problem, curve)
        yield [label, f"{rate:g}{edge}", words, epochs, f"{count}"]


def near(best: np.ndarray, values: np.ndarray) -> bool:
    """Whether the mean difference, seed by seed, is within two standard errors.

    A seed is the same start and the same batches for all optimizers.
    """
    if len(values) == 1 or len(best) != len(values):
        return False
    off = best - values
    return bool(abs(off.mean()) <= 2 * off.std(ddof=1) / len(off) ** 0.5)


def shown(problem: Problem, values: np.ndarray) -> str:
    """Returns mean and, of several, standard error, accuracies in percent."""
    if not np.isfinite(values).all():
        return "not finite"
    x = values * (100 if problem.metric == "accuracy" else 1)
    error = f" ± {x.std(ddof=1) / len(x) ** 0.5:.2f}" if len(x) > 1 else ""
    return f"{x.mean():.2f}{error}"


def reached(problem: Problem, curves: np.ndarray) -> str:
    """Returns the median epochs to the target, and how many seeds reach it."""
    if problem.target is None:
        return "–"
    there = problem.sign * curves >= problem.sign * problem.target
    epochs = np.where(there.any(1), there.argmax(1), np.inf)
    count, median = int(there.any(1).sum()), np.median(epochs)
    some = f" ({count} of {len(curves)})" if 0 < count < len(curves) else ""
    return f"{median:g}{some}" if np.isfinite(median) else f"–{some}"


def good_rates(problem: Problem, found: list[Tuned]) -> list[int]:
    """Returns at how many learning rates each optimizer is nearly as good as any."""
    ends = [np.array(list(ends_by_rate(problem, x.tuning).values())) for x in found]
    top = np.nanmax(problem.sign * np.concatenate(ends))
    start = problem.sign * found[0].curves(f"valid_{problem.metric}")[:, 0].mean()
    line = top - (top - start) / 10
    return [int((problem.sign * x >= line).sum()) for x in ends]
