"""CIFAR-10 and CIFAR-100: 32x32 colour images (Krizhevsky, 2009), in their binary form.

No package brings them. They are read from DeepOBS's folders `cifar-10` and `cifar-100`
in the cache. A record is one byte a label, of which the last counts (CIFAR-100 has a
coarse one before it), then the red, green and blue pixels.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.data import VARIABLE, MissingData, cache

SIZE, COLOURS = 32, 3


class Kind(NamedTuple):
    """Where one of the two is, and how its files look."""

    folder: str
    train: tuple[str, ...]
    test: str
    label_bytes: int


PARTS = tuple(f"data_batch_{i}.bin" for i in range(1, 6))
CIFAR10 = Kind("cifar-10", PARTS, "test_batch.bin", label_bytes=1)
CIFAR100 = Kind("cifar-100", ("train.bin",), "test.bin", label_bytes=2)


def find(kind: Kind, name: str) -> Path:
    """Returns the path of a file."""
    if not (path := cache() / kind.folder / name).is_file():
        raise MissingData(
            f"no {path}; unpack the binary version of {kind.folder.upper()} there, or "
            f"name the folder above by {VARIABLE}"
        )
    return path


def read_file(kind: Kind, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Returns the images, by row, column and colour, and the labels of a file.

    Raises:
        ValueError: if it cannot be a file of this kind.
    """
    data, length = np.fromfile(path, np.uint8), kind.label_bytes + COLOURS * SIZE**2
    if not data.size or data.size % length:
        raise ValueError(
            f"{path}: expected records of {length} bytes, found {data.size} bytes"
        )
    records = data.reshape(-1, length)
    pixels = records[:, kind.label_bytes :].reshape(-1, COLOURS, SIZE, SIZE)
    return pixels.transpose(0, 2, 3, 1), records[:, kind.label_bytes - 1]


def read(kind: Kind) -> tuple[np.ndarray, ...]:
    """Returns the images and labels to train, and those to test."""
    parts = [read_file(kind, find(kind, name)) for name in kind.train]
    images, labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return images, labels, *read_file(kind, find(kind, kind.test))
