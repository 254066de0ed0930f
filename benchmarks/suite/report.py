"""What do the results of `run` say, in tables and pictures?

Everything comes from the files in the folder of results alone; nothing is trained. It
writes RESULTS.md, and behind it a page for each problem and one for the toy functions
in `pages`, with the pictures in `figures/suite`.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks import cli, store
from benchmarks.suite import markdown, pictures, records, statistics
from benchmarks.suite.candidates import CANDIDATES
from benchmarks.suite.problems import problems
from benchmarks.suite.statistics import is_toy

FIGURES, FLOOR = Path("figures") / "suite", ("optax.adabelief", "adabelief")
INTRODUCTION = """# Results of the benchmark suite

`python -m benchmarks report` makes this page and those behind it of the files in
`results` alone. [SUITE.md](SUITE.md) says what is compared, and how.

"""
NOT_YET = """**Not yet trained** to the end, so that the tables leave these out;
`python -m benchmarks run` goes on with them:

"""
LOOK = """## By three seeds

Some optimizers are not yet trained to the end, and the tables above have only pairs
that are, on all problems. Here is what the first three seeds of each setting say: the
best of the settings tried so far, by the same three seeds that chose it. Such a choice
flatters, and most where most was tried, so this is a first look, no finding. The effect
is that on the test metric. A dash is a problem on which one of the two has not yet
tried its first grid.

"""
DEVICES = """## Where they were trained

A seed draws the same numbers on a GPU as on a CPU, but sums are rounded in another
order, and the curves of two such trainings part. So seeds that are compared across
devices are less alike than on one device: such a pair has more noise, and no bias.

"""
ENDS = """## Where trainings end

The settings are those that the last validation metric chose. Mean ± standard error of
the test metric over twenty fresh seeds. **Bold** is the best of a problem; in *italics*
is what may be as good, since the 95 % interval of its difference to the best, seed by
seed, contains 0. A training failed if it ended with a number that is not finite, lost
half of the best progress that it had made, or made less than half of Adam's.

"""
WINS = """Wins: in how many percent of the seeds the first has the better test metric.
There, 50 is no difference. Effect: how much better it ends, in percent of what Adam
gains between start and end. In brackets are 95 % intervals over the problems, by
Student's t; then the effect on each problem, in the order of the table above.

"""
SPEED = """## How fast they get to the target

The settings are those that the steps to the target chose. The ratio is the geometric
mean over the problems on which either gets to the target in half of the seeds; in
brackets is its 95 % interval over the problems, by Student's t on the logarithms. Then
the ratio on each of these problems, in the order of the table above, their median, and
how many seeds of each of the two miss the target; these count as all steps. The *noise
floor* is one update against itself: `optax.adabelief` and AdaBelief differ in their
rounding alone. It is what the ratio would be if both were tuned anew, again and again,
with the tuning seeds drawn anew; the interval has 95 % of that.

"""
RATES = """Steps to the target at each learning rate, with the better eps: the geometric
mean of three tuning seeds. A line ends where all three miss the target.

"""
BESIDE = """## The best learning rates

On how many problems the best rate (by the end) is so many times Adam's. What
`optax.adabelief` and AdaBelief differ by is the noise of tuning.

"""
EPS = """## eps

By how much the default eps (1e-8 for Adam and AdamW, 1e-16 for the others) ends better
than the other one (1e-4 and 1e-8), on the validation data: the mean ± standard error of
the tuning seeds that both have, whose number follows in brackets, each with the rate
that is best with it. Above 0 the default is better. Three seeds tell little.

"""


def write(folder: Path, out: Path, smoke: bool = False) -> None:
    """Writes all pages and their pictures; with `smoke` no pictures."""
    rows = statistics.load(folder)
    if rows.empty:
        raise SystemExit(
            f"no results in {folder}; `python -m benchmarks run` makes them"
        )
    chosen = statistics.choices(folder)
    (out / "pages").mkdir(parents=True, exist_ok=True)
    text = "".join(overview(folder, rows, chosen))
    (out / "RESULTS.md").write_text(text.rstrip() + "\n")
    for name in names_of(rows, toys=False):
        text = "".join(page(rows, chosen, name))
        (out / "pages" / f"{name}.md").write_text(text.rstrip() + "\n")
    if names_of(rows, toys=True):
        text = "".join(toys(rows, chosen))
        (out / "pages" / "toys.md").write_text(text.rstrip() + "\n")
    if not smoke:
        draw(folder, rows, chosen, out / FIGURES)


def names_of(rows: pd.DataFrame, toys: bool) -> list[str]:
    """Returns the problems that have records: the toy functions, or the others."""
    return [x for x in problems() if x in set(rows.problem) and is_toy(x) == toys]


def overview(folder: Path, rows: pd.DataFrame, chosen: pd.DataFrame) -> Iterator[str]:
    """Yields the first page."""
    names = names_of(rows, toys=False)
    here = chosen[chosen.problem.isin(names)]
    by_end, by_speed = (statistics.fresh(rows, here, x) for x in ("end", "speed"))
    yield INTRODUCTION + lacking(chosen)
    yield ENDS + markdown.ranked(by_end, names) + WINS + markdown.ends(by_end)
    yield SPEED + markdown.speeds(by_speed, statistics.floor(folder, *FLOOR))
    yield RATES + f"![steps to the target over the rate]({FIGURES}/rates.png)\n\n"
    yield BESIDE + markdown.rates(here[here.criterion == "end"], names)
    yield markdown.limits(here) + "\n\n"
    tuned = rows[rows.stage != "fresh"]
    yield EPS + markdown.eps_effects(tuned, names)
    if lacking(here):
        yield LOOK + markdown.first_look(rows[rows.problem.isin(names)])
    yield DEVICES + markdown.devices(rows[rows.problem.isin(names)])
    yield "## Behind this page\n\n"
    for name in names:
        yield f"- [{problems()[name].title}](pages/{name}.md)\n"
    yield "- [The toy functions](pages/toys.md)\n\n" + measured_on(rows)


def lacking(chosen: pd.DataFrame) -> str:
    """Returns what is not trained to the end yet, in words."""
    done = set(zip(chosen.problem, chosen.optimizer, strict=True))
    some = {
        markdown.label(name): [
            problem.title
            for problem in problems().values()
            if not is_toy(problem.name) and (problem.name, name) not in done
        ]
        for name in CANDIDATES
    }
    lines = [
        f"- {name}: {'; '.join(titles)}\n" for name, titles in some.items() if titles
    ]
    return f"{NOT_YET}{''.join(lines)}\n" if lines else ""


def page(rows: pd.DataFrame, chosen: pd.DataFrame, name: str) -> Iterator[str]:
    """Yields all about a problem."""
    mine, here = rows[rows.problem == name], chosen[chosen.problem == name]
    by_end, by_speed = (statistics.fresh(mine, here, x) for x in ("end", "speed"))
    yield f"# {problems()[name].title}\n\n" + markdown.definitions([name])
    if len(by_end):
        yield "Twenty fresh seeds of the settings that the last validation metric and "
        yield "the steps to the target chose; ± is a standard error.\n\n"
        yield markdown.details(by_end, by_speed)
        yield markdown.pairs_of_problem(by_end, by_speed)
    yield f"![learning curves](../{FIGURES}/{name}.png)\n\n"
    yield "The search:\n\n" + markdown.tuning(mine[mine.stage != "fresh"])
    yield markdown.limits(here) + "\n\n" + measured_on(mine)


def toys(rows: pd.DataFrame, chosen: pd.DataFrame) -> Iterator[str]:
    """Yields all about the toy functions."""
    names = names_of(rows, toys=True)
    here = chosen[chosen.problem.isin(names)]
    by_speed = statistics.fresh(rows, here, "speed")
    mine = rows[rows.problem.isin(names)]
    yield "# The toy functions, tuned\n\n"
    yield markdown.definitions(names)
    yield "The learning rate and eps with the fewest steps to the target:\n\n"
    yield markdown.by_problem(by_speed, markdown.chosen, names)
    yield "Median steps to the target over twenty starts, moved by up to 0.25 in each "
    yield "coordinate:\n\n" + markdown.by_problem(by_speed, markdown.steps, names)
    yield "The ratio of the steps, with the 95 % interval over the starts:\n\n"
    yield markdown.speeds_of_toys(by_speed)
    yield f"![steps to the target over the rate](../{FIGURES}/toys.png)\n\n"
    yield markdown.limits(here) + "\n\n" + measured_on(mine)


def draw(folder: Path, rows: pd.DataFrame, chosen: pd.DataFrame, out: Path) -> None:
    """Draws all pictures."""
    tuned = rows[rows.stage != "fresh"]
    for file, some in {"rates": False, "toys": True}.items():
        if names := names_of(rows, toys=some):
            pictures.draw_rates(tuned, names, out / f"{file}.png")
    for name in names_of(rows, toys=False):
        problem, kept = problems()[name], []
        here = chosen[(chosen.problem == name) & (chosen.criterion == "end")]
        for choice in here.itertuples():
            every = records.read(folder, problem, choice.optimizer)
            kept += [
                x
                for x in every
                if "valid" in x and (x["rate"], x["eps"]) == (choice.rate, choice.eps)
            ]
        if kept:
            mine = tuned[tuned.problem == name]
            pictures.draw_problem(problem, kept, mine, out / f"{name}.png")


def measured_on(rows: pd.DataFrame) -> str:
    """Returns how many trainings there are, and on what machines they ran."""
    fresh = (rows.stage == "fresh").sum()
    machines = rows.groupby("machine").size().sort_values(ascending=False)
    words = "; ".join(f"{count:,} on {name}" for name, count in machines.items())
    return (
        f"{len(rows) - fresh:,} trainings to tune and {fresh:,} with fresh seeds, of "
        f"which {np.sum(rows.failed):,} failed: {words}.\n"
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this benchmark."""
    add, words = parser.add_argument, "folder of the results"
    add("--results", type=cli.folder, default=store.RESULTS, help=words)
    out = store.RESULTS.parent
    add("--out", type=cli.folder, default=out, help="where RESULTS.md goes")
    add("--smoke", action="store_true", help="without pictures, for a test")


def run(args: argparse.Namespace) -> None:
    """Writes the report."""
    args.out.mkdir(parents=True, exist_ok=True)
    write(args.results, args.out, args.smoke)
    print(f"wrote {args.out / 'RESULTS.md'} and the pages behind it")
