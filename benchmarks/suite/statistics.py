"""What do the records of `run` say? Every number of the report is computed here."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from benchmarks.intervals import Estimate
from benchmarks.suite import protocol, records
from benchmarks.suite.candidates import CANDIDATES
from benchmarks.suite.problem import Problem
from benchmarks.suite.problems import problems
from benchmarks.suite.protocol import SEEDS, Found

RETUNINGS = 2_000
SETTING, MACHINE = ["problem", "optimizer", "rate", "eps"], ("device", "machine")


class Pair(NamedTuple):
    """The fresh trainings of two optimizers on one problem, a seed a row."""

    problem: Problem
    first: pd.DataFrame
    second: pd.DataFrame
    gain: float  # of Adam: how much it improves the metric


def is_toy(name: str) -> bool:
    """Whether the problem has neither data nor noise."""
    return name.startswith("toy-")


def load(folder: Path) -> pd.DataFrame:
    """Returns a row for each training of the problems as they are today.

    `stage` says what it was for, "first", "second" or "fresh".
    """
    every = pd.DataFrame(
        row
        for problem in problems().values()
        for name in CANDIDATES
        for row in records.read(folder, problem, name)
    )
    if every.empty:
        return every
    lists = list(records.LISTS)
    every = every[[*SETTING, "steps", *MACHINE, *lists]].explode(lists, True)
    every = every.rename(columns={"seeds": "seed"})
    stages = {seed: name for name, of in SEEDS._asdict().items() for seed in of}
    every[lists[1:]] = every[lists[1:]].astype(float)
    return judged(every.assign(stage=every.seed.map(stages)))


def judged(rows: pd.DataFrame) -> pd.DataFrame:
    """Returns the rows and whether each training failed.

    It ended with a number that is not finite, lost half of the best progress that it
    had made, or made less than half of the progress of Adam's fresh seeds.
    """
    sign = rows.problem.map(lambda name: sign_of(problems()[name]))
    progress = -sign * (rows["last"] - rows["first"])
    most = -sign * (rows["best"] - rows["first"])
    gain = rows.problem.map({x: gain_of_adam(rows, x) for x in set(rows.problem)})
    lost = ~np.isfinite(progress) | (progress < most / 2) | (progress < gain / 2)
    return rows.assign(failed=lost)


def sign_of(problem: Problem) -> int:
    """Returns −1 where the metric is to be large, else 1."""
    return -1 if problem.larger_is_better else 1


def gain_of_adam(rows: pd.DataFrame, name: str) -> float:
    """Returns by how much Adam's fresh seeds improve the metric, in the median."""
    adam = rows[(rows.problem == name) & (rows.optimizer == "adam")]
    adam = adam[adam.stage == "fresh"]
    return float((adam["last"] - adam["first"]).abs().median())


def choices(folder: Path) -> pd.DataFrame:
    """Returns the setting that each criterion chose, and whether it is bracketed.

    A row for each problem, optimizer and criterion whose search is complete.
    """
    found = []
    for problem in problems().values():
        for name, candidate in CANDIDATES.items():
            mine = records.found(problem, records.read(folder, problem, name))
            if not mine or protocol.missing(problem, candidate, mine):
                continue
            by = protocol.criteria(problem, mine)
            chosen = {x: protocol.choose(candidate, mine, x) for x in by}
            # Where one criterion does not apply, the other's choice stands for it.
            for criterion in protocol.CRITERIA:
                setting, bracketed = chosen.get(criterion, chosen[by[0]])
                row = setting.rate, setting.eps, criterion, bracketed
                found.append((problem.name, name, *row))
    return pd.DataFrame(found, columns=[*SETTING, "criterion", "bracketed"])


def fresh(rows: pd.DataFrame, chosen: pd.DataFrame, criterion: str) -> pd.DataFrame:
    """Returns the fresh seeds of what a criterion chose."""
    wanted = chosen[chosen.criterion == criterion]
    return rows[rows.stage == "fresh"].merge(wanted, on=SETTING)


def pairs(rows: pd.DataFrame, one: str, other: str) -> list[Pair]:
    """Returns two optimizers on every problem that both have, from the same seeds.

    A seed decides the network at the start and every batch, for all optimizers alike.
    """
    found = []
    of_problem = dict(list(rows.groupby("problem")))
    for name in (x for x in problems() if x in of_problem):
        group = of_problem[name]
        first, second = (
            group[group.optimizer == x].set_index("seed").sort_index()
            for x in (one, other)
        )
        seeds = first.index.intersection(second.index)
        if len(seeds):
            first, second = first.loc[seeds], second.loc[seeds]
            gain = gain_of_adam(group, name)
            found.append(Pair(problems()[name], first, second, gain))
    return found


def log_steps(rows: pd.DataFrame) -> np.ndarray:
    """Returns log steps to the target; a seed that misses it counts as all steps."""
    return np.log(rows.steps_to_target.fillna(rows.steps).clip(lower=1).to_numpy(float))


def misses(rows: pd.DataFrame) -> int:
    """Returns how many trainings do not get to the target."""
    return int(rows.steps_to_target.isna().sum())


def reached(pair: Pair) -> bool:
    """Whether half of the seeds of either get to the target: else no speed is known."""
    return any(2 * misses(rows) <= len(rows) for rows in pair[1:3])


def speed(pair: Pair) -> np.ndarray:
    """Returns log(steps of the first ÷ those of the second) of every seed."""
    return log_steps(pair.first) - log_steps(pair.second)


def losses(problem: Problem, rows: pd.DataFrame) -> np.ndarray:
    """Returns the test metric as something to make small; not finite is worst."""
    test = sign_of(problem) * rows.test.to_numpy(float)
    return np.where(np.isfinite(test), test, np.inf)


def wins(pair: Pair) -> np.ndarray:
    """Returns for every seed 1 if the first has the better test metric, ½ for a tie."""
    a, b = (losses(pair.problem, rows) for rows in pair[1:3])
    return np.where(a == b, 0.5, a < b)


def effect(pair: Pair) -> np.ndarray:
    """Returns for every seed how much better the first ends, in percent of Adam's gain.

    A seed whose test metric is not finite has gained nothing.
    """
    a, b = (
        np.where(np.isfinite(loss), loss, sign_of(pair.problem) * rows["first"])
        for rows in pair[1:3]
        for loss in [losses(pair.problem, rows)]
    )
    return 100 * (b - a) / pair.gain


def difference(pair: Pair) -> np.ndarray:
    """Returns by how much the first's test metric is larger, of every finite pair."""
    a, b = (rows.test.to_numpy(float) for rows in pair[1:3])
    return (a - b)[np.isfinite(a - b)]


def over_problems(
    found: list[Pair], statistic: Callable[[Pair], np.ndarray]
) -> np.ndarray:
    """Returns the mean over the seeds of each problem."""
    return np.array([statistic(pair).mean() for pair in found])


def retuned(found: Found, rng: np.random.Generator, count: int) -> np.ndarray:
    """Returns the mean log steps of what new draws of the tuning seeds would choose.

    The ten seeds of the settings near the best are drawn anew with replacement; the
    fastest setting is chosen by them, and takes the steps that it takes on average
    over another such draw.
    """
    seeds = SEEDS.first + SEEDS.second
    near = protocol.close(found, "speed")
    values = np.array([[found[x][s].speed for s in seeds] for x in near])
    draws = rng.integers(len(seeds), size=(2, count, len(seeds)))
    tuned, measured = (values[:, draw].mean(-1) for draw in draws)
    return measured[tuned.argmin(0), np.arange(count)]


def floor(folder: Path, one: str, other: str) -> Estimate:
    """Returns the log ratio of steps of one update against itself, over re-tunings.

    Both are tuned anew, again and again, on every problem with data or noise. The
    interval has 95 % of the means over problems.
    """
    rng, ratios = np.random.default_rng(0), []
    for problem in (x for x in problems().values() if not is_toy(x.name)):
        found = {
            name: records.found(problem, records.read(folder, problem, name))
            for name in (one, other)
        }
        if all(
            mine and not protocol.missing(problem, CANDIDATES[name], mine)
            for name, mine in found.items()
        ):
            first, second = (retuned(x, rng, RETUNINGS) for x in found.values())
            ratios.append(first - second)
    means = np.mean(ratios or [[np.nan]], axis=0)
    lower, upper = np.percentile(means, (2.5, 97.5))
    return Estimate(float(means.mean()), float(lower), float(upper))
