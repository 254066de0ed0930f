"""How are finished trainings kept, so that nothing is trained twice?

A line of JSON for each, as soon as it ends. It says all that the training depends on,
and the losses of its first batches. Before records are used, this beginning is computed
again of one of them: if it has changed, so has something that no name or number says,
and all are trained again.
"""

import time
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from benchmarks import machine, store
from benchmarks.deepobs.problem import Problem
from benchmarks.deepobs.training import Outcome, Program
from benchmarks.store import Record, append, read

RESULTS = store.RESULTS / "deepobs"
# As many significant digits as the published numbers have.
rounded = partial(store.rounded, digits=6)
CHANGED = 1e-2  # of a loss, beyond what other hardware rounds


class Run(NamedTuple):
    """What tells trainings of one optimizer apart."""

    rate: float
    seed: int


class Runs(NamedTuple):
    """Trainings of a problem by one optimizer, and where their records are."""

    program: Program
    optimizer: str
    hyperparameters: dict[str, Any]  # but the learning rate
    epochs: int
    folder: Path
    with_curves: bool = True  # else what they end with alone is kept

    @property
    def problem(self) -> Problem:
        """What is trained."""
        return self.program.problem

    @property
    def path(self) -> Path:
        """The file of the records."""
        return self.folder / f"{self.problem.name}.jsonl"

    @property
    def key(self) -> Record:
        """What they depend on, but the learning rate, the seed and the length."""
        what = {
            "problem": self.problem.name,
            "hessian": self.problem.hessian,
            "batch_size": self.problem.batch_size,
            "optimizer": self.optimizer,
            "hyperparameters": self.hyperparameters,
        }
        optional = {
            "data": self.problem.data,
            "schedule": None if self.constant else self.program.schedule,
        }
        return what | {name: value for name, value in optional.items() if value}

    @property
    def constant(self) -> bool:
        """Whether a training begins as a shorter one does."""
        return self.program.schedule == "constant"

    @property
    def steps(self) -> int:
        """The steps of one training."""
        return self.epochs * len(self.program.order(np.zeros(1)))


def complete(runs: Runs, wanted: list[Run], bar: tqdm) -> list[Record]:
    """Trains what has no record yet, and returns the records of all."""
    known = unchanged(runs, recorded(runs, wanted))
    bar.update(runs.steps * len(known))
    missing = [run for run in wanted if run not in known]
    size = runs.problem.together or len(wanted)
    for start in range(0, len(missing), size):
        group = missing[start : start + size]
        began = time.perf_counter()
        advance = partial(bar.update, len(group))
        outcome = runs.program.train(*columns(runs, group), runs.epochs, advance)
        seconds = round(time.perf_counter() - began, 1)
        described = describe(runs, group, outcome, seconds)
        append(runs.path, described)
        known |= dict(zip(group, described, strict=True))
    return [known[run] for run in wanted]


def columns(runs: Runs, group: list[Run]) -> tuple[Any, Any]:
    """Returns learning rates and seeds as the program wants them.

    A group is filled up, so that one compiled program serves groups of every size.
    """
    if not runs.program.together:
        return group[0].rate, group[0].seed
    group = group + group[-1:] * ((runs.problem.together or 0) - len(group))
    return np.array([run.rate for run in group]), np.array([run.seed for run in group])


def recorded(runs: Runs, wanted: list[Run]) -> dict[Run, Record]:
    """Returns the records there are; those with curves may be of longer trainings."""
    found = {}
    for record in read(runs.path):
        run = Run(record["rate"], record["seed"])
        longer = runs.with_curves and runs.constant and record["epochs"] > runs.epochs
        if (
            run in wanted
            and runs.key.items() <= record.items()
            and (record["epochs"] == runs.epochs or longer)
            and ("curves" in record) == runs.with_curves
        ):
            found[run] = record
    return found


def unchanged(runs: Runs, known: dict[Run, Record]) -> dict[Run, Record]:
    """Returns these records, or none if the first has another beginning now."""
    for run, record in known.items():
        now = runs.program.beginning(*columns(runs, [run]), record["epochs"])
        now = np.atleast_2d(now)[0]
        before = np.array(record["beginning"], float)
        return known if np.allclose(now, before, CHANGED, 0, equal_nan=True) else {}
    return {}


def describe(
    runs: Runs, group: list[Run], outcome: Outcome, seconds: float
) -> list[Record]:
    """Returns a record of each training."""
    curves = {k: np.atleast_2d(v) for k, v in outcome.curves.items()}
    beginning = np.atleast_2d(outcome.beginning)
    end = {
        "seconds_together": seconds,
        "trained_together": len(beginning),
        "machine": machine.summary(),
    }
    records = []
    for i, run in enumerate(group):
        kept = (
            {"curves": {name: rounded(curve[i]) for name, curve in curves.items()}}
            if runs.with_curves
            else {"last": {k: rounded(curve[i, -1]) for k, curve in curves.items()}}
        )
        what = runs.key | run._asdict() | {"epochs": runs.epochs}
        records.append(what | kept | {"beginning": rounded(beginning[i])} | end)
    return records


def curve_of(record: Record, name: str, epochs: int) -> np.ndarray:
    """Returns a curve up to an epoch, with NaN for what is not finite."""
    return np.array(record["curves"][name][: epochs + 1], float)
