"""How are finished trainings kept, so that nothing is trained twice?

A line of JSON for each, as soon as it ends. It says all that the training depends on,
and the losses of its first batches. Before records are used, this beginning is computed
again of one of them: if it has changed, so has something that no name or number says,
and all are trained again.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks import machine, store
from benchmarks.deepobs.training import Program
from benchmarks.store import Record

RESULTS = store.RESULTS / "deepobs"
OLDER = {"data": None, "schedule": "constant"}  # what the first records do not say
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
    def path(self) -> Path:
        """The file of the records."""
        return self.folder / f"{self.program.problem.name}.jsonl"

    @property
    def key(self) -> Record:
        """What they depend on, but the learning rate and the seed."""
        problem = self.program.problem
        return {
            "problem": problem.name,
            "hessian": problem.hessian,
            "batch_size": problem.batch_size,
            "data": problem.data,
            "optimizer": self.optimizer,
            "hyperparameters": self.hyperparameters,
            "schedule": self.program.schedule,
            "epochs": self.epochs,
        }


def read(path: Path) -> list[Record]:
    """Returns the records of a file."""
    return [OLDER | record for record in store.read(path)]


def complete(runs: Runs, wanted: list[Run]) -> list[Record]:
    """Trains what has no record yet, and returns the records of all."""
    known = unchanged(runs, recorded(runs))
    missing = [run for run in wanted if run not in known]
    together = runs.program.problem.together
    for start in range(0, len(missing), together):
        group = missing[start : start + together]
        records = list(trained(runs, group))
        store.append(runs.path, records)
        known |= dict(zip(group, records, strict=True))
    return [known[run] for run in wanted]


def recorded(runs: Runs) -> dict[Run, Record]:
    """Returns the records there are."""
    return {
        Run(record["rate"], record["seed"]): record
        for record in read(runs.path)
        if runs.key.items() <= record.items()
        and ("curves" in record) == runs.with_curves
    }


def unchanged(runs: Runs, known: dict[Run, Record]) -> dict[Run, Record]:
    """Returns these records, or none if the first has another beginning now."""
    for run, record in known.items():
        now, *_ = runs.program.beginning(*columns(runs, [run]), runs.epochs)
        before = np.array(record["beginning"], float)
        return known if np.allclose(now, before, CHANGED, 0, equal_nan=True) else {}
    return {}


def columns(runs: Runs, group: list[Run]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the learning rates and the seeds of a group.

    It is filled up, so that one compiled program serves groups of every size.
    """
    group = group + group[-1:] * (runs.program.problem.together - len(group))
    return np.array([run.rate for run in group]), np.array([run.seed for run in group])


def trained(runs: Runs, group: list[Run]) -> Iterator[Record]:
    """Trains a group, and yields the record of each training."""
    what = *columns(runs, group), runs.epochs
    curves, beginning = runs.program.train(*what), runs.program.beginning(*what)
    for i, run in enumerate(group):
        mine = {name: rounded(curve[i]) for name, curve in curves.items()}
        last = {name: curve[-1] for name, curve in mine.items()}
        yield {
            **runs.key,
            **run._asdict(),
            **({"curves": mine} if runs.with_curves else {"last": last}),
            "beginning": rounded(beginning[i]),
            "machine": machine.summary(),
        }


def curve_of(record: Record, name: str) -> np.ndarray:
    """Returns a curve, with NaN for what is not finite."""
    return np.array(record["curves"][name], float)
