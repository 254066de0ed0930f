"""Which curves have others published, and what do they end with?

`curves.json` says where each one is from, and under which licence.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

CURVES = Path(__file__).parent / "curves.json"
EPOCHS = 200  # of every training that did not stop early
LAST = 5
CIFAR, TREEBANK = "cifar10", "ptb"
MODELS = {
    CIFAR: {"vgg": "VGG-11", "resnet": "ResNet-34", "densenet": "DenseNet-121"},
    TREEBANK: {f"LSTM-{n}-layer": f"LSTM, {n} layers" for n in (2, 3)},
}
MODELS[TREEBANK] = {"LSTM-1-layer": "LSTM, 1 layer"} | MODELS[TREEBANK]
LABELS = {
    "adabelief": "AdaBelief",
    "adam": "Adam",
    "sgd": "SGD",
    "adamw": "AdamW",
    "radam": "RAdam",
    "yogi": "Yogi",
    "adabound": "AdaBound",
    "msvag": "MSVAG",
    "fromage": "Fromage",
    "apollo": "Apollo",
}


class Training(NamedTuple):
    """One training, of one seed."""

    source: str  # "authors" or "replication"
    task: str
    model: str
    optimizer: str
    hyperparameters: dict[str, Any]
    train: np.ndarray  # one value per epoch
    test: np.ndarray
    copied: bool  # a replication's file that is the authors', byte for byte

    @property
    def setting(self) -> tuple[str, str, str, str]:
        """What two trainings of one setting have in common."""
        return self.task, self.model, self.optimizer, settings(self)

    @property
    def last(self) -> float:
        """The mean of the last five epochs on test data."""
        return float(self.test[-LAST:].mean())

    @property
    def best(self) -> int:
        """The index of the best epoch on test data, which has no validation data."""
        pick = np.argmax if self.task == CIFAR else np.argmin
        return int(pick(self.test))

    @property
    def begun(self) -> bool:
        """Whether the file ends before there is anything to compare."""
        return len(self.test) < LAST


def settings(training: Training) -> str:
    """Returns the learning rate, weight decay and eps that the file's name states."""
    given = training.hyperparameters
    words = [f"{given['learning_rate']:g}"]
    if training.task == CIFAR:
        words.append(f"{given['weight_decay']:g}")
    if "eps" in given:
        words.append(f"{given['eps']:g}")
    return ", ".join(words)


def read() -> list[Training]:
    """Returns all trainings."""
    trainings = json.loads(CURVES.read_text(encoding="utf-8"))["trainings"]
    names = Training._fields[:5]
    return [
        Training(
            *(t[name] for name in names),
            np.array(t["train"]),
            np.array(t["test"]),
            "identical_to" in t,
        )
        for t in trainings
    ]


def find(
    trainings: list[Training], source: str, task: str, model: str, optimizer: str
) -> Training:
    """Returns the one training of these names."""
    (found,) = (
        t
        for t in trainings
        if (t.source, t.task, t.model, t.optimizer) == (source, task, model, optimizer)
    )
    return found


def pairs(
    trainings: list[Training], task: str, model: str
) -> Iterator[tuple[Training | None, Training | None]]:
    """Yields the authors' training and the replication's of each setting."""
    mine = [t for t in trainings if (t.task, t.model) == (task, model)]
    known = {(t.source, t.setting): t for t in mine}
    order = list(LABELS)
    found = sorted({t.setting for t in mine}, key=lambda s: (order.index(s[2]), s[3]))
    for setting in found:
        yield known.get(("authors", setting)), known.get(("replication", setting))


def first(curve: np.ndarray, level: float) -> int | None:
    """Returns the first epoch, from 1, at which a curve has risen to a level."""
    (reached,) = np.nonzero(curve >= level)
    return int(reached[0]) + 1 if len(reached) else None
