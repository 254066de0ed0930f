"""What do the trainings on DeepOBS's problems say, in tables and pictures?

Everything comes from the files in the folder of results alone.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter

from benchmarks import looks
from benchmarks.deepobs.compare import best, means_by_rate
from benchmarks.deepobs.problem import Problem
from benchmarks.deepobs.problems import PROBLEMS
from benchmarks.deepobs.runs import curve_of
from benchmarks.optimizers import OPTIMIZERS
from benchmarks.store import Record, read
from benchmarks.tables import table

OUT = Path(__file__).parents[1]
INTRODUCTION = """# Results on DeepOBS's own problems

`python -m benchmarks deepobs` makes this page of the files in `results/deepobs` alone,
where every line is one training. `README.md` says what it means, in its last section.
The learning rate is constant. The one with the best last validation metric is trained
again with new seeds, whose mean ± standard deviation on test data is shown. "Epochs":
how many the median seed takes to the target on test data, and how many of the seeds
reach it where not all do. "Good rates": of how many learning rates the last validation
value is nearer to the best of all optimizers than a tenth of the progress of that one.
Bold is the best of several seeds, and what differs from it, seed by seed, by less than
two standard errors.

"""


class Tuned(NamedTuple):
    """The trainings of one optimizer on one problem."""

    name: str
    tuning: list[Record]
    seeds: list[Record]
    epochs: int


def write(folder: Path, out: Path) -> None:
    """Writes DEEPOBS.md and its pictures."""
    parts = [INTRODUCTION]
    for kind in PROBLEMS.values():
        problem = kind()
        records = read(folder / f"{problem.name}.jsonl")
        if found := tuned(problem, records):
            parts += section(problem, found, out)
    if len(parts) > 1:
        (out / "DEEPOBS.md").write_text("".join(parts))
        print(f"wrote {out / 'DEEPOBS.md'}")


def tuned(problem: Problem, records: list[Record]) -> list[Tuned]:
    """Returns what is complete, each optimizer at its greatest length."""
    found = []
    for name in OPTIMIZERS:
        mine = [r for r in records if r["optimizer"] == name]
        epochs = max((r["epochs"] for r in mine if "curves" in r), default=0)
        mine = [r for r in mine if r["epochs"] == epochs]
        tuning = [r for r in mine if "last" in r]
        if tuning:
            rate = best(problem, tuning)
            seeds = [r for r in mine if "curves" in r and r["rate"] == rate]
            found += [Tuned(name, tuning, seeds, epochs)] if seeds else []
    return found


def section(problem: Problem, found: list[Tuned], out: Path) -> Iterator[str]:
    """Yields the text of a problem, and draws its picture."""
    yield f"## {problem.title} (`{problem.name}`)\n\n{measured_on(problem, found)}\n\n"
    unit = ", %" if problem.larger_is_better else ""
    head = ["", "rate", f"test {problem.metric}{unit}", "epochs", "good rates"]
    yield table(head, rows(problem, found))
    draw(problem, found, out / "figures" / "deepobs" / f"{problem.name}.png")
    yield f"![{problem.name}](figures/deepobs/{problem.name}.png)\n\n"


def measured_on(problem: Problem, found: list[Tuned]) -> str:
    """Returns how much was trained, and on what."""
    first = found[0]
    rates = {r["rate"] for one in found for r in one.tuning}
    seeds = {r["seed"] for one in found for r in one.tuning}
    every = [r for one in found for r in one.tuning + one.seeds]
    machines = "; ".join(sorted({r["machine"] for r in every}))
    sign = "≥" if problem.larger_is_better else "≤"
    target = "none is set" if problem.target is None else f"{sign} {problem.target:g}"
    hessian = "" if problem.hessian is None else f"Hessian {problem.hessian}, "
    return (
        f"{hessian}{plural(first.epochs, 'epoch')} of {problem.epochs}, batches of "
        f"{problem.batch_size}; {len(rates)} learning rates from {min(rates):g} to "
        f"{max(rates):g}, {plural(len(seeds), 'tuning seed')}, "
        f"{plural(len(first.seeds), 'seed')}. Target: {target}. {machines}."
    )


def plural(count: int, word: str) -> str:
    """Returns how many there are."""
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def rows(problem: Problem, found: list[Tuned]) -> list[list[str]]:
    """Returns a row for each optimizer, the best and what is within its noise bold."""
    ends = {one.name: last(problem, one) for one in found}
    sign = 1 if problem.larger_is_better else -1
    top = max(ends, key=lambda name: sign * finite_mean(ends[name], sign))
    good = good_rates(problem, found)
    lines = []
    for one in found:
        values = ends[one.name]
        words = f"{shown(problem, values)}"
        if len(values) > 1 and near(ends[top], values):
            words = f"**{words}**"
        rate = one.seeds[0]["rate"]
        edge = " (edge)" if rate in ends_of(one) else ""
        label = OPTIMIZERS[one.name].label
        line = [label, f"{rate:g}{edge}", words, reached(problem, one)]
        lines.append([*line, f"{good[one.name]}"])
    return lines


def last(problem: Problem, one: Tuned) -> np.ndarray:
    """Returns the last test metric of each seed."""
    name = f"test_{problem.metric}"
    return np.array([curve_of(r, name, one.epochs)[-1] for r in one.seeds])


def finite_mean(values: np.ndarray, sign: int) -> float:
    """Returns the mean, or the worst number there is."""
    return float(values.mean()) if np.isfinite(values).all() else -sign * np.inf


def near(best: np.ndarray, values: np.ndarray) -> bool:
    """Whether the mean difference, seed by seed, is within two standard errors.

    A seed is the same start and the same batches for all optimizers.
    """
    if len(best) != len(values) or not np.isfinite(best - values).all():
        return False
    off = best - values
    error = off.std(ddof=1) / np.sqrt(len(off)) if len(off) > 1 else 0.0
    return bool(abs(off.mean()) <= 2 * error)


def shown(problem: Problem, values: np.ndarray) -> str:
    """Returns mean and, of several, standard deviation, accuracies in percent."""
    if not np.isfinite(values).any():
        return "–"
    scale = 100 if problem.larger_is_better else 1
    fine = scale * values[np.isfinite(values)]
    lost = len(values) - len(fine)
    failed = f" ({lost} not finite)" if lost else ""
    spread = f" ± {fine.std(ddof=1):.2f}" if len(fine) > 1 else ""
    return f"{fine.mean():.2f}{spread}{failed}"


def reached(problem: Problem, one: Tuned) -> str:
    """Returns the median epochs to the target, and how many seeds reach it."""
    if problem.target is None:
        return "–"
    sign = 1 if problem.larger_is_better else -1
    name = f"test_{problem.metric}"
    curves = [sign * curve_of(r, name, one.epochs) for r in one.seeds]
    first = [np.flatnonzero(curve >= sign * problem.target) for curve in curves]
    epochs = [int(x[0]) for x in first if len(x)]
    if len(epochs) < len(curves) / 2:
        return f"– ({len(epochs)} of {len(curves)})" if epochs else "–"
    every = sorted(epochs) + [one.epochs + 1] * (len(curves) - len(epochs))
    median = f"{np.median(every):g}"
    some = f" ({len(epochs)} of {len(curves)})"
    return median + (some if len(epochs) < len(curves) else "")


def ends_of(one: Tuned) -> tuple[float, float]:
    """Returns the smallest and the largest rate that were tried."""
    tried = [r["rate"] for r in one.tuning]
    return min(tried), max(tried)


def good_rates(problem: Problem, found: list[Tuned]) -> dict[str, int]:
    """Returns at how many learning rates each optimizer is nearly as good as any."""
    means = {one.name: means_by_rate(problem, one.tuning, "valid") for one in found}
    sign = 1 if problem.larger_is_better else -1
    finite = [sign * x for m in means.values() for x in m.values() if np.isfinite(x)]
    start = sign * np.mean(
        [curve_of(r, f"valid_{problem.metric}", 0)[0] for r in found[0].seeds]
    )
    line = max(finite) - (max(finite) - start) / 10
    return {
        name: sum(bool(sign * x >= line) for x in m.values())
        for name, m in means.items()
    }


def draw(problem: Problem, found: list[Tuned], path: Path) -> None:
    """Draws the learning curves and the sensitivity to the learning rate."""
    figure = Figure(figsize=(11, 5.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    for one in found:
        look = looks.line(OPTIMIZERS[one.name].label)
        draw_curves(left, problem, one, look)
        means = means_by_rate(problem, one.tuning, "valid")
        right.plot(list(means), list(means.values()), marker="o", markersize=3, **look)
    looks.finish(left, "epoch", f"test {problem.metric}")
    looks.finish(right, "learning rate", f"last validation {problem.metric}")
    left.xaxis.set_major_locator(MaxNLocator(integer=True))
    right.set(xscale="log")
    right.xaxis.set_minor_formatter(NullFormatter())
    if problem.target is not None:
        left.axhline(problem.target, color="gray", linestyle=":")
    limit(left, right, problem, found)
    dotted = "" if problem.target is None else " (dotted: the target)"
    figure.suptitle(
        f"{problem.title}: median and quartiles of the seeds at the best learning rate"
        f"{dotted}, and what every rate ends with"
    )
    handles = left.get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=5, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(looks.png(figure, 110))


def draw_curves(axes: Axes, problem: Problem, one: Tuned, look: dict[str, Any]) -> None:
    """Draws the median over seeds, and their quartiles as a band."""
    name = f"test_{problem.metric}"
    curves = np.array([curve_of(r, name, one.epochs) for r in one.seeds])
    if np.isfinite(curves).all():
        lower, median, upper = np.percentile(curves, (25, 50, 75), axis=0)
        epochs = np.arange(curves.shape[1])
        axes.fill_between(epochs, lower, upper, color=look["color"], alpha=0.1, lw=0)
        axes.plot(epochs, median, **look)


def limit(left: Axes, right: Axes, problem: Problem, found: list[Tuned]) -> None:
    """Shows the last tenth of the progress on the left, and all of it on the right."""
    first = [curve_of(one.seeds[0], f"test_{problem.metric}", 0) for one in found]
    start = float(np.mean(first))
    ends = [last(problem, one).mean() for one in found]
    best = np.nanmax(ends) if problem.larger_is_better else np.nanmin(ends)
    for axes, share in ((left, 0.1), (right, 1.0)):
        worst, top = best + share * (start - best), best - share * (start - best) / 20
        axes.set_ylim(*sorted((worst, top)))
