"""Which tables does the report show? Each function returns one, in Markdown."""

from collections.abc import Callable, Iterable
from functools import partial

import numpy as np
import pandas as pd

from benchmarks.suite import statistics
from benchmarks.suite.candidates import CANDIDATES
from benchmarks.suite.problems import problems

PAIRS = (
    ("adabelief", "adam"),
    ("adabelief", "adam-plus"),
    ("adam-plus", "adam"),
    ("aida", "adabelief"),
    ("aida", "adam"),
    ("adabelief-rectified", "adabelief"),
    ("ladabelief", "adabelief"),
    ("ladam", "adam-plus"),
    ("adabelief", "sgd"),
    ("adabelief", "optax.adabelief"),
)


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Returns a table in Markdown."""
    head = list(head)
    lines = [head, ["---"] * len(head), *map(list, rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines) + "\n"


def cells(values: pd.DataFrame) -> str:
    """Returns the table of an optimizer a row and a problem a column."""
    titles = [problems()[x].title if x in problems() else x for x in values]
    rows = (
        [CANDIDATES[name].label, *row] for name, row in values.fillna("").iterrows()
    )
    return table(["", *titles], rows)


def number(value: float, digits: int = 3) -> str:
    """Returns so many significant digits, never with an exponent below a million."""
    if not np.isfinite(value):
        return "–"
    if 1e-3 <= abs(value) < 1e6 or value == 0:
        decimals = max(0, digits - 1 - int(np.floor(np.log10(abs(value) or 1))))
        return f"{value:.{decimals}f}"
    return f"{value:.{digits - 1}e}"


def mean_and_deviation(rows: pd.DataFrame) -> str:
    """Returns the test metric of the seeds, and how many of them failed."""
    test = rows.test.dropna().astype(float)
    failures = f" ({rows.failed.sum()} failed)" if rows.failed.any() else ""
    if test.empty:
        return f"–{failures}"
    deviation = test.std(ddof=1) if len(test) > 1 else 0.0
    return f"{number(test.mean(), 4)} ± {number(deviation, 2)}{failures}"


def reached(rows: pd.DataFrame) -> str:
    """Returns the median steps to the target, and how many get there if not all."""
    count, median = rows.steps_to_target.notna().sum(), statistics.median_steps(rows)
    steps = f"{median:.0f}" if np.isfinite(median) else "–"
    return steps if count == len(rows) else f"{steps} ({count} of {len(rows)})"


def chosen(rows: pd.DataFrame) -> str:
    """Returns the learning rate, its mark if at an end of the grid, and the eps."""
    name, rate, eps = rows.optimizer.iloc[0], rows.rate.iloc[0], rows.eps.iloc[0]
    optimizer = CANDIDATES[name]
    edge = " edge" if rate in optimizer.rates else ""
    return f"{rate:.2g}{edge}" + (f", {eps:.0e}" if optimizer.epses else "")


def range_of(found: list, statistic: Callable, form: Callable) -> str:
    """Returns an estimate and its 95 % interval."""
    middle, lower, upper = map(form, statistics.interval(found, statistic))
    return f"{middle} [{lower}, {upper}]"


def comparisons(seeds: pd.DataFrame) -> str:
    """Returns the pairs of optimizers, over all problems and over those with data."""
    speed = partial(
        range_of, statistic=statistics.speed, form=lambda x: f"{np.exp(x):.2f}"
    )
    wins = partial(range_of, statistic=statistics.wins, form=lambda x: f"{100 * x:.0f}")
    rows = []
    for one, other in PAIRS:
        every = statistics.pairs(seeds, one, other)
        with_data = [pair for pair in every if not statistics.is_toy(pair.problem.name)]
        if with_data:
            label = f"{CANDIDATES[one].label} ÷ {CANDIDATES[other].label}"
            counts = f"{len(with_data)}", f"{len(every)}"
            rows.append(
                [
                    label,
                    speed(with_data),
                    wins(with_data),
                    speed(every),
                    "/".join(counts),
                ]
            )
    head = ["", "steps to target", "wins on test, %", "steps, with toys", "problems"]
    return table(head, rows)


def comparison_by_problem(seeds: pd.DataFrame, one: str, other: str) -> str:
    """Returns one pair of optimizers on each problem."""
    rows = [
        [
            pair.problem.title,
            reached(pair.first),
            reached(pair.second),
            range_of([pair], statistics.speed, lambda x: f"{np.exp(x):.2f}"),
            "–"
            if statistics.is_toy(pair.problem.name)
            else range_of([pair], statistics.wins, lambda x: f"{100 * x:.0f}"),
        ]
        for pair in statistics.pairs(seeds, one, other)
    ]
    labels = CANDIDATES[one].label, CANDIDATES[other].label
    head = ["", *(f"steps, {x}" for x in labels), "ratio", "wins on test, %"]
    return table(head, rows)


def eps_effect(tuned: pd.DataFrame) -> str:
    """Returns the best last validation metric at each eps, the default eps first."""

    def best(rows: pd.DataFrame) -> str:
        problem = problems()[rows.problem.iloc[0]]
        last = pd.Series([valid[-1] for valid in rows.valid], rows.index, dtype=float)
        groups = last.groupby(rows.eps)
        found = groups.max() if problem.larger_is_better else groups.min()
        epses = CANDIDATES[rows.optimizer.iloc[0]].epses
        return " / ".join(number(found.get(eps, np.nan), 4) for eps in epses)

    with_eps = [name for name, optimizer in CANDIDATES.items() if optimizer.epses]
    mask = tuned.optimizer.isin(with_eps) & ~tuned.problem.map(statistics.is_toy)
    values = statistics.by_problem(tuned[mask], best)
    tried = [
        " / ".join(f"{eps:.0e}" for eps in CANDIDATES[x].epses) for x in values.index
    ]
    values.insert(0, "eps", tried)
    return cells(values)


def targets_reached(tuned: pd.DataFrame) -> str:
    """Returns how many of the tuning trials reach the target, and how many fail."""

    def share(rows: pd.DataFrame) -> str:
        reached, failed = rows.steps_to_target.notna().sum(), rows.failed.sum()
        return f"{reached}, {failed} failed" if failed else f"{reached}"

    return cells(statistics.by_problem(tuned, share))


def seconds_to_target(seeds: pd.DataFrame, seconds: pd.DataFrame) -> str:
    """Returns the median steps to the target times the seconds of a step."""
    steps = statistics.by_problem(seeds, statistics.median_steps)
    times = seconds.pivot(index="optimizer", columns="problem", values="median")
    times = times.reindex(index=steps.index, columns=steps.columns)
    return cells((steps * times).map(number))


def step_times(seconds: pd.DataFrame) -> str:
    """Returns the milliseconds of a step, median and quartiles."""

    def form(rows: pd.DataFrame) -> str:
        row = 1e3 * rows[["lower", "median", "upper"]].iloc[0]
        return (
            f"{number(row['median'])} [{number(row['lower'])}, {number(row['upper'])}]"
        )

    return cells(statistics.by_problem(seconds, form))


def definitions(names: Iterable[str]) -> str:
    """Returns what each problem is judged by."""
    rows = []
    for problem in map(problems().get, names):
        sign = "≥" if problem.larger_is_better else "≤"
        target = f"{sign} {number(problem.target)}"
        size = f"{problem.batch_size}" if problem.batch_size > 1 else "–"
        rate = "cosine to 0" if problem.cosine else "constant"
        row = [f"{problem.title} (`{problem.name}`)", problem.metric, target]
        rows.append(
            [*row, f"{problem.steps:,}", size, rate, "{}, {}".format(*problem.betas)]
        )
    head = ["problem", "metric", "target", "steps", "batch", "learning rate", "b1, b2"]
    return table(head, rows)
