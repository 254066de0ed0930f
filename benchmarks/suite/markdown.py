"""Which tables does the report show? Each function returns one, in Markdown."""

from collections.abc import Iterable, Iterator

import numpy as np
import pandas as pd

from benchmarks.intervals import Estimate, in_words, interval, ratio
from benchmarks.suite import protocol, statistics
from benchmarks.suite.candidates import CANDIDATES
from benchmarks.suite.problems import problems
from benchmarks.suite.statistics import Pair
from benchmarks.tables import table

PAIRS = (
    ("optax.adabelief", "adabelief"),  # one update in two orders of rounding: noise
    ("adabelief", "adam"),
    ("aida", "adam"),
    ("aida", "adabelief"),
    ("ladabelief", "adabelief"),
    ("adabelief-rectified", "adabelief"),
    ("adabelief-warmup", "adabelief"),
    ("adabelief-rectified", "adabelief-warmup"),
    ("adabelief-warmup", "adam-warmup"),
    ("adam-warmup", "adam"),
    ("adamw", "adam"),
    ("adabelief", "sgd"),
)
MISSING = "not yet trained"


def label(name: str) -> str:
    """Returns an optimizer's name for people."""
    return CANDIDATES[name].label


def present(rows: pd.DataFrame) -> list[str]:
    """Returns the optimizers of these rows, in the order of every table."""
    return [name for name in CANDIDATES if name in set(rows.optimizer)]


def with_error(values: np.ndarray, sign: str = "") -> str:
    """Returns a mean ± its standard error, with one significant digit.

    A lone digit of 1 would leave the error uncertain by half; there it has two digits.
    """
    mean, error = values.mean(), values.std(ddof=1) / np.sqrt(len(values))
    if not 0 < error < 1e6:
        return f"{mean:.3g} ± {error:.1g}"
    exponent = int(np.floor(np.log10(error)))
    decimals = max(0, -exponent + (error < 2 * 10.0**exponent))
    mean = round(mean, decimals) + 0.0  # no −0
    return f"{mean:{sign}.{decimals}f} ± {error:.{decimals}f}"


def mean_test(rows: pd.DataFrame) -> str:
    """Returns the mean test metric ± its standard error, and how many seeds failed."""
    failures = f" ({rows.failed.sum()} failed)" if rows.failed.any() else ""
    test = rows.test.dropna().to_numpy(float)
    return f"{with_error(test) if len(test) > 1 else '–'}{failures}"


def steps(rows: pd.DataFrame) -> str:
    """Returns the median steps to the target, and how many miss it if any do."""
    missed = statistics.misses(rows)
    median = float(np.median(rows.steps_to_target.fillna(np.inf)))
    text = f"{median:,.0f}" if np.isfinite(median) else "–"
    return f"{text} ({missed} of {len(rows)} miss)" if missed else text


def chosen(rows: pd.DataFrame) -> str:
    """Returns the learning rate and eps, and whether the rate is not bracketed."""
    row = rows.iloc[0]
    limit = "" if row.bracketed else " limit"
    eps = f", {row.eps:.0e}" if len(CANDIDATES[row.optimizer].epses) > 1 else ""
    return f"{row.rate:.2g}{limit}{eps}"


def name_of_pair(one: str, other: str) -> str:
    """Returns the name of a pair."""
    return f"{label(one)} ÷ {label(other)}"


def by_problem(rows: pd.DataFrame, summary: callable, names: Iterable[str]) -> str:
    """Returns a table with a row for each optimizer and a column for each problem."""
    names = list(names)
    lines = []
    for optimizer in CANDIDATES if names else ():
        mine = rows[rows.optimizer == optimizer]
        groups = (mine[mine.problem == name] for name in names)
        cells = [summary(x) if len(x) else MISSING for x in groups]
        lines.append([label(optimizer), *cells])
    return table(["", *(problems()[name].title for name in names)], lines)


def ranked(rows: pd.DataFrame, names: Iterable[str]) -> str:
    """Returns the test metrics: the best in bold, what may be as good in italics.

    It may be as good if the 95 % interval of its difference to the best, seed by seed,
    contains 0.
    """

    def cell(mine: pd.DataFrame) -> str:
        problem = problems()[mine.problem.iloc[0]]
        group, text = rows[rows.problem == problem.name], mean_test(mine)
        means = {
            x: statistics.losses(problem, y).mean()
            for x, y in group.groupby("optimizer")
        }
        best, name = min(means, key=lambda x: means[x]), mine.optimizer.iloc[0]
        if name == best:
            return f"**{text}**"
        (pair,) = statistics.pairs(group, name, best)
        spread = statistics.difference(pair)
        if len(spread) > 1:
            _, lower, upper = interval(spread)
            return f"*{text}*" if lower <= 0 <= upper else text
        return text

    return by_problem(rows, cell, names)


def pairs_of(rows: pd.DataFrame) -> Iterator[tuple[str, list[Pair]]]:
    """Yields the pairs that all problems of the rows have, by their names."""
    for names in PAIRS:
        found = statistics.pairs(rows, *names)
        if found and len(found) == rows.problem.nunique():
            yield name_of_pair(*names), found


def speeds(rows: pd.DataFrame, floor: Estimate) -> str:
    """Returns the ratios of the steps to the target, over all problems of the rows."""
    lines = []
    for name, found in pairs_of(rows):
        able = [pair for pair in found if statistics.reached(pair)]
        if not able:
            continue
        logs = statistics.over_problems(able, statistics.speed)
        ratios = ", ".join(f"{x:.2f}" for x in np.exp(logs))
        median = f"{np.exp(np.median(logs)):.2f}"
        lines.append([name, ratio(interval(logs)), ratios, median, missed(able)])
    if np.isfinite(floor.middle):
        lines.append(["noise floor", ratio(floor), "over re-tunings", "", ""])
    head = ["", "steps to the target", "of each problem", "median", "misses"]
    return table(head, lines)


def missed(found: list[Pair]) -> str:
    """Returns how many seeds of the first and of the second miss the target."""
    first, second = (sum(statistics.misses(pair[i]) for pair in found) for i in (1, 2))
    return f"{first} : {second} of {sum(len(pair.first) for pair in found)}"


def ends(rows: pd.DataFrame) -> str:
    """Returns how often, and by how much, the first of each pair ends better."""
    lines = []
    for name, found in pairs_of(rows):
        share = interval(100 * statistics.over_problems(found, statistics.wins))
        share = Estimate(share[0], max(0, share[1]), min(100, share[2]))
        gain = statistics.over_problems(found, statistics.effect)
        each = ", ".join(f"{x + 0.0:+.1f}" for x in gain)
        cells = in_words(share, ".0f"), in_words(interval(gain)), each
        lines.append([name, *cells])
    head = ["", "wins on test, %", "effect, % of Adam's gain", "of each problem"]
    return table(head, lines)


def details(by_end: pd.DataFrame, by_speed: pd.DataFrame) -> str:
    """Returns what the fresh seeds of each optimizer came to on one problem."""
    lines = []
    for name in present(by_end):
        one, other = (x[x.optimizer == name] for x in (by_end, by_speed))
        cells = chosen(one), mean_test(one), chosen(other), steps(other)
        lines.append([label(name), *cells])
    problem = problems()[by_end.problem.iloc[0]]
    head = ["", "by the end: rate, eps", f"test {problem.metric}"]
    return table([*head, "by speed: rate, eps", "steps to the target"], lines)


def speed(found: list[Pair]) -> str:
    """Returns the ratio of steps on one problem, where it is known."""
    known = found and statistics.reached(found[0])
    return ratio(interval(statistics.speed(found[0]))) if known else "–"


def pairs_of_problem(by_end: pd.DataFrame, by_speed: pd.DataFrame) -> str:
    """Returns the pairs of optimizers on one problem, in the metric's units."""
    lines, fast = [], dict(pairs_of(by_speed))
    for name, (pair,) in pairs_of(by_end):
        away = statistics.difference(pair)
        share = f"{100 * statistics.wins(pair).mean():.0f}"
        unit = with_error(away, "+") if len(away) > 1 else "–"
        lines.append([name, speed(fast[name]), share, unit])
    head = ["", "steps to the target", "wins on test, %", "difference of the metric"]
    return table(head, lines)


def speeds_of_toys(rows: pd.DataFrame, names: list[str]) -> str:
    """Returns the ratios of steps on each toy function, over its starts."""
    lines = [
        [name_of_pair(*pair)]
        + [speed(statistics.pairs(rows[rows.problem == x], *pair)) for x in names]
        for pair in PAIRS
    ]
    return table(["", *(problems()[x].title for x in names)], lines)


def eps_effects(tuned: pd.DataFrame, names: Iterable[str]) -> str:
    """Returns how much better each optimizer ends with its default eps."""
    lines = []
    for name in names:
        cells = [
            eps_effect(tuned[(tuned.problem == name) & (tuned.optimizer == x)])
            for x in CANDIDATES
            if len(CANDIDATES[x].epses) > 1
        ]
        lines.append([f"{problems()[name].title}, {problems()[name].metric}", *cells])
    head = [label(x) for x in CANDIDATES if len(CANDIDATES[x].epses) > 1]
    return table(["", *head], lines)


def eps_effect(tuned: pd.DataFrame) -> str:
    """Returns by how much the default eps is better than the other, ± standard error.

    Each has the learning rate that is best with it, and both the same tuning seeds.
    """
    epses = CANDIDATES[tuned.optimizer.iloc[0]].epses if len(tuned) else ()
    grids = [set(tuned.rate[tuned.eps == eps]) for eps in epses]
    if not epses or grids[0] != grids[1]:
        return MISSING
    problem = problems()[tuned.problem.iloc[0]]
    sign = statistics.sign_of(problem)
    best = []
    for eps in epses:
        mine = tuned[tuned.eps == eps]
        last = (sign * mine["last"]).fillna(np.inf)
        first = mine.stage == "first"
        rate = last[first].groupby(mine.rate[first]).mean().idxmin()
        best.append(last[mine.rate == rate].set_axis(mine.seed[mine.rate == rate]))
    better = (best[1] - best[0]).dropna().to_numpy()  # of the seeds that both have
    return f"{with_error(better, '+')} ({len(better)})"


def definitions(names: Iterable[str]) -> str:
    """Returns what each problem is judged by."""
    lines = []
    for problem in map(problems().get, names):
        sign = "≥" if problem.larger_is_better else "≤"
        size = f"{problem.batch_size}" if problem.batch_size > 1 else "–"
        lines.append(
            [
                f"{problem.title} (`{problem.name}`)",
                problem.metric,
                f"{sign} {problem.target:.6g}",
                f"{problem.steps:,}",
                size,
                "cosine to 0" if problem.cosine else "constant",
                "{}, {}".format(*problem.betas),
            ]
        )
    head = ["problem", "metric", "target", "steps", "batch", "learning rate", "b1, b2"]
    return table(head, lines)


def tuning(tuned: pd.DataFrame) -> str:
    """Returns what the search of each optimizer did on one problem."""
    lines = []
    for name in present(tuned):
        mine = tuned[tuned.optimizer == name]
        settings = len(mine.groupby(["rate", "eps"]))
        rates = f"{mine.rate.min():.2g} to {mine.rate.max():.2g}"
        counts = f"{settings}", f"{len(mine)}", f"{mine.failed.sum()}"
        lines.append([label(name), rates, *counts])
    return table(["", "rates tried", "settings", "runs", "failed"], lines)


def rates(chosen: pd.DataFrame, names: Iterable[str]) -> str:
    """Returns on how many problems each best rate is so many times Adam's."""
    logs = chosen.assign(log=2 * np.log10(chosen.rate))  # in half powers of ten
    logs = logs.pivot(index="optimizer", columns="problem", values="log")
    logs = logs.reindex(index=[*CANDIDATES], columns=list(names))
    beside = (logs - logs.loc["adam"]).round().clip(-3, 3)
    heads = {-3: "1/30 or less", -2: "a tenth", -1: "a third", 0: "the same"}
    heads |= {1: "three times", 2: "ten times", 3: "30 times or more"}
    lines = [
        [label(x), *(f"{(beside.loc[x] == n).sum() or ''}" for n in heads)]
        for x in CANDIDATES
        if x not in ("sgd", "adam")
    ]
    return table(["", *heads.values()], lines)


def limits(chosen: pd.DataFrame) -> str:
    """Returns which choices have no larger or smaller rate beside them, in words."""
    ends = chosen[~chosen.bracketed].drop_duplicates(statistics.SETTING)
    some = [
        f"{problems()[name].title}: "
        + ", ".join(f"{label(x)} ({y:.2g})" for x, y in zip(*columns, strict=True))
        for name, group in ends.groupby("problem", sort=False)
        for columns in [(group.optimizer, group.rate)]
    ]
    if not some:
        return "Every chosen rate has rates on both sides that did worse."
    reach = 10 ** (protocol.LIMIT / 2)
    return (
        f"These rates are at the limit of the search, {reach:,.0f} times the default "
        f"or a thousandth of it, so other rates may be better: {'; '.join(some)}. "
        "Every other chosen rate has rates on both sides that did worse."
    )


def devices(rows: pd.DataFrame) -> str:
    """Returns which optimizers trained on what, on each problem."""
    every, lines = sorted(set(rows.device), reverse=True), []
    for name, group in rows.groupby("problem", sort=False):
        on = [present(group[group.device == device]) for device in every]
        cells = [
            "all" if x == present(group) else "; ".join(map(label, x)) or "–"
            for x in on
        ]
        lines.append([problems()[name].title, *cells])
    return table(["", *("CPU" if x == "cpu" else x for x in every)], lines)
