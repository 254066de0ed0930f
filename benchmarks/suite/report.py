"""What do the results of `run` say, in tables and pictures?

Everything comes from the files in the folder of results alone; nothing is trained. It
writes RESULTS.md and, beside it, the pictures in `figures`.
"""

import argparse
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from benchmarks import cli
from benchmarks.suite import markdown, pictures, statistics, store
from benchmarks.suite.markdown import PAIRS
from benchmarks.suite.problems import problems
from benchmarks.suite.tasks import BUDGETS

INTRODUCTION = """# Results of the benchmark suite

`python -m benchmarks report` makes this page of the files in `results/` alone, where
every line is one training. `README.md` says what was compared, how, and what it means.

"""
METRIC = """### Test metric

Mean ± standard deviation over the seeds that end with a finite number. "Failed" counts
those that diverged: they end worse than they began, or not finite (for the GAN, see
`problems/wgan.py`).

"""
STEPS = """### Steps to the target

Median over the seeds, and how many reach it where not all do; – where fewer than half
do.

"""
SECONDS = """### Seconds to the target

Median steps to the target × the seconds of a step of one training alone, for which all
optimizers of a problem were timed in turn, below in milliseconds: median and quartiles.

"""
PROFILE = """### Performance profile

Which share of the problems does each optimizer solve within τ times the steps of the
fastest? Solved: at least half of the seeds reach the target.

"""
CHOSEN = """### Chosen learning rate and eps

"Edge": at an end of its grid, so that others may be better.

"""
SENSITIVITY = """### Sensitivity

How many of the tuning trials (the same number for all) reach the target, and how many
fail.

"""
EPS = """### What eps does

The best last validation metric of the tuning trials at each eps, the default first.

"""
COMPARED = """### Pairs of optimizers

Ratio of the steps to the target (geometric mean over problems and seeds; a seed that
misses the target counts with the whole budget, so that ratios are bounded), and for how
many of the seeds the first has the better test metric (50 %: no difference). A seed is
the same network and the same batches for both. In brackets 95 % bootstrap intervals
over problems and seeds.

"""


def write(folder: Path, out: Path, smoke: bool = False) -> None:
    """Writes RESULTS.md and its pictures; with `smoke` no learning curves."""
    seconds = statistics.load_seconds(folder)
    parts = [INTRODUCTION, markdown.definitions(problems())]
    for budget in BUDGETS:
        seeds = statistics.load(folder, budget, "seed")
        if len(seeds):
            tuned = statistics.load(folder, budget, "tune")
            figures = out / "figures" / budget
            parts += section(budget, seeds, tuned, seconds, figures)
            parts += [] if smoke else curves(seeds, tuned, figures)
    if len(parts) == 2:
        raise SystemExit(
            f"no results in {folder}; `python -m benchmarks run` makes them"
        )
    (out / "RESULTS.md").write_text("".join(parts))


def section(
    budget: str,
    seeds: pd.DataFrame,
    tuned: pd.DataFrame,
    seconds: pd.DataFrame,
    figures: Path,
) -> Iterable[str]:
    """Yields the text of a budget, and draws its pictures."""
    data, toys = split(seeds)
    yield f"## Budget: {budget}\n\n{measured_on(seeds, tuned)}\n\n"
    if len(data):
        yield METRIC + markdown.cells(
            statistics.by_problem(data, markdown.mean_and_deviation)
        )
    yield STEPS
    for rows in filter(len, (data, toys)):
        yield markdown.cells(statistics.by_problem(rows, markdown.reached))
    if len(data) and len(seconds):
        yield SECONDS + markdown.seconds_to_target(data, seconds)
        yield markdown.step_times(split(seconds)[0])
    steps = statistics.by_problem(seeds, statistics.median_steps)
    pictures.draw_profiles(steps, figures / "profile.png")
    yield PROFILE + picture(figures, "profile")
    if len(tuned):
        yield from tuning(seeds, tuned)
    yield COMPARED + markdown.comparisons(seeds)
    for pair in PAIRS:
        yield markdown.comparison_by_problem(seeds, *pair)


def tuning(seeds: pd.DataFrame, tuned: pd.DataFrame) -> Iterable[str]:
    """Yields what the tuning trials say."""
    yield CHOSEN
    for rows in filter(len, split(seeds)):
        yield markdown.cells(statistics.by_problem(rows, markdown.chosen))
    yield SENSITIVITY
    for rows in filter(len, split(tuned)):
        yield markdown.targets_reached(rows)
    if len(split(tuned)[0]):
        yield EPS + markdown.eps_effect(split(tuned)[0])


def curves(seeds: pd.DataFrame, tuned: pd.DataFrame, figures: Path) -> Iterable[str]:
    """Yields the pictures of each problem, and those of the toys in one."""
    yield "### Learning curves\n\n"
    for name, rows in split(seeds)[0].groupby("problem", sort=False):
        mine = tuned[tuned.problem == name] if len(tuned) else tuned
        pictures.draw_problem(problems()[name], rows, mine, figures / f"{name}.png")
        yield picture(figures, name)
    if len(tuned) and len(split(tuned)[1]):
        pictures.draw_toys(split(tuned)[1], figures / "toys.png")
        yield picture(figures, "toys")


def split(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Returns the rows of problems with data or noise, and those of toy functions."""
    toys = rows.problem.map(statistics.is_toy).astype(bool)
    return rows[~toys], rows[toys]


def picture(figures: Path, name: str) -> str:
    """Returns the line that shows a picture."""
    return f"![{name}](figures/{figures.name}/{name}.png)\n\n"


def measured_on(seeds: pd.DataFrame, tuned: pd.DataFrame) -> str:
    """Returns how many trainings there are, and on what machines they ran."""
    every = pd.concat([seeds, tuned])
    machines = "; ".join(sorted(set(every.machine)))
    return (
        f"{len(tuned)} trainings to tune and {len(seeds)} seeds; {every.failed.sum()} "
        f"failed. {machines}."
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
    print(f"wrote {args.out / 'RESULTS.md'}")
