"""Which tables does the report show? Each function returns one, in Markdown."""

from collections.abc import Iterable

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


def number(value: float, digits: int = 3) -> str:
    """Returns so many significant digits, never with an exponent below a million."""
    if not np.isfinite(value):
        return "–"
    if 1e-3 <= abs(value) < 1e6 or value == 0:
        decimals = max(0, digits - 1 - int(np.floor(np.log10(abs(value) or 1))))
        return f"{value:.{decimals}f}"
    return f"{value:.{digits - 1}e}"


def with_error(values: np.ndarray, sign: str = "") -> str:
    """Returns a mean ± its standard error, with one significant digit.

    A lone digit of 1 would leave the error uncertain by half; there it has two digits.
    """
    mean, error = values.mean(), values.std(ddof=1) / np.sqrt(len(values))
    if not np.isfinite(error) or not 1e-6 < error < 1e6:
        return f"{number(mean)} ± {number(error, 1)}"
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


def speeds(rows: pd.DataFrame, floor: Estimate) -> str:
    """Returns the ratios of the steps to the target, over all problems of the rows."""
    lines = []
    for names in PAIRS:
        found = statistics.pairs(rows, *names)
        able = [pair for pair in found if statistics.reached(pair)]
        if not able or len(found) < rows.problem.nunique():
            continue
        logs = statistics.over_problems(able, statistics.speed)
        ratios = ", ".join(f"{x:.2f}" for x in np.exp(logs))
        text = ratio(interval(logs))
        lines.append(
            [
                name_of_pair(*names),
                text,
                ratios,
                f"{np.exp(np.median(logs)):.2f}",
                missed(able),
            ]
        )
    noise = ["noise floor", ratio(floor), "over re-tunings", "", ""]
    head = ["", "steps to the target", "of each problem", "median", "misses"]
    return table(head, [*lines, noise] if np.isfinite(floor.middle) else lines)


def missed(found: list[Pair]) -> str:
    """Returns how many seeds of the first and of the second miss the target."""
    first, second = (sum(statistics.misses(pair[i]) for pair in found) for i in (1, 2))
    return f"{first} : {second} of {sum(len(pair.first) for pair in found)}"


def ends(rows: pd.DataFrame) -> str:
    """Returns how often, and by how much, the first of each pair ends better."""
    lines = []
    for names in PAIRS:
        found = statistics.pairs(rows, *names)
        if found and len(found) == rows.problem.nunique():
            share = interval(100 * statistics.over_problems(found, statistics.wins))
            share = Estimate(share[0], max(0, share[1]), min(100, share[2]))
            gain = statistics.over_problems(found, statistics.effect)
            each = ", ".join(f"{x + 0.0:+.1f}" for x in gain)
            effect = in_words(interval(gain))
            lines.append([name_of_pair(*names), in_words(share, ".0f"), effect, each])
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


def pairs_of_problem(by_end: pd.DataFrame, by_speed: pd.DataFrame) -> str:
    """Returns the pairs of optimizers on one problem, in the metric's units."""
    lines = []
    for names in PAIRS:
        ends, fast = (statistics.pairs(x, *names) for x in (by_end, by_speed))
        if ends and fast:
            known = statistics.reached(fast[0])
            log = interval(statistics.speed(fast[0]))
            share = f"{100 * statistics.wins(ends[0]).mean():.0f}"
            away = statistics.difference(ends[0])
            unit = with_error(away, "+") if len(away) > 1 else "–"
            cells = ratio(log) if known else "–", share, unit
            lines.append([name_of_pair(*names), *cells])
    head = ["", "steps to the target", "wins on test, %", "difference of the metric"]
    return table(head, lines)


def speeds_of_toys(rows: pd.DataFrame) -> str:
    """Returns the ratios of steps on each toy function, over its starts."""
    names = [x for x in problems() if statistics.is_toy(x) and x in set(rows.problem)]
    lines = []
    for pair in PAIRS:
        cells = []
        for name in names:
            found = statistics.pairs(rows[rows.problem == name], *pair)
            known = bool(found) and statistics.reached(found[0])
            log = interval(statistics.speed(found[0])) if known else None
            cells.append(ratio(log) if known else "–")
        lines.append([name_of_pair(*pair), *cells])
    return table(["", *(problems()[name].title for name in names)], lines)


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


def rates_beside_adam(chosen: pd.DataFrame, names: Iterable[str]) -> pd.DataFrame:
    """Returns how many half powers of ten each chosen rate is above Adam's."""
    logs = chosen.assign(log=2 * np.log10(chosen.rate))
    logs = logs.pivot(index="optimizer", columns="problem", values="log")
    order = [x for x in CANDIDATES if x not in ("sgd", "adam")]
    logs = logs.reindex(["adam", *order], columns=list(names))
    return (logs - logs.loc["adam"]).round().loc[order]


def rates(chosen: pd.DataFrame, names: Iterable[str]) -> str:
    """Returns on how many problems each best rate is so many times Adam's."""
    beside = rates_beside_adam(chosen, names)
    heads = {-3: "1/30 or less", -2: "a tenth", -1: "a third", 0: "the same"}
    heads |= {1: "three times", 2: "ten times", 3: "30 times or more"}
    lines = [
        [label(name), *(f"{(row.clip(-3, 3) == x).sum() or ''}" for x in heads)]
        for name, row in beside.iterrows()
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


def first_look(rows: pd.DataFrame) -> str:
    """Returns the pairs by three tuning seeds, also of optimizers not yet complete."""
    by_end, by_speed = (
        statistics.best_of_three(rows, criterion) for criterion in protocol.CRITERIA
    )
    gains = {
        name: statistics.gain_of_adam(rows, name) for name in rows.problem.unique()
    }
    lines = []
    for names in PAIRS:
        ends, fast = (statistics.pairs(x, *names) for x in (by_end, by_speed))
        if 2 * len(ends) <= len(gains):
            continue
        ends = [pair._replace(gain=gains[pair.problem.name]) for pair in ends]
        logs = statistics.over_problems(fast, statistics.speed)
        effects = statistics.over_problems(ends, statistics.effect)
        each = dict(zip((x.problem.name for x in fast), np.exp(logs), strict=True))
        more = dict(zip((x.problem.name for x in ends), effects, strict=True))
        cells = ratio(interval(logs)), row_of(each, gains, ".2f")
        cells += in_words(interval(effects)), row_of(more, gains, "+.1f")
        lines.append([name_of_pair(*names), *cells])
    head = ["", "steps to the target", "of each problem", "effect, % of Adam's gain"]
    return table([*head, "of each problem"], lines)


def row_of(values: dict[str, float], names: Iterable[str], form: str) -> str:
    """Returns the numbers of all problems, with a dash where there is none."""
    found = (f"{values[x] + 0.0:{form}}" if x in values else "–" for x in names)
    return ", ".join(found)


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
