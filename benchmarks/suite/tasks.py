"""What is trained with one optimizer on one problem: the tuning, then the seeds.

What has a record already is not trained again.
"""

import time
from itertools import chain, repeat
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks import machine, store
from benchmarks.data import Splits
from benchmarks.store import Record
from benchmarks.suite.candidates import CANDIDATES, Candidate
from benchmarks.suite.problem import Problem
from benchmarks.suite.progress import Progress, compile_seconds, seconds_of_step
from benchmarks.suite.trials import CALLS, Curves, Trial, train_together

POINTS = 50  # kept of a curve, at most
FRESH = range(100, 120)  # seeds that nothing was chosen by


class Budget(NamedTuple):
    """How much is trained of each optimizer."""

    trials: int  # settings to choose from
    tuning_seeds: range  # each setting trains with all of them
    seeds: range  # with which the best setting trains
    length: int  # how many times the usual steps
    optimizers: tuple[str, ...] = tuple(CANDIDATES)

    @property
    def parts(self) -> list[int]:
        """How many trainings of an optimizer on a problem run together."""
        parts = self.trials * len(self.tuning_seeds), len(self.seeds)
        return [count for count in parts if count]

    def steps(self, problem: Problem) -> int:
        """Returns the steps of one training on a problem."""
        return problem.steps * (self.length if problem.lengthened else 1)


COMPARED = (
    "sgd",
    "adam",
    "adamw",
    "adabelief",
    "adabelief-rectified",
    "aida",
    "ladabelief",
    "optax.adabelief",  # the same update as adabelief: what differs is noise
)
BUDGETS = {
    "pilot": Budget(10, range(1000, 1001), range(10), 1, ("adam",)),
    "one-shot": Budget(0, range(0), range(10), 1),
    "small": Budget(10, range(1000, 1003), FRESH, 4, COMPARED),
    "full": Budget(40, range(1000, 1003), FRESH, 4),
}


class Task(NamedTuple):
    """A problem, an optimizer and a budget, and where their records are."""

    problem: Problem
    name: str
    candidate: Candidate
    budget: Budget
    path: Path

    @property
    def steps(self) -> int:
        """The steps of one training."""
        return self.budget.steps(self.problem)

    @property
    def grid(self) -> list[tuple[float, float]]:
        """The settings to choose from, pairs of learning rate and eps."""
        return self.candidate.grid(self.budget.trials, self.problem.rate_scale)

    def recorded(self, role: str) -> list[Record]:
        """Returns the finished trials of this role ("tune" or "seed")."""
        mine = {"optimizer": self.name, "role": role, "steps": self.steps}
        every = store.read(self.path)
        return [r for r in every if mine.items() <= r.items()]


def finish(
    task: Task,
    role: str,
    trials: list[Trial],
    splits: Splits,
    progress: Progress,
) -> None:
    """Trains the trials that have no record yet, all at once, and records them."""
    done = {(r["rate"], r["eps"], r["seed"]) for r in task.recorded(role)}
    missing = [trial for trial in trials if tuple(trial) not in done]
    of_one = seconds_of_step(task.problem.name) * task.steps
    compiling, known = compile_seconds(task.problem), len(trials) - len(missing)
    progress.skip(known, known * of_one + (0.0 if missing else compiling))
    if not missing:
        return
    share, before = len(missing) / CALLS, chain([compiling], repeat(0.0))
    began = time.perf_counter()
    with task.problem.precision():
        curves = train_together(
            task.problem,
            task.candidate.optimizer,
            splits,
            missing,
            task.steps,
            lambda: progress.trained(share, share * of_one + next(before)),
        )
    took = time.perf_counter() - began
    store.append(task.path, describe(task, role, missing, curves, took))


def describe(
    task: Task, role: str, trials: list[Trial], curves: Curves, seconds: float
) -> list[Record]:
    """Returns a record of each trial."""
    shared = {"problem": task.problem.name, "optimizer": task.name, "role": role}
    end = {
        "steps": task.steps,
        "digits": store.DIGITS,
        "seconds_together": round(seconds, 1),
        "trained_together": len(trials),
        "machine": machine.summary(),
    }
    return [
        shared | trial._asdict() | outcome(task.problem, task.steps, *curve) | end
        for trial, *curve in zip(trials, *curves, strict=True)
    ]


def outcome(
    problem: Problem, steps: int, train: np.ndarray, valid: np.ndarray, test: np.ndarray
) -> Record:
    """Returns what a training came to, with its curves thinned."""
    thin = max(1, problem.evaluations // POINTS)
    better = np.greater_equal if problem.larger_is_better else np.less_equal
    reached = np.flatnonzero(better(valid, problem.target))
    step = int(reached[0]) * (steps // problem.evaluations) if len(reached) else None
    return {
        "steps_to_target": step,
        "test": store.rounded(test),
        "train": store.rounded(train.reshape(-1, thin).mean(1)),
        "valid": store.rounded(valid[::thin]),
    }


def best(problem: Problem, tuned: list[Record]) -> tuple[float, float]:
    """Returns the learning rate and eps with the best mean over the tuning seeds.

    It is the mean of the last validation metric; one that is not finite is worst. Where
    nothing but speed is asked, it is the mean of the steps to the target.
    """
    sign = -1 if problem.larger_is_better else 1
    settings: dict[tuple[float, float], list[tuple[float, float]]] = {}
    for record in tuned:
        steps, last = record["steps_to_target"], record["valid"][-1]
        steps = np.inf if steps is None else steps
        last = np.inf if last is None else sign * last
        cost = (steps, last) if problem.chosen_by_speed else (last, steps)
        settings.setdefault((record["rate"], record["eps"]), []).append(cost)
    return min(settings, key=lambda x: tuple(np.mean(settings[x], 0)))


def complete(task: Task, splits: Splits, progress: Progress) -> None:
    """Tunes, if the budget has trials, and trains the seeds of the best."""
    rate, eps = task.candidate.default
    if task.budget.trials:
        trials = [
            Trial(*point, seed)
            for point in task.grid
            for seed in task.budget.tuning_seeds
        ]
        finish(task, "tune", trials, splits, progress)
        wanted = set(map(tuple, trials))
        rate, eps = best(
            task.problem,
            [
                r
                for r in task.recorded("tune")
                if (r["rate"], r["eps"], r["seed"]) in wanted
            ],
        )
    seeds = [Trial(rate, eps, seed) for seed in task.budget.seeds]
    finish(task, "seed", seeds, splits, progress)
