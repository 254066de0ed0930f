"""Do our trainings come to what others have published?

The published numbers are those of the Crowded Valley study (Schmidt, Schneider, Hennig,
"Descending through a Crowded Valley", ICML 2021): `published.json` names their source.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

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
    except OSError as error:
        raise SystemExit(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise SystemExit(f"{path} is no JSON: {error}") from None
    if isinstance(trainings, dict):
        trainings = trainings.get("trainings")
    if not isinstance(trainings, list):
        raise SystemExit(f"{path}: expected a list of trainings")
    for number, training in enumerate(trainings, 1):
        if not isinstance(training, dict) or not FIELDS <= set(training):
            wanted = ", ".join(sorted(FIELDS))
            raise SystemExit(f"{path}, training {number}: expected {wanted}")
    return trainings


class Size(NamedTuple):
    """How much is trained for the check."""

    epochs: int | None  # at most
    seeds: int
    folder: Path  # of the records
    together: int = 1  # networks at once


def check(trainings: list[Training], size: Size, bar: tqdm) -> Iterator[Verdict]:
    """Yields a line on each training; what they share is trained once."""
    known: dict[str, Curves] = {}
    for training in trainings:
        name = describe(training)
        bar.set_description(name)
        try:
            yield verdict(training, name, size, bar, known)
        except (MissingData, NoRule) as error:
            yield Verdict(name, None, str(error))


def describe(training: Training) -> str:
    """Returns which training it is."""
    number = training.get("hessian")
    hessian = "" if number is None else f", Hessian {number}"
    return "{problem}, {optimizer}, seed {seed}".format(**training) + hessian


def problem_of(training: Training, together: int) -> Problem:
    """Returns the problem as the training had it."""
    if (name := training["problem"]) not in PROBLEMS:
        raise NoRule(f"no rule for a problem {name}; there are {', '.join(PROBLEMS)}")
    if name == QuadraticDeep.name:
        problem: Problem = QuadraticDeep(training.get("hessian") or 0)
    else:
        problem = PROBLEMS[name]()
        problem.together = together
    problem.batch_size = training["batch_size"]
    return problem


def verdict(
    training: Training, name: str, size: Size, bar: tqdm, known: dict[str, Curves]
) -> Verdict:
    """Trains as the published training did, unless that is known, and compares."""
    problem = problem_of(training, size.together)
    criteria = CRITERIA.get(problem.name, OTHERWISE)
    bands = isinstance(problem, QuadraticDeep)
    longest = problem.epochs if bands else criteria[0].epochs
    epochs = min(longest, size.epochs or longest)
    what = {k: v for k, v in training.items() if k not in ("seed", "epochs")}
    if (key := json.dumps(what, sort_keys=True)) not in known:
        known[key] = trained(training, problem, size._replace(epochs=epochs), bar)
    if bands:
        return in_bands(training, name, known[key], epochs)
    return of_network(training, name, known[key], epochs)


def trained(training: Training, problem: Problem, size: Size, bar: tqdm) -> Curves:
    """Returns our curves: of many batch orders of the quadratic, or of some seeds."""
    hyperparameters = dict(training["hyperparameters"])
    make = published(training["optimizer"], hyperparameters)
    rate = hyperparameters.pop("learning_rate")
    program = Program(problem, make, problem.load())
    epochs = size.epochs or problem.epochs
    if isinstance(problem, QuadraticDeep):
        return program.train(np.full(ORDERS, rate), np.arange(ORDERS), epochs).curves
    name = training["optimizer"]
    runs = Runs(program, name, hyperparameters, epochs, size.folder)
    wanted = [Run(rate, FIRST_SEED + i) for i in range(size.seeds)]
    bar.total += runs.steps * len(wanted)
    records = complete(runs, wanted, bar)
    return {
        metric: np.stack([curve_of(r, metric, epochs) for r in records])
        for metric in records[0]["curves"]
    }


def of_records(training: Training, records: list[Record]) -> Verdict | None:
    """Returns the verdict on a network by what is recorded, or None without records."""
    hyperparameters = dict(training["hyperparameters"])
    wanted = {"rate": hyperparameters.pop("learning_rate")}
    wanted |= {"hyperparameters": hyperparameters}
    wanted |= {name: training[name] for name in ("optimizer", "batch_size")}
    mine = [r for r in records if "curves" in r and wanted.items() <= r.items()]
    if not mine:
        return None
    epochs = min(r["epochs"] for r in mine)
    curves = {
        metric: np.stack([curve_of(r, metric, epochs) for r in mine])
        for metric in mine[0]["curves"]
    }
    return of_network(training, describe(training), curves, epochs)


def of_network(training: Training, name: str, curves: Curves, epochs: int) -> Verdict:
    """Compares by all criteria of the problem; one that does not hold decides."""
    criteria = CRITERIA.get(training["problem"], OTHERWISE)
    length = min(epochs, criteria[0].epochs)
    found = [within(training, name, curves, c, length) for c in criteria]
    compared = [v for v in found if v.held is not None]
    return min(compared, key=lambda v: bool(v.held), default=found[0])


def in_bands(training: Training, name: str, curves: Curves, length: int) -> Verdict:
    """Compares with the mean and the standard deviation over the batch orders."""
    worst = (-1.0, "nothing to compare")
    for metric in sorted(set(curves) & set(training["epochs"])):
        there = published_curve(training, metric, length)
        here = curves[metric][:, : len(there)]
        mean = here.mean(0)
        deviation = np.maximum(here.std(0, ddof=1), LEAST)
        units = np.nan_to_num(np.abs(there - mean) / deviation, nan=np.inf)
        epoch = int(units.argmax())
        words = (
            f"at most {units[epoch]:.2f} of {DEVIATIONS} standard deviations off, in "
            f"{metric} at epoch {epoch}: {there[epoch]:.6g}, ours {mean[epoch]:.6g} ± "
            f"{deviation[epoch]:.2g}"
        )
        worst = max(worst, (float(units[epoch]), words))
    return judged(name, worst, DEVIATIONS)


def within(
    training: Training,
    name: str,
    curves: Curves,
    criterion: Criterion,
    length: int,
) -> Verdict:
    """Compares with the mean over our seeds, from epoch 1 on."""
    metric = criterion.metric
    if metric not in training["epochs"]:
        return Verdict(name, None, f"it has no {metric}")
    there = published_curve(training, metric, length)[1:]
    here = curves[metric].mean(0)[1 : 1 + len(there)]
    if not len(there):
        return Verdict(name, None, "it has no epochs")
    place = "in the mean of epochs 1 to"
    if criterion.averaged:
        there, here = there.mean(keepdims=True), here.mean(keepdims=True)
    allowed = criterion.tolerance * (np.abs(there) if criterion.relative else 1.0)
    off = np.nan_to_num(np.abs(there - here) / allowed, nan=np.inf)
    worst = int(off.argmax())
    if not criterion.averaged:
        place = f"at epoch {worst + 1} of"
    difference, count = criterion.tolerance * off[worst], len(curves[metric])
    unit = "%" if criterion.relative else "points"
    words = (
        f"at most {100 * difference:.2f} of {100 * criterion.tolerance:.2g} {unit} "
        f"off, in {metric} {place} {length}: {there[worst]:.6g}, ours "
        f"{here[worst]:.6g} ({count} seed{'s' if count > 1 else ''})"
    )
    return judged(name, (float(off[worst]), words), 1)


def published_curve(training: Training, metric: str, length: int) -> np.ndarray:
    """Returns a published curve up to an epoch."""
    return np.array(training["epochs"][metric][: length + 1], float)


def judged(name: str, worst: tuple[float, str], allowed: float) -> Verdict:
    """Returns the verdict on the largest deviation."""
    if worst[0] < 0:
        return Verdict(name, None, worst[1])
    return Verdict(name, worst[0] <= allowed, worst[1])
