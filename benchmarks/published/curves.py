"""Which curves have others published, and what do they end with?

`curves.json` says where each one is from, and under which licence.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

CURVES = Path(__file__).parent / "curves.json"
SOURCES = ("authors", "replication")
EPOCHS = 200  # of every training that did not stop early
LAST = 5
CIFAR = {"vgg": "VGG-11", "resnet": "ResNet-34", "densenet": "DenseNet-121"}
TREEBANK = {
    "LSTM-1-layer": "LSTM, 1 layer",
    "LSTM-2-layer": "LSTM, 2 layers",
    "LSTM-3-layer": "LSTM, 3 layers",
}
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

    source: str
    model: str
    optimizer: str
    hyperparameters: dict[str, Any]
    train: np.ndarray  # one value per epoch
    test: np.ndarray
    copied: bool  # a replication's file that is the authors', byte for byte

    @property
    def settings(self) -> str:
        """The learning rate, weight decay and eps that the file's name states."""
        names = ["learning_rate", *["weight_decay"] * (self.model in CIFAR), "eps"]
        given = self.hyperparameters
        return ", ".join(f"{given[name]:g}" for name in names if name in given)

    @property
    def last(self) -> float:
        """The mean of the last five epochs on test data."""
        return float(self.test[-LAST:].mean())

    @property
    def best(self) -> int:
        """The index of the best epoch on test data, which has no validation data."""
        pick = np.argmax if self.model in CIFAR else np.argmin
        return int(pick(self.test))

    @property
    def begun(self) -> bool:
        """Whether the file ends before there is anything to compare."""
        return len(self.test) < LAST


@cache
def read() -> list[Training]:
    """Returns all trainings."""
    return [
        Training(
            *(t[name] for name in Training._fields[:4]),
            np.array(t["train"]),
            np.array(t["test"]),
            "identical_to" in t,
        )
        for t in json.loads(CURVES.read_text(encoding="utf-8"))["trainings"]
    ]


def find(source: str, model: str, *optimizers: str) -> list[Training]:
    """Returns the one training of each of these optimizers."""
    mine = {t.optimizer: t for t in read() if (t.source, t.model) == (source, model)}
    return [mine[name] for name in optimizers]


def pairs(model: str) -> list[tuple[Training | None, Training | None]]:
    """Returns the authors' training and the replication's of each setting."""
    known = {(t.optimizer, t.settings, t.source): t for t in read() if t.model == model}
    order = list(LABELS)
    found = sorted({key[:2] for key in known}, key=lambda s: (order.index(s[0]), s[1]))
    return [(known.get((*x, "authors")), known.get((*x, "replication"))) for x in found]
