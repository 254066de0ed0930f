"""Fashion-MNIST: 28x28 grey images of ten sorts of clothes (1708.07747, 2017).

It is read, and checked, from the folder of Debian's package `dataset-fashion-mnist`, or
from another folder with the four standard files, gzipped or not, which the environment
variable FASHION_MNIST names.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.data import Splits, idx

FOLDER = "/usr/share/datasets/fashion-mnist"
SHA256S = (
    "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
)
HOW = (
    "install Fashion-MNIST (`apt install dataset-fashion-mnist`), or name a folder by "
    "FASHION_MNIST"
)


def split(labels: np.ndarray, per_class: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns which examples are to train and which to validate: the same every time.

    The first `per_class` of each class, in a random order, validate.
    """
    order = np.random.default_rng(0).permutation(len(labels))
    ranked = order[np.argsort(labels[order], kind="stable")]
    _, starts = np.unique(labels[ranked], return_index=True)
    valid = np.zeros(len(labels), bool)
    valid[ranked[np.add.outer(starts, np.arange(per_class))]] = True
    return np.flatnonzero(~valid), order[valid[order]]


def read(sha256s: Sequence[str] = SHA256S) -> tuple[np.ndarray, ...]:
    """Returns the images, as bytes, and labels to train, and those to test."""
    return idx.read(Path(os.environ.get("FASHION_MNIST") or FOLDER), sha256s, HOW)


def load_splits(sha256s: Sequence[str] = SHA256S, per_class: int = 500) -> Splits:
    """Returns images and labels: 55,000 to train, 5,000 and 10,000."""
    images, labels, *test = read(sha256s)
    train, valid = split(labels, per_class)
    return Splits(
        (images[train], labels[train]), (images[valid], labels[valid]), tuple(test)
    )
