"""What do the records of `run` say? Every number of the report is computed here."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from benchmarks.suite import store
from benchmarks.suite.candidates import CANDIDATES
from benchmarks.suite.problem import Problem
from benchmarks.suite.problems import problems

RESAMPLES = 10_000
INTERVAL = (2.5, 97.5)  # percentiles


class Pair(NamedTuple):
    """The trainings of two optimizers on one problem, a seed a row."""

    problem: Problem
    first: pd.DataFrame
    second: pd.DataFrame


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
    rows = every[every.role == role]
    if role == "seed":
        choices = rows.groupby(["problem", "optimizer"])[["rate", "eps"]]
        rows = rows[(rows[["rate", "eps"]] == choices.transform("last")).all(axis=1)]
    return rows.reset_index(drop=True)


def load_seconds(folder: Path) -> pd.DataFrame:
    """Returns a row for each optimizer and problem: the seconds of one step."""
    paths = [store.path_of(folder, "seconds", name) for name in problems()]
    rows = [record for path in paths for record in store.read(path)]
    columns = ["problem", "optimizer", "lower", "median", "upper", "machine"]
    return pd.DataFrame(rows, columns=columns).drop_duplicates(columns[:2], keep="last")


def is_toy(name: str) -> bool:
    """Whether the problem has neither data nor noise."""
    return name.startswith("toy-")


def by_problem(rows: pd.DataFrame, summary: Callable) -> pd.DataFrame:
    """Returns one value for each optimizer (rows) and problem (columns), in order."""
    groups = rows.groupby(["optimizer", "problem"])
    table = pd.Series({key: summary(group) for key, group in groups}).unstack()
    order = [name for name in CANDIDATES if name in table.index]
    return table.loc[order, [name for name in problems() if name in table.columns]]


def median_steps(rows: pd.DataFrame) -> float:
    """Returns the median over seeds; infinite if half of them miss the target."""
    return float(np.median(rows.steps_to_target.fillna(np.inf)))


def profile(steps: pd.DataFrame, ratios: np.ndarray) -> pd.DataFrame:
    """Returns the share of problems solved within so many times the fewest steps."""
    # A target that is met before the first step would need none.
    ratio = steps.clip(lower=1) / steps.clip(lower=1).min()
    return pd.DataFrame({x: (ratio <= x).mean(axis=1) for x in ratios})


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
            pair = first.loc[seeds], second.loc[seeds]
            found.append(Pair(problems()[name], *pair))
    return found


def log_steps(rows: pd.DataFrame) -> np.ndarray:
    """Returns log steps to the target; a seed that misses it counts as the budget."""
    return np.log(rows.steps_to_target.fillna(rows.steps).clip(lower=1).to_numpy(float))


def losses(problem: Problem, rows: pd.DataFrame) -> np.ndarray:
    """Returns the test metric as something to make small; not finite is worst."""
    sign = -1 if problem.larger_is_better else 1
    test = sign * rows.test.to_numpy(float)
    return np.where(np.isfinite(test), test, np.inf)


def speed(pair: Pair) -> np.ndarray:
    """Returns log(steps of the first ÷ those of the second) of every seed."""
    return log_steps(pair.first) - log_steps(pair.second)


def wins(pair: Pair) -> np.ndarray:
    """Returns for every seed 1 if the first has the better test metric, ½ for a tie."""
    a, b = (losses(pair.problem, rows) for rows in pair[1:])
    return (a < b) + 0.5 * (a == b)


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
