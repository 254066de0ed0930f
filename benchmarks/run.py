"""Which optimizer trains what, how well and how fast, at equal tuning?

Every optimizer gets the same number of trials on every problem; the best final
validation metric chooses the learning rate and eps, which ten new seeds then use.

one-shot    the default learning rate and eps, ten seeds
small       10 trials, ten seeds: under four hours on two CPU cores
full        40 trials, ten seeds, four times as many steps: for a GPU

Each finished trial goes to the folder of results. The same command goes on where it was
stopped. `python -m benchmarks report` makes tables and pictures of the results.
"""

import argparse
import copy
import os
import sys
import time
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from benchmarks import records
from benchmarks.demo import allowed
from benchmarks.optimizers import OPTIMIZERS, Optimizer
from benchmarks.problem import MissingData, Problem, Splits, double_precision
from benchmarks.problems import problems
from benchmarks.records import Record
from benchmarks.step_seconds import time_steps
from benchmarks.training import CALLS, Curves, Trial, train

TUNING_SEED = 1000  # of the trials; the seeds of the best are 0, 1, 2, …
SMOKE_RESULTS = Path("smoke-output")
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
    optimizer: Optimizer
    budget: Budget
    path: Path

    @property
    def steps(self) -> int:
        """The steps of one training."""
        return self.problem.steps * self.budget.length

    def recorded(self, role: str) -> list[Record]:
        """Returns the finished trials of this role ("tune" or "seed")."""
        mine = {"optimizer": self.name, "role": role, "steps": self.steps}
        every = records.read(self.path)
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
    with double_precision() if task.problem.float64 else nullcontext():
        curves = train(
            task.problem, task.optimizer, splits, missing, task.steps, bar.update
        )
    seconds = time.perf_counter() - began
    records.append(task.path, describe(task, role, missing, curves, seconds))


def describe(
    task: Task, role: str, trials: list[Trial], curves: Curves, seconds: float
) -> list[Record]:
    """Returns a record of each trial."""
    shared = {"problem": task.problem.name, "optimizer": task.name, "role": role}
    end = {
        "steps": task.steps,
        "seconds_together": round(seconds, 1),
        "trained_together": len(trials),
        "machine": records.machine(),
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
        "test": records.rounded(test),
        "failed": problem.failed(valid),
        "train": records.rounded(train.reshape(-1, thin).mean(1)),
        "valid": records.rounded(valid[::thin]),
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
    rate, eps = task.optimizer.default
    if task.budget.trials:
        grid = task.optimizer.grid(task.budget.trials)
        trials = [Trial(*point, TUNING_SEED) for point in grid]
        finish(task, "tune", trials, splits, bar)
        tuned = [r for r in task.recorded("tune") if (r["rate"], r["eps"]) in grid]
        chosen = best(task.problem, tuned)
        rate, eps = chosen["rate"], chosen["eps"]
    seeds = [Trial(rate, eps, seed) for seed in range(task.budget.seeds)]
    finish(task, "seed", seeds, splits, bar)


def run_problem(problem: Problem, args: argparse.Namespace, bar: tqdm) -> None:
    """Runs all budgets of all optimizers on a problem, then times their steps."""
    try:
        splits = problem.load()
    except MissingData as error:
        bar.write(f"{problem.name} is left out: {error}", sys.stdout)
        bar.total -= parts(args)
        return
    for name in args.optimizer:
        bar.set_description(f"{problem.name}, {name}")
        for budget in args.budget:
            path = records.path_of(args.results, budget, problem.name)
            size = shortened(BUDGETS[budget]) if args.smoke else BUDGETS[budget]
            complete(Task(problem, name, OPTIMIZERS[name], size, path), splits, bar)
    if not args.no_seconds:
        path = records.path_of(args.results, "seconds", problem.name)
        bar.set_description(f"{problem.name}, seconds of a step")
        known = {record["optimizer"] for record in records.read(path)}
        if not known >= set(args.optimizer):
            records.append(path, time_steps(problem, args.optimizer, splits))


def parts(args: argparse.Namespace) -> int:
    """Returns of how many parts the bar makes a problem."""
    roles = sum(2 if BUDGETS[name].trials else 1 for name in args.budget)
    return roles * len(args.optimizer) * CALLS


def shortened(budget: Budget) -> Budget:
    """Returns two trials, if there are any, and two seeds."""
    return Budget(min(2, budget.trials), 2, 1)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this benchmark."""
    add = parser.add_argument
    folder = partial(allowed, "a folder, not a file", Path, lambda p: not p.is_file())
    some = {
        "budget": (BUDGETS, ["small"]),
        "problem": (problems(), list(problems())),
        "optimizer": (OPTIMIZERS, list(OPTIMIZERS)),
    }
    for option, (known, default) in some.items():
        words = f"one or more of {','.join(known)}, with commas"
        check = partial(lambda known, names: known >= set(names), known.keys())
        names = partial(allowed, words, lambda text: text.split(","), check)
        shown = "small" if option == "budget" else "all"
        add(
            f"--{option}", type=names, default=default, help=f"{words}; default {shown}"
        )
    add(
        "--results", type=folder, help="default benchmarks/results; smoke: smoke-output"
    )
    add("--fashion-mnist", type=folder, help="folder with its four IDX files")
    add("--no-seconds", action="store_true", help="do not time single steps in the end")
    add("--smoke", action="store_true", help="few steps, trials and seeds, for a test")


def run(args: argparse.Namespace) -> None:
    """Goes through the problems; those whose data is missing are left out."""
    if args.fashion_mnist:
        os.environ["FASHION_MNIST"] = str(args.fashion_mnist)
    # What --smoke trains must never be among the published results.
    args.results = args.results or (SMOKE_RESULTS if args.smoke else records.RESULTS)
    print(f"{__doc__}\n{records.machine()}", flush=True)
    with tqdm(total=parts(args) * len(args.problem), unit="part") as bar:
        try:
            for problem in map(problems().get, args.problem):
                run_problem(smaller(problem) if args.smoke else problem, args, bar)
        except KeyboardInterrupt:
            sys.exit("stopped; the same command goes on from what is recorded")


def smaller(problem: Problem) -> Problem:
    """Returns the problem with one step between evaluations."""
    problem = copy.copy(problem)
    problem.evaluations = problem.steps = CALLS
    return problem
