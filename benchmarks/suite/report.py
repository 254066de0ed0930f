"""What do the results of `run` say, in tables and pictures?

Everything comes from the files in the folder of results alone; nothing is trained. It
writes RESULTS.md, one screen, and behind it a page for each problem and each other
budget in `pages`, with the pictures in `figures`.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from benchmarks import cli, store
from benchmarks.suite import markdown, pictures, statistics
from benchmarks.suite.problems import problems
from benchmarks.suite.statistics import is_toy, split
from benchmarks.suite.tasks import BUDGETS

# The first that is complete and tuned leads.
PUBLISHED = ("full", "small", "one-shot")
METRIC = """Test metric: mean ± standard error over the seeds. **Bold** is the best of a
problem; in *italics* is what may be as good, since the 95 % interval of its difference
to the best, seed by seed, contains 0. A training failed if it ended with a number that
is not finite, lost half of the best progress that it had made, or made less than half
of the progress of Adam.

"""
COMPARED = """## Pairs of optimizers

The ratio of the steps to the target is the geometric mean over seeds and over the
problems on which either gets there; a seed that misses the target counts with the whole
budget. Wins: in how many percent of the seeds the first has the better test metric (50:
no difference). Effect: how much better it ends, in percent of what Adam gains between
start and end. In brackets 95 % bootstrap intervals over problems and seeds. Further
targets: the ratios of the steps to what the median seed of Adam has after 25, 50 and
75 % of its steps. The first row compares one update with itself, in another order of
rounding: what it shows is the noise of tuning and of training.

"""
SCORE = f"""Score (the area under the performance profile, below, for τ from 1 to
{statistics.LARGEST_RATIO:g}; 1 is the most): """
FIGURE = """Left: the share of problems that each optimizer solves within τ times the
steps of the fastest (solved: half of the seeds reach the target). Right: how much of
the best gain is left with a learning rate that is wrong by a factor, the mean over
problems; the better eps at each.

"""
TRAININGS = """Mean ± standard error of the test metric over the seeds; median steps to
the target, and how many seeds reach it if not all do; – where fewer than half do. The
further targets are what the median seed of Adam has after 25, 50 and 75 % of its steps.
"Edge": the rate is an end of its grid, so that others may be better.

"""
TUNING = """Of the trainings to tune, which are as many for each optimizer:

"""
COSTS = """Time of a step of one training alone (median and quartiles, all optimizers
timed in turn), and that times the median steps to the target:

"""


class Results(NamedTuple):
    """The trainings of a budget."""

    budget: str
    seeds: pd.DataFrame
    tuned: pd.DataFrame


def write(folder: Path, out: Path, smoke: bool = False) -> None:
    """Writes all pages and their pictures; with `smoke` no learning curves."""
    found = [
        Results(name, *(statistics.load(folder, name, x) for x in ("seed", "tune")))
        for name in PUBLISHED
    ]
    found = [results for results in found if len(results.seeds)]
    if not found:
        raise SystemExit(
            f"no results in {folder}; `python -m benchmarks run` makes them"
        )
    first, *others = sorted(
        found, key=lambda r: (r.budget == "one-shot", not complete(r))
    )
    pages = out / "pages"
    pages.mkdir(parents=True, exist_ok=True)
    for results in others:
        text = "".join([*overview(results, out, "../"), *toys(results)])
        page = f"# Budget: {results.budget}\n\n{text.rstrip()}\n"
        (pages / f"{results.budget}.md").write_text(page)
    text = f"# Toy functions\n\n{budget_in_words(first.budget)}\n\n"
    (pages / "toys.md").write_text(text + "".join(toys(first)).rstrip() + "\n")
    seconds = statistics.load_seconds(folder)
    for name, problem in problems().items():
        mine = [of_problem(results, name) for results in (first, *others)]
        text = f"# {problem.title}\n\n" + markdown.definitions([name])
        for results in mine:
            if len(results.seeds):
                text += "".join(details(results, name, seconds, out, smoke))
        (pages / f"{name}.md").write_text(text.rstrip() + "\n")
    text = "".join([*introduction(first), *overview(first, out, ""), *links(others)])
    (out / "RESULTS.md").write_text(text)


def complete(results: Results) -> bool:
    """Whether a budget has all seeds of all its problems with data and optimizers."""
    budget, seeds = BUDGETS[results.budget], split(results.seeds)[0]
    names = [name for name in problems() if not is_toy(name)]
    wanted = len(names) * len(budget.optimizers) * len(budget.seeds)
    return len(seeds[seeds.optimizer.isin(budget.optimizers)]) >= wanted


def of_problem(results: Results, name: str) -> Results:
    """Returns the trainings of one problem."""
    budget, *tables = results
    return Results(budget, *(t[t.problem == name] if len(t) else t for t in tables))


def introduction(results: Results) -> Iterator[str]:
    """Yields what the first page is about."""
    yield "# Results of the benchmark suite\n\n"
    yield (
        "`python -m benchmarks report` makes this page and those behind it of the "
        "files in `results/` alone. `README.md` says what was compared, how, and what "
        f"it means. {budget_in_words(results.budget)}\n\n"
    )


def budget_in_words(name: str) -> str:
    """Returns what a budget is."""
    budget = BUDGETS[name]
    tuning = "nothing is tuned"
    if budget.trials:
        count = len(budget.tuning_seeds)
        seeds = "seed" if count == 1 else "seeds"
        tuning = f"{budget.trials} settings with {count} {seeds} each choose"
    times = f", {budget.length} times the usual steps" if budget.length > 1 else ""
    return f"Budget `{name}`: {tuning}; {len(budget.seeds)} seeds{times}."


def overview(results: Results, out: Path, up: str) -> Iterator[str]:
    """Yields one screen of a budget, and draws its picture; `up` leads to `out`."""
    budget, seeds, tuned = results
    data, _ = split(seeds)
    if len(data):
        yield METRIC + markdown.ranked(data) + COMPARED + markdown.comparisons(data)
        yield f"{SCORE}{markdown.scores(seeds)}.\n\n"
        pictures.draw_summary(data, tuned, out / "figures" / budget / "summary.png")
        path = f"{up}figures/{budget}/summary.png"
        yield f"{FIGURE}![performance profile and sensitivity]({path})\n\n"
    yield f"{measured_on(results)}\n\n"


def toys(results: Results) -> Iterator[str]:
    """Yields the pairs of optimizers on the toy functions."""
    _, rows = split(results.seeds)
    if len(rows):
        yield "The ratio of the steps to f ≤ 0.001 on the toy functions:\n\n"
        yield markdown.comparisons_of_toys(rows)


def links(others: list[Results]) -> Iterator[str]:
    """Yields the list of the pages behind the first."""
    yield "## Behind this page\n\n"
    yield "A page a problem, with learning curves, chosen settings and costs:\n\n"
    for name, problem in problems().items():
        yield f"- [{problem.title}](pages/{name}.md)\n"
    yield "- [All toy functions](pages/toys.md)\n"
    if others:
        yield "\nThe other budgets:\n\n"
    for results in others:
        words = budget_in_words(results.budget)
        yield f"- [{results.budget}](pages/{results.budget}.md). {words}\n"


def details(
    results: Results, name: str, seconds: pd.DataFrame, out: Path, smoke: bool
) -> Iterator[str]:
    """Yields all about a problem in one budget, and draws its pictures."""
    budget, seeds, tuned = results
    yield f"## {budget_in_words(budget)}\n\n"
    yield TRAININGS + markdown.trainings(seeds)
    yield markdown.comparisons_of_problem(seeds)
    if not smoke:
        path = Path("figures") / budget / f"{name}.png"
        draw = pictures.draw_toy if is_toy(name) else pictures.draw_problem
        draw(problems()[name], seeds, tuned, out / path)
        yield f"![learning curves of {name}](../{path})\n\n"
    if len(tuned):
        yield TUNING + markdown.tuning(tuned)
    mine = seconds[seconds.problem == name]
    if len(mine) and not is_toy(name):
        yield COSTS + markdown.costs(seeds, mine)
    yield f"{measured_on(results)}\n\n"


def measured_on(results: Results) -> str:
    """Returns how many trainings there are, and on what machines they ran."""
    _, seeds, tuned = results
    every = pd.concat([seeds, tuned])
    machines = "; ".join(sorted(set(every.machine)))
    return (
        f"{len(tuned)} trainings to tune and {len(seeds)} seeds, of which "
        f"{every.failed.sum()} failed. {machines}."
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this benchmark."""
    add = parser.add_argument
    add(
        "--results",
        type=cli.folder,
        default=store.RESULTS,
        help="folder of the results",
    )
    out = store.RESULTS.parent
    add("--out", type=cli.folder, default=out, help="where RESULTS.md goes")
    add("--smoke", action="store_true", help="without learning curves, for a test")


def run(args: argparse.Namespace) -> None:
    """Writes the report."""
    args.out.mkdir(parents=True, exist_ok=True)
    write(args.results, args.out, args.smoke)
    print(f"wrote {args.out / 'RESULTS.md'} and the pages behind it")
