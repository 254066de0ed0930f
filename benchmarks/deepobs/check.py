"""Do our trainings come to what others have published?

The published numbers are those of the Crowded Valley study (Schmidt, Schneider, Hennig,
"Descending through a Crowded Valley", ICML 2021): `published.json` names their source.
"""

import argparse
import json
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.data import MissingData
from benchmarks.deepobs.problem import Problem
from benchmarks.deepobs.problems import PROBLEMS
from benchmarks.deepobs.problems.quadratic_deep import QuadraticDeep
from benchmarks.deepobs.rules import NoRule, published
from benchmarks.deepobs.runs import Run, Runs, complete, curve_of
from benchmarks.deepobs.training import Curves, Program
from benchmarks.store import Record

PUBLISHED = Path(__file__).parent / "published.json"
ORDERS, DEVIATIONS, LEAST = 25, 3, 0.02  # of the quadratic's batches, which are random
FIRST_SEED, SEEDS = 42, 3  # of networks; the study's begin with the same number
FIELDS = {"problem", "optimizer", "seed", "batch_size", "hyperparameters", "epochs"}
Training = dict[str, Any]


class Criterion(NamedTuple):
    """How near is near: in a metric, at every epoch or in the mean over the epochs."""

    metric: str
    epochs: int
    tolerance: float
    relative: bool
    averaged: bool = False


# Of CIFAR-10: three standard deviations of the difference between one training and the
# mean of three, as the study's own seeds scatter. Their means over five epochs have a
# standard deviation of 0.6 to 0.9 points of accuracy and 0.4 to 2.8 % of the loss.
CRITERIA = {
    "fmnist_2c2d": [Criterion("test_accuracy", 5, 0.007, relative=False)],
    "cifar10_3c3d": [
        Criterion("test_accuracy", 5, 0.03, relative=False, averaged=True),
        Criterion("test_loss", 5, 0.08, relative=True, averaged=True),
    ],
}
OTHERWISE = [Criterion("test_loss", 1, 0.03, relative=True)]


class Verdict(NamedTuple):
    """What is said of one training, and whether it held; None if not compared."""

    name: str
    held: bool | None
    words: str

    @property
    def line(self) -> str:
        """What is printed."""
        judged = {True: "held", False: "not held", None: "not checked"}[self.held]
        return f"{judged:<13}{self.name}: {self.words}"


def read(path: Path) -> list[Training]:
    """Returns the trainings of a file, or exits and says what is wrong with it."""
    try:
        trainings = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SystemExit(f"cannot read {path}: {error}") from None
    if isinstance(trainings, dict):
        trainings = trainings.get("trainings")
    if not isinstance(trainings, list):
        raise SystemExit(f"{path}: expected a list of trainings")
    for number, training in enumerate(trainings, 1):
        if not isinstance(training, dict) or not FIELDS <= set(training):
            wanted = ", ".join(sorted(FIELDS))
            raise SystemExit(f"{path}, training {number}: expected {wanted}")
    return trainings


def check(trainings: list[Training], args: argparse.Namespace) -> Iterator[Verdict]:
    """Yields a verdict on each training; neighbours that are alike are trained once."""
    for _, group in groupby(trainings, what):
        alike = list(group)
        try:
            curves = trained(alike[0], args)
        except (MissingData, NoRule) as error:
            yield from (Verdict(describe(x), None, str(error)) for x in alike)
        else:
            yield from (compared(x, curves) for x in alike)


def what(training: Training) -> Training:
    """Returns all that tells a training from others but the seed."""
    return {k: v for k, v in training.items() if k not in ("seed", "epochs")}


def describe(training: Training) -> str:
    """Returns which training it is."""
    number = training.get("hessian")
    hessian = "" if number is None else f", Hessian {number}"
    return "{problem}, {optimizer}, seed {seed}".format(**training) + hessian


def problem_of(training: Training, together: int) -> Problem:
    """Returns the problem as the training had it."""
    if (name := training["problem"]) not in PROBLEMS:
        raise NoRule(f"no rule for a problem {name}; there are {', '.join(PROBLEMS)}")
    problem = PROBLEMS[name]()
    problem.batch_size = training["batch_size"]
    if isinstance(problem, QuadraticDeep):
        problem.hessian = training.get("hessian") or 0
    else:
        problem.together = together
    return problem


def trained(training: Training, args: argparse.Namespace) -> Curves:
    """Returns our curves: of many batch orders of the quadratic, or of some seeds."""
    problem = problem_of(training, args.together)
    hyperparameters = dict(training["hyperparameters"])
    make = published(training["optimizer"], hyperparameters)
    rate = hyperparameters.pop("learning_rate")
    program = Program(problem, make, problem.load())
    if isinstance(problem, QuadraticDeep):
        epochs = min(problem.epochs, args.epochs or problem.epochs)
        return program.train(np.full(ORDERS, rate), np.arange(ORDERS), epochs)
    longest = criteria(training)[0].epochs
    epochs = min(longest, args.epochs or longest)
    runs = Runs(program, training["optimizer"], hyperparameters, epochs, args.results)
    seeds = range(FIRST_SEED, FIRST_SEED + (args.seeds or SEEDS))
    return stacked(complete(runs, [Run(rate, seed) for seed in seeds]))


def recorded(training: Training, records: list[Record]) -> Curves | None:
    """Returns the curves of our records of a training, or None without records."""
    hyperparameters = dict(training["hyperparameters"])
    wanted = {
        "rate": hyperparameters.pop("learning_rate"),
        "hyperparameters": hyperparameters,
        "optimizer": training["optimizer"],
        "batch_size": training["batch_size"],
    }
    mine = [r for r in records if "curves" in r and wanted.items() <= r.items()]
    return stacked(mine) if mine else None


def stacked(records: list[Record]) -> Curves:
    """Returns the curves of several records, as far as the shortest goes."""
    epochs = min(r["epochs"] for r in records)
    return {
        metric: np.stack([curve_of(r, metric)[: epochs + 1] for r in records])
        for metric in records[0]["curves"]
    }


def criteria(training: Training) -> list[Criterion]:
    """Returns the criteria for a network."""
    return CRITERIA.get(training["problem"], OTHERWISE)


def compared(training: Training, curves: Curves) -> Verdict:
    """Compares a training with ours; the metric that is furthest off decides."""
    there = {k: np.array(v, float) for k, v in training["epochs"].items()}
    if training["problem"] == QuadraticDeep.name:
        found = [in_band(m, there[m], curves[m]) for m in curves if m in there]
    else:
        fitting = [c for c in criteria(training) if len(there.get(c.metric, ())) > 1]
        found = [near(c, there[c.metric], curves[c.metric]) for c in fitting]
    if not found:
        return Verdict(describe(training), None, "it has no metric to compare")
    off, words = max(found)
    return Verdict(describe(training), off <= 1, words)


def in_band(metric: str, there: np.ndarray, ours: np.ndarray) -> tuple[float, str]:
    """Compares with the mean and the standard deviation over the batch orders.

    Returns how far off the worst epoch is, as a share of what is allowed, and says so.
    """
    length = min(len(there), ours.shape[1])
    there, mean = there[:length], ours[:, :length].mean(0)
    deviation = np.maximum(ours[:, :length].std(0, ddof=1), LEAST)
    units = np.nan_to_num(np.abs(there - mean) / deviation, nan=np.inf)
    epoch = int(units.argmax())
    words = (
        f"at most {units[epoch]:.2f} of {DEVIATIONS} standard deviations off, in "
        f"{metric} at epoch {epoch}: {there[epoch]:.6g}, ours {mean[epoch]:.6g} ± "
        f"{deviation[epoch]:.2g}"
    )
    return float(units[epoch]) / DEVIATIONS, words


def near(c: Criterion, there: np.ndarray, ours: np.ndarray) -> tuple[float, str]:
    """Compares with the mean over our seeds, from epoch 1 on; returns as `in_band`."""
    count, length = len(ours), min(c.epochs, len(there) - 1, ours.shape[1] - 1)
    there, here = there[1 : length + 1], ours.mean(0)[1 : length + 1]
    if c.averaged:
        there, here = there.mean(keepdims=True), here.mean(keepdims=True)
    allowed = c.tolerance * (np.abs(there) if c.relative else 1.0)
    off = np.nan_to_num(np.abs(here - there) / allowed, nan=np.inf)
    worst = int(off.argmax())
    place = "in the mean of epochs 1 to" if c.averaged else f"at epoch {worst + 1} of"
    unit = "%" if c.relative else "points"
    words = (
        f"at most {100 * c.tolerance * off[worst]:.2f} of {100 * c.tolerance:.2g} "
        f"{unit} off, in {c.metric} {place} {length}: {there[worst]:.6g}, ours "
        f"{here[worst]:.6g} ({count} seed{'s' if count > 1 else ''})"
    )
    return float(off[worst]), words
