"""The IDX files of MNIST and Fashion-MNIST: 28x28 grey images and their labels.

An IDX file begins with four bytes, of which the last is the number of axes; then come
the axes' lengths, big-endian, and here a byte for each pixel or label.
"""

import gzip
import hashlib
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.data import MissingData

NAMES = tuple(
    f"{part}-{kind}-ubyte"
    for part in ("train", "t10k")
    for kind in ("images-idx3", "labels-idx1")
)


def read(folder: Path, sha256s: Sequence[str], how: str) -> tuple[np.ndarray, ...]:
    """Returns images and labels to train, and those to test.

    Args:
        folder: it has the four files, gzipped or not.
        sha256s: of the four files, uncompressed.
        how: how to get them, and whose they are.
    """
    paths = [find(folder, name, how) for name in NAMES]
    return tuple(map(read_file, paths, sha256s))


def find(folder: Path, name: str, how: str) -> Path:
    """Returns the path of a file, gzipped or not."""
    for path in (folder / f"{name}.gz", folder / name):
        if path.is_file():
            return path
    raise MissingData(f"no {name} nor {name}.gz in {folder}: {how}")


def read_file(path: Path, sha256: str) -> np.ndarray:
    """Returns the array of a file, or raises ValueError if it is not the known one."""
    data = path.read_bytes()
    try:
        data = gzip.decompress(data) if path.suffix == ".gz" else data
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path}: expected a whole gzip file, but {error}") from error
    if (found := hashlib.sha256(data).hexdigest()) != sha256:
        raise ValueError(f"{path}: expected SHA-256 {sha256}, found {found}")
    shape = np.frombuffer(data, ">u4", count=data[3], offset=4)
    return np.frombuffer(data, np.uint8, offset=4 + shape.nbytes).reshape(shape)
