"""What is trained with one optimizer on one problem: the tuning, then the seeds.

What has a record already is not trained again.
"""

import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from benchmarks import machine
from benchmarks.data import Splits
from benchmarks.suite import store
from benchmarks.suite.candidates import Candidate
from benchmarks.suite.problem import Problem
from benchmarks.suite.store import Record
from benchmarks.suite.trials import CALLS, Curves, Trial, train_together

TUNING_SEED = 1000  # of the trials; the seeds of the best are 0, 1, 2, …
POINTS = 25  # kept of a curve, at most


class Budget(NamedTuple):
    """Trials to tune with, seeds of the best, and how many times the usual steps."""

    trials: int
    seeds: int
    length: int


BUDGETS = {
    "one-shot": Budget(0, 10, 1),
    "small": Budget(10, 10, 1),
    "full": Budget(40, 10, 4),
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
        return self.problem.steps * self.budget.length

    def recorded(self, role: str) -> list[Record]:
        """Returns the finished trials of this role ("tune" or "seed")."""
        mine = {"optimizer": self.name, "role": role, "steps": self.steps}
        every = store.read(self.path)
        return [r for r in every if mine.items() <= r.items()]


def finish(
    task: Task, role: str, trials: list[Trial], splits: Splits, bar: tqdm
) -> None:
    """Trains the trials that have no record yet, all at once, and records them."""
    done = {(r["rate"], r["eps"], r["seed"]) for r in task.recorded(role)}
    missing = [trial for trial in trials if tuple(trial) not in done]
    bar.update(CALLS if not missing else 0)
    if not missing:
        return
    began = time.perf_counter()
    with task.problem.precision():
        curves = train_together(
            task.problem,
            task.candidate.optimizer,
            splits,
            missing,
            task.steps,
            bar.update,
        )
    seconds = time.perf_counter() - began
    store.append(task.path, describe(task, role, missing, curves, seconds))


def describe(
    task: Task, role: str, trials: list[Trial], curves: Curves, seconds: float
) -> list[Record]:
    """Returns a record of each trial."""
    shared = {"problem": task.problem.name, "optimizer": task.name, "role": role}
    end = {
        "steps": task.steps,
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
        "failed": problem.failed(valid),
        "train": store.rounded(train.reshape(-1, thin).mean(1)),
        "valid": store.rounded(valid[::thin]),
    }


def best(problem: Problem, tuned: list[Record]) -> Record:
    """Returns the trial with the best last validation metric; not finite is worst.

    Where nothing but speed is asked, it is the one with the fewest steps to the target.
    """
    sign = -1 if problem.larger_is_better else 1

    def cost(record: Record) -> tuple[float, float]:
        steps, last = record["steps_to_target"], record["valid"][-1]
        steps = np.inf if steps is None else steps
        last = np.inf if last is None else sign * last
        return (steps, last) if problem.chosen_by_speed else (last, steps)

    return min(tuned, key=cost)


def complete(task: Task, splits: Splits, bar: tqdm) -> None:
    """Tunes, if the budget has trials, and trains the seeds of the best."""
    rate, eps = task.candidate.default
    if task.budget.trials:
        grid = task.candidate.grid(task.budget.trials)
        trials = [Trial(*point, TUNING_SEED) for point in grid]
        finish(task, "tune", trials, splits, bar)
        tuned = [r for r in task.recorded("tune") if (r["rate"], r["eps"]) in grid]
        chosen = best(task.problem, tuned)
        rate, eps = chosen["rate"], chosen["eps"]
    seeds = [Trial(rate, eps, seed) for seed in range(task.budget.seeds)]
    finish(task, "seed", seeds, splits, bar)
