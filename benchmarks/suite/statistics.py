"""What do the records of `run` say? Every number of the report is computed here."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from benchmarks import store
from benchmarks.suite.candidates import CANDIDATES
from benchmarks.suite.problem import Problem
from benchmarks.suite.problems import problems

RESAMPLES = 10_000
INTERVAL = (2.5, 97.5)  # percentiles
LARGEST_RATIO = 4.0  # τ, up to which the score looks
SHARES = (25, 50, 75)  # percent of tuned Adam's time, which set further targets
OLD_DIGITS = 5  # that were stored before records said how many


class Pair(NamedTuple):
    """The trainings of two optimizers on one problem, a seed a row, and Adam's."""

    problem: Problem
    first: pd.DataFrame
    second: pd.DataFrame
    adam: pd.DataFrame


Statistic = Callable[[Pair], np.ndarray]  # a number a seed


def load(folder: Path, budget: str, role: str) -> pd.DataFrame:
    """Returns a row for each training of this budget and role ("tune" or "seed").

    Of a problem's numbers of steps only the last counts, and of an optimizer's seeds
    those of the last choice: problems and grids change, and records stay.
    """
    paths = [store.path_of(folder, budget, name) for name in problems()]
    every = pd.DataFrame([record for path in paths for record in store.read(path)])
    if every.empty:
        return every
    every = every[every.steps == every.groupby("problem").steps.transform("last")]
    seeds = every[every.role == "seed"]
    choices = seeds.groupby(["problem", "optimizer"])[["rate", "eps"]]
    seeds = seeds[(seeds[["rate", "eps"]] == choices.transform("last")).all(axis=1)]
    rows = seeds if role == "seed" else every[every.role == role]
    rows = rows.drop(columns="failed", errors="ignore").reset_index(drop=True)
    return judged(rows, seeds) if len(rows) else rows


def judged(rows: pd.DataFrame, seeds: pd.DataFrame) -> pd.DataFrame:
    """Returns the rows with what their curves say: who failed, and the target's step.

    Toy functions are evaluated more often than their curves show, and said it then.
    """
    for name, group in rows.groupby("problem"):
        problem = problems()[name]
        gain = gain_of_adam(problem, seeds[seeds.problem == name])
        curves = [signed(problem, curve) for curve in group.valid]
        rows.loc[group.index, "failed"] = [failed(curve, gain) for curve in curves]
        if not is_toy(name):
            steps = [steps_to(problem, x, problem.target) for _, x in group.iterrows()]
            rows.loc[group.index, "steps_to_target"] = steps
    steps = rows.steps_to_target.astype(float).replace(np.inf, np.nan)
    return rows.assign(failed=rows.failed.astype(bool), steps_to_target=steps)


def signed(problem: Problem, values: Iterable) -> np.ndarray:
    """Returns values of the metric as something to make small; NaN where not finite."""
    return np.array(list(values), float) * (-1 if problem.larger_is_better else 1)


def gain_of_adam(problem: Problem, seeds: pd.DataFrame) -> float:
    """Returns by how much Adam's seeds improve the metric, in the median."""
    curves = seeds.valid[seeds.optimizer == "adam"]
    if curves.empty:
        return np.nan
    ends = [signed(problem, (curve[0], curve[-1])) for curve in curves]
    return float(np.nanmedian([start - end for start, end in ends]))


def failed(curve: np.ndarray, gain: float) -> bool:
    """Whether a training failed, by its curve of what is to be small, and Adam's gain.

    It ended with a number that is not finite, lost half of the best progress that it
    had made, or made less than half of Adam's.
    """
    progress = curve[0] - curve
    last, most = progress[-1], np.nanmax(progress)
    return bool(not np.isfinite(last) or last < most / 2 or last < gain / 2)


def load_seconds(folder: Path) -> pd.DataFrame:
    """Returns a row for each optimizer and problem: the seconds of one step."""
    paths = [store.path_of(folder, "seconds", name) for name in problems()]
    rows = [record for path in paths for record in store.read(path)]
    columns = ["problem", "optimizer", "lower", "median", "upper", "machine"]
    return pd.DataFrame(rows, columns=columns).drop_duplicates(columns[:2], keep="last")


def is_toy(name: str) -> bool:
    """Whether the problem has neither data nor noise."""
    return name.startswith("toy-")


def split(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Returns the rows of problems with data or noise, and those of toy functions."""
    toys = rows.problem.map(is_toy).astype(bool)
    return rows[~toys], rows[toys]


def by_problem(rows: pd.DataFrame, summary: Callable) -> pd.DataFrame:
    """Returns one value for each optimizer (rows) and problem (columns), in order."""
    groups = rows.groupby(["optimizer", "problem"])
    table = pd.Series({key: summary(group) for key, group in groups}).unstack()
    order = [name for name in CANDIDATES if name in table.index]
    return table.loc[order, [name for name in problems() if name in table.columns]]


def median_steps(rows: pd.DataFrame) -> float:
    """Returns the median over seeds; infinite if half of them miss the target."""
    return float(np.median(rows.steps_to_target.fillna(np.inf)))


def to_further_targets(pair: Pair) -> list[Pair]:
    """Returns the pair with the steps to each of Adam's further targets."""
    found = []
    for level in levels(pair.adam):
        tables = [
            rows.assign(
                steps_to_target=[
                    steps_to(pair.problem, row, level) for _, row in rows.iterrows()
                ]
            ).replace({"steps_to_target": np.inf}, np.nan)
            for rows in pair[1:3]
        ]
        found.append(Pair(pair.problem, *tables, pair.adam))
    return found


def levels(adam: pd.DataFrame) -> list[float]:
    """Returns the metric that Adam's seeds have at SHARES of their time, the median."""
    curves = np.array(adam.valid.tolist(), float)
    times = np.linspace(0, 100, curves.shape[1])
    return [float(np.interp(share, times, np.nanmedian(curves, 0))) for share in SHARES]


def steps_to(problem: Problem, row: pd.Series, level: float) -> float:
    """Returns the step at which a training first has this metric, or infinity.

    Between two evaluations the metric is taken to be a straight line.
    """
    curve, target = signed(problem, row.valid), float(signed(problem, [level])[0])
    steps = np.linspace(0, row.steps, len(curve))
    (there,) = np.nonzero(curve <= target)
    if not len(there):
        return np.inf
    i = there[0]
    if not i or not np.isfinite(curve[i - 1]):
        return float(steps[i])
    return float(np.interp(-target, -curve[[i - 1, i]], steps[[i - 1, i]]))


def profile(steps: pd.DataFrame, ratios: np.ndarray) -> pd.DataFrame:
    """Returns the share of problems solved within so many times the fewest steps."""
    # A target that is met before the first step would need none.
    ratio = steps.clip(lower=1) / steps.clip(lower=1).min()
    return pd.DataFrame({x: (ratio <= x).mean(axis=1) for x in ratios})


def score(steps: pd.DataFrame) -> pd.Series:
    """Returns the area under each performance profile, as a share of the most.

    It is the mean over τ from 1 to LARGEST_RATIO, as in the AlgoPerf benchmark.
    """
    ratio = steps.clip(lower=1) / steps.clip(lower=1).min()
    area = (LARGEST_RATIO - ratio.clip(upper=LARGEST_RATIO)) / (LARGEST_RATIO - 1)
    return area.where(np.isfinite(ratio), 0.0).mean(axis=1)


def sensitivity(tuned: pd.DataFrame) -> pd.DataFrame:
    """Returns what a wrong learning rate leaves of the best gain.

    A row for each optimizer, problem and learning rate: `wrong` is the rate ÷ the best
    one, `left` the gain with the better eps, the mean over the tuning seeds, in
    percent. A training that ends worse than it began, or not finite, gains nothing.
    """
    found = []
    for (name, optimizer), group in tuned.groupby(["problem", "optimizer"]):
        curves = [signed(problems()[name], x) for x in group.valid]
        gain = np.nan_to_num([max(0.0, c[0] - c[-1]) for c in curves], nan=0.0)
        mean = pd.Series(gain, group.index).groupby([group.rate, group.eps]).mean()
        best = mean.groupby(level=0).max()
        found += [
            {
                "problem": name,
                "optimizer": optimizer,
                "wrong": round(np.log10(rate / best.idxmax()) * 4) / 4,
                "left": 100 * value / best.max(),
            }
            for rate, value in best.items()
        ]
    return pd.DataFrame(found)


def pairs(rows: pd.DataFrame, one: str, other: str) -> list[Pair]:
    """Returns two optimizers on every problem that both have, from the same seeds.

    A seed decides the network at the start and every batch, for all optimizers alike.
    """
    found = []
    for name, group in rows.groupby("problem"):
        first, second = (
            group[group.optimizer == x].set_index("seed").sort_index()
            for x in (one, other)
        )
        seeds = first.index.intersection(second.index)
        if len(seeds):
            adam = group[group.optimizer == "adam"]
            pair = first.loc[seeds], second.loc[seeds]
            found.append(Pair(problems()[name], *pair, adam))
    return found


def log_steps(rows: pd.DataFrame) -> np.ndarray:
    """Returns log steps to the target; a seed that misses it counts as the budget."""
    return np.log(rows.steps_to_target.fillna(rows.steps).clip(lower=1).to_numpy(float))


def reached(pair: Pair) -> bool:
    """Whether any seed of the two gets to the target: else no speed is known."""
    return bool(pd.concat(pair[1:3]).steps_to_target.notna().any())


def losses(problem: Problem, rows: pd.DataFrame) -> np.ndarray:
    """Returns the test metric as something to make small; not finite is worst."""
    test = signed(problem, rows.test)
    return np.where(np.isfinite(test), test, np.inf)


def quantum(rows: pd.DataFrame) -> np.ndarray:
    """Returns the step between two numbers that a record could have stored."""
    digits = rows.get("digits", pd.Series(OLD_DIGITS, rows.index)).fillna(OLD_DIGITS)
    size = np.abs(rows.test.to_numpy(float))
    exponent = np.floor(np.log10(np.where(size > 0, size, 1.0)))
    return 10 ** (np.nan_to_num(exponent) + 1 - digits.to_numpy(float))


def speed(pair: Pair) -> np.ndarray:
    """Returns log(steps of the first ÷ those of the second) of every seed."""
    return log_steps(pair.first) - log_steps(pair.second)


def wins(pair: Pair) -> np.ndarray:
    """Returns for every seed 1 if the first has the better test metric, ½ for a tie.

    Metrics tie where they differ by no more than the records can tell.
    """
    a, b = (losses(pair.problem, rows) for rows in pair[1:3])
    least = np.maximum(quantum(pair.first), quantum(pair.second))
    tie = (a == b) | (np.abs(np.nan_to_num(a) - np.nan_to_num(b)) <= 1.01 * least)
    tie &= np.isfinite(a) == np.isfinite(b)
    return np.where(tie, 0.5, a < b)


def effect(pair: Pair) -> np.ndarray:
    """Returns for every seed how much better the first ends, in percent of Adam's gain.

    A seed whose test metric is not finite has gained nothing.
    """
    starts = [signed(pair.problem, [x[0] for x in rows.valid]) for rows in pair[1:3]]
    a, b = (
        np.where(np.isfinite(loss), loss, start)
        for loss, start in zip(
            (losses(pair.problem, rows) for rows in pair[1:3]), starts, strict=True
        )
    )
    return 100 * (b - a) / gain_of_adam(pair.problem, pair.adam)


def difference(pair: Pair) -> np.ndarray:
    """Returns by how much the first's test metric is larger, of every finite pair."""
    a, b = (rows.test.to_numpy(float) for rows in pair[1:3])
    return (a - b)[np.isfinite(a - b)]


def interval(found: list[Pair], statistic: Statistic) -> tuple[float, float, float]:
    """Returns the mean over seeds and problems, and its 95 % bootstrap interval.

    Problems are drawn anew with replacement, and in each the seeds. With one problem,
    only the seeds are.
    """
    rng = np.random.default_rng(0)
    values = [statistic(pair) for pair in found]
    resampled = np.stack(
        [x[rng.integers(len(x), size=(RESAMPLES, len(x)))].mean(1) for x in values]
    )
    chosen = rng.integers(len(found), size=(len(found), RESAMPLES))
    means = np.take_along_axis(resampled, chosen, 0).mean(0)
    lower, upper = np.percentile(means, INTERVAL)
    return float(np.mean([x.mean() for x in values])), float(lower), float(upper)
