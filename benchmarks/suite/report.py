"""What do the results of `run` say, in tables and pictures?

Everything comes from the files in the folder of results alone; nothing is trained. It
writes RESULTS.md, and behind it a page for each problem and one for the toy functions
in `pages`, with the pictures in `figures/suite`.
"""

import argparse
import sys
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
PAGE = Path(__file__).with_name("page.md")  # RESULTS.md, with places for the tables
NOT_YET = """**Not yet trained to the end**, and so left out of the comparisons below.
`python -m benchmarks run` continues with these:

"""


def pages(folder: Path, rows: pd.DataFrame, chosen: pd.DataFrame) -> dict[str, str]:
    """Returns the texts of all pages, by their paths."""
    found = {"RESULTS.md": overview(folder, rows, chosen)}
    for name in names_of(rows, toys=False):
        found[f"pages/{name}.md"] = page(rows, chosen, name)
    if names_of(rows, toys=True):
        found["pages/toys.md"] = toys(rows, chosen)
    return {path: "".join(parts).rstrip() + "\n" for path, parts in found.items()}


def names_of(rows: pd.DataFrame, toys: bool) -> list[str]:
    """Returns the problems that have records: the toy functions, or the others."""
    return [x for x in problems() if x in set(rows.problem) and is_toy(x) == toys]


def overview(folder: Path, rows: pd.DataFrame, chosen: pd.DataFrame) -> str:
    """Returns the first page."""
    names = names_of(rows, toys=False)
    here = chosen[chosen.problem.isin(names)]
    by_end, by_speed = (statistics.fresh(rows, here, x) for x in ("end", "speed"))
    places = {
        "lacking": lacking(chosen),
        "ranked": markdown.ranked(by_end, names),
        "ends": markdown.ends(by_end),
        "speeds": markdown.speeds(by_speed, statistics.floor(folder, *FLOOR)),
        "rates": markdown.rates(here[here.criterion == "end"], names),
        "limits": markdown.limits(here),
        "eps": markdown.eps_effects(rows[rows.stage != "fresh"], names),
        "devices": markdown.devices(rows[rows.problem.isin(names)]),
        "links": "\n".join(f"- [{problems()[x].title}](pages/{x}.md)" for x in names),
        "measured_on": measured_on(rows),
    }
    page = PAGE.read_text(encoding="utf-8")
    page = page.format(**{name: text.strip() for name, text in places.items()})
    return page.replace("\n\n\n\n", "\n\n")  # where nothing is lacking


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
        yield "An optimizer has two settings: the last validation metric chose one "
        yield "(by the end), the steps to the target the other (by speed). Each was "
        yield "trained with twenty new seeds; ± is a standard error.\n\n"
        yield markdown.details(by_end, by_speed)
        yield markdown.pairs_of_problem(by_end, by_speed)
    yield f"![learning curves](../{FIGURES}/{name}.png)\n\n"
    yield "What the search tried:\n\n" + markdown.tuning(mine[mine.stage != "fresh"])
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
    yield "Median steps to the target over twenty starts, each moved by up to 0.25 per "
    yield "coordinate:\n\n" + markdown.by_problem(by_speed, markdown.steps, names)
    yield "The ratio of the steps, with the 95 % interval over the starts:\n\n"
    yield markdown.speeds_of_toys(by_speed, names)
    yield f"![steps to the target over the rate](../{FIGURES}/toys.png)\n\n"
    yield markdown.limits(here) + "\n\n" + measured_on(mine)


def draw(folder: Path, rows: pd.DataFrame, chosen: pd.DataFrame, out: Path) -> None:
    """Draws all pictures."""
    tuned = rows[rows.stage != "fresh"]
    for file, some in {"rates": False, "toys": True}.items():
        if names := names_of(rows, toys=some):
            pictures.draw_rates(tuned, names, out / f"{file}.png")
    for name in names_of(rows, toys=False):
        problem = problems()[name]
        here = chosen[(chosen.problem == name) & (chosen.criterion == "end")]
        kept = [
            record
            for choice in here.itertuples()
            for record in records.read(folder, problem, choice.optimizer)
            if "valid" in record
            and (record["rate"], record["eps"]) == (choice.rate, choice.eps)
        ]
        if kept:
            mine = tuned[tuned.problem == name]
            pictures.draw_problem(problem, kept, mine, out / f"{name}.png")


def measured_on(rows: pd.DataFrame) -> str:
    """Returns how many runs there are, and on what machines they ran."""
    fresh = (rows.stage == "fresh").sum()
    machines = rows.groupby("machine").size().sort_values(ascending=False)
    words = "; ".join(f"{count:,} on {name}" for name, count in machines.items())
    return (
        f"There are {len(rows) - fresh:,} tuning runs and {fresh:,} final runs with "
        f"new seeds; {np.sum(rows.failed):,} of all failed. They ran on these "
        f"machines: {words}.\n"
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this benchmark."""
    add, words = parser.add_argument, "folder of the results"
    add("--results", type=cli.folder, default=store.RESULTS, help=words)
    out = store.RESULTS.parent
    add("--out", type=cli.folder, default=out, help="where RESULTS.md goes")


def run(args: argparse.Namespace) -> None:
    """Writes the report."""
    rows = statistics.load(args.results)
    if rows.empty:
        sys.exit(f"no results in {args.results}; `python -m benchmarks run` makes them")
    chosen = statistics.choices(args.results)
    for name, text in pages(args.results, rows, chosen).items():
        path = args.out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    draw(args.results, rows, chosen, args.out / FIGURES)
    print(f"wrote {args.out / 'RESULTS.md'} and the pages behind it")
