"""Which tables does the report show? Each function returns one, in Markdown."""

from collections.abc import Callable, Iterable

import numpy as np
import pandas as pd

from benchmarks.suite import statistics
from benchmarks.suite.candidates import CANDIDATES
from benchmarks.suite.problem import Problem
from benchmarks.suite.problems import problems
from benchmarks.suite.statistics import Pair, Statistic, is_toy, split
from benchmarks.tables import table

# The first is one update in two orders of rounding: what it shows is noise.
PAIRS = (
    ("optax.adabelief", "adabelief"),
    ("adabelief", "adam"),
    ("aida", "adam"),
    ("aida", "adabelief"),
    ("adabelief-rectified", "adabelief"),
    ("ladabelief", "adabelief"),
    ("adabelief", "sgd"),
    ("adam-plus", "adam"),
    ("adabelief", "adam-plus"),
    ("ladam", "adam-plus"),
)


def cells(values: pd.DataFrame) -> str:
    """Returns the table of an optimizer a row and a problem a column."""
    titles = [problems()[x].title if x in problems() else x for x in values]
    rows = ([label(name), *row] for name, row in values.fillna("").iterrows())
    return table(["", *titles], rows)


def label(name: str) -> str:
    """Returns an optimizer's name for people."""
    return CANDIDATES[name].label


def number(value: float, digits: int = 3) -> str:
    """Returns so many significant digits, never with an exponent below a million."""
    if not np.isfinite(value):
        return "–"
    if 1e-3 <= abs(value) < 1e6 or value == 0:
        decimals = max(0, digits - 1 - int(np.floor(np.log10(abs(value) or 1))))
        return f"{value:.{decimals}f}"
    return f"{value:.{digits - 1}e}"


def mean_and_error(rows: pd.DataFrame) -> str:
    """Returns the mean test metric and its standard error, and how many seeds failed.

    The error has one significant digit, and the mean as many decimals as it supports.
    """
    test = rows.test.dropna().astype(float)
    failures = f" ({rows.failed.sum()} failed)" if rows.failed.any() else ""
    if test.empty:
        return f"–{failures}"
    error = test.std(ddof=1) / np.sqrt(len(test)) if len(test) > 1 else 0.0
    if not 1e-6 < error < 1e6:
        return f"{number(test.mean())} ± {number(error, 1)}{failures}"
    decimals = max(0, -int(np.floor(np.log10(error))))
    return f"{test.mean():.{decimals}f} ± {error:.{decimals}f}{failures}"


def ranked(seeds: pd.DataFrame) -> str:
    """Returns the test metrics: the best in bold, in italics what may be as good.

    That is where the 95 % interval of the difference to the best, seed by seed,
    contains 0.
    """
    texts = statistics.by_problem(seeds, mean_and_error)
    for name in texts:
        rows = seeds[seeds.problem == name]
        problem = problems()[name]
        means = {
            x: statistics.losses(problem, group).mean()
            for x, group in rows.groupby("optimizer")
        }
        best = min(means, key=lambda x: means[x])
        for other in means:
            if other == best:
                texts.loc[other, name] = f"**{texts.loc[other, name]}**"
            elif same(statistics.pairs(rows, other, best)):
                texts.loc[other, name] = f"*{texts.loc[other, name]}*"
    return cells(texts)


def same(found: list[Pair]) -> bool:
    """Whether the interval of the difference of two optimizers contains 0."""
    if not found or not len(statistics.difference(found[0])):
        return False
    _, lower, upper = statistics.interval(found, statistics.difference)
    return bool(lower <= 0 <= upper)


def reached(rows: pd.DataFrame) -> str:
    """Returns the median steps to the target, and how many get there if not all."""
    count, median = rows.steps_to_target.notna().sum(), statistics.median_steps(rows)
    steps = f"{median:,.0f}" if np.isfinite(median) else "–"
    return steps if count == len(rows) else f"{steps} ({count} of {len(rows)})"


def chosen(rows: pd.DataFrame) -> str:
    """Returns the learning rate, its mark if at an end of the grid, and the eps."""
    name, rate, eps = rows.optimizer.iloc[0], rows.rate.iloc[0], rows.eps.iloc[0]
    problem, optimizer = problems()[rows.problem.iloc[0]], CANDIDATES[name]
    ends = problem.rate_scale * np.array(optimizer.rates)
    edge = " edge" if np.isclose(rate, ends, rtol=0.01).any() else ""
    return f"{rate:.2g}{edge}" + (f", {eps:.0e}" if optimizer.epses else "")


def range_of(found: list[Pair], statistic: Statistic, form: Callable) -> str:
    """Returns an estimate and its 95 % interval, or a dash without any pair."""
    if not found:
        return "–"
    middle, lower, upper = map(form, statistics.interval(found, statistic))
    return f"{middle} [{lower}, {upper}]"


def ratio(found: list[Pair]) -> str:
    """Returns the ratio of steps, of the problems where either gets to the target."""
    able = [pair for pair in found if statistics.reached(pair)]
    return range_of(able, statistics.speed, lambda x: f"{np.exp(x):.2f}")


def share_of_wins(found: list[Pair]) -> str:
    """Returns in how many percent of the seeds the first ends better."""
    return range_of(found, statistics.wins, lambda x: f"{100 * x:.0f}")


def mean_effect(found: list[Pair]) -> str:
    """Returns how much better the first ends, in percent of Adam's gain."""
    return range_of(found, statistics.effect, lambda x: f"{x:+.1f}")


def differences(found: list[Pair]) -> str:
    """Returns by how much the first's test metric is larger, if any pair is finite."""
    finite = [pair for pair in found if len(statistics.difference(pair))]
    if not finite:
        return "–"
    estimates = statistics.interval(finite, statistics.difference)
    # Two digits of how far the interval reaches, which is all that the mean supports.
    width = estimates[2] - estimates[1]
    decimals = max(0, 1 - int(np.floor(np.log10(width)))) if width > 0 else 3
    middle, *ends = (f"{round(x, decimals) + 0.0:+.{decimals}f}" for x in estimates)
    return f"{middle} [{', '.join(ends)}]"


def name_of_pair(one: str, other: str) -> str:
    """Returns the name of a pair, and what the first of PAIRS is for."""
    noise = "noise floor: " if (one, other) == PAIRS[0] else ""
    return f"{noise}{label(one)} ÷ {label(other)}"


def comparisons(seeds: pd.DataFrame) -> str:
    """Returns the pairs of optimizers, over all problems of these seeds."""
    rows = []
    for names in PAIRS:
        found = statistics.pairs(seeds, *names)
        if found:
            able = sum(map(statistics.reached, found))
            counts = f"{able} / {len(found)}"
            estimates = share_of_wins(found), mean_effect(found), further_ratios(found)
            rows.append([name_of_pair(*names), ratio(found), counts, *estimates])
    head = ["", "steps to target", "problems", "wins on test, %"]
    return table([*head, "effect, % of Adam's gain", "further targets"], rows)


def further_ratios(found: list[Pair]) -> str:
    """Returns the ratios of the steps to each further target."""
    by_target = zip(*map(statistics.to_further_targets, found), strict=True)
    ratios = [
        np.exp(np.mean([statistics.speed(pair).mean() for pair in group]))
        for group in by_target
    ]
    return ", ".join(f"{x:.2f}" for x in ratios)


def comparisons_of_toys(seeds: pd.DataFrame) -> str:
    """Returns the ratios of steps on each toy function."""
    names = list(dict.fromkeys(seeds.problem))
    rows = [
        [name_of_pair(*pair), *(ratio(found[name]) for name in names)]
        for pair in PAIRS
        if (
            found := {
                n: statistics.pairs(seeds[seeds.problem == n], *pair) for n in names
            }
        )[names[0]]
    ]
    return table(["", *(problems()[name].title for name in names)], rows)


def comparisons_of_problem(seeds: pd.DataFrame) -> str:
    """Returns the pairs of optimizers on one problem, in the metric's units."""
    rows = []
    for names in PAIRS:
        found = statistics.pairs(seeds, *names)
        if found:
            unit = differences(found)
            estimates = ratio(found), share_of_wins(found), unit
            rows.append([name_of_pair(*names), *estimates])
    head = ["", "steps to target", "wins on test, %", "difference of the metric"]
    if is_toy(seeds.problem.iloc[0]):  # on which only speed is in question
        head, rows = head[:2], [row[:2] for row in rows]
    return table(head, rows)


def trainings(seeds: pd.DataFrame) -> str:
    """Returns what the seeds of each optimizer came to on one problem."""
    problem = problems()[seeds.problem.iloc[0]]
    toy, adam = is_toy(problem.name), seeds[seeds.optimizer == "adam"]
    further = [] if toy or adam.empty else statistics.levels(adam)
    rows = []
    for name in (x for x in CANDIDATES if x in set(seeds.optimizer)):
        mine = seeds[seeds.optimizer == name]
        steps = [
            [statistics.steps_to(problem, row, level) for _, row in mine.iterrows()]
            for level in further
        ]
        test = f"{mine.failed.sum()} failed" if toy else mean_and_error(mine)
        rows.append(
            [label(name), chosen(mine), test, reached(mine)]
            + [median(values) for values in steps]
        )
    sign = "≥" if problem.larger_is_better else "≤"
    head = ["", "rate, eps", f"test {problem.metric}", "steps to the target"]
    shares = zip(statistics.SHARES, further, strict=False)
    return table(
        [*head, *(f"to {sign} {number(x, 4)} ({s} %)" for s, x in shares)], rows
    )


def median(values: list[float]) -> str:
    """Returns the median, a dash where half of the values are infinite."""
    middle = float(np.median(values))
    return f"{middle:,.0f}" if np.isfinite(middle) else "–"


def tuning(tuned: pd.DataFrame) -> str:
    """Returns what the tuning trials of each optimizer came to on one problem."""
    problem = problems()[tuned.problem.iloc[0]]
    rows = []
    for name in (x for x in CANDIDATES if x in set(tuned.optimizer)):
        mine = tuned[tuned.optimizer == name]
        count = f"{mine.steps_to_target.notna().sum()} of {len(mine)}"
        effect = eps_effect(problem, mine)
        rows.append([label(name), count, f"{mine.failed.sum()}", effect])
    head = ["", "reach the target", "fail", "best at each eps, the default first"]
    return table(head, rows)


def eps_effect(problem: Problem, tuned: pd.DataFrame) -> str:
    """Returns the best last validation metric of each eps, the default eps first.

    It is the mean over the tuning seeds, at the best learning rate.
    """
    last = [valid[-1] for valid in tuned.valid]
    groups = pd.Series(last, tuned.index, dtype=float).groupby([tuned.eps, tuned.rate])
    mean = groups.mean().groupby(level=0)
    found = mean.max() if problem.larger_is_better else mean.min()
    epses = CANDIDATES[tuned.optimizer.iloc[0]].epses
    return ", ".join(f"{eps:.0e}: {number(found.get(eps, np.nan), 4)}" for eps in epses)


def costs(seeds: pd.DataFrame, seconds: pd.DataFrame) -> str:
    """Returns the milliseconds of a step, and the seconds to the target."""
    rows = []
    for name in (x for x in CANDIDATES if x in set(seeds.optimizer)):
        mine = seconds[seconds.optimizer == name]
        if len(mine):
            row = mine.iloc[0]
            lower, middle, upper = (
                number(1e3 * row[q]) for q in ("lower", "median", "upper")
            )
            steps = statistics.median_steps(seeds[seeds.optimizer == name])
            total = number(steps * row["median"])
            rows.append([label(name), f"{middle} [{lower}, {upper}]", total])
    return table(["", "milliseconds of a step", "seconds to the target"], rows)


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


def scores(seeds: pd.DataFrame) -> str:
    """Returns the score of each optimizer, the best first, in one line."""
    steps = statistics.by_problem(split(seeds)[0], statistics.median_steps)
    found = statistics.score(steps).sort_values(ascending=False, kind="stable")
    return ", ".join(f"{label(name)} {value:.2f}" for name, value in found.items())
