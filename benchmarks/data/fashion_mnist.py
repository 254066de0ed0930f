"""Fashion-MNIST: 28x28 grey images of ten sorts of clothes (1708.07747, 2017).

It is read, and checked, from the folder of Debian's package `dataset-fashion-mnist`, or
from another folder with the four standard files, gzipped or not, which the environment
variable FASHION_MNIST names.
"""

import gzip
import hashlib
import os
import zlib
from pathlib import Path

import numpy as np

from benchmarks.data import MissingData, Splits

FOLDER = "/usr/share/datasets/fashion-mnist"
IMAGES, LABELS = "images-idx3-ubyte", "labels-idx1-ubyte"
# The shape of each file's array, and the SHA-256 of the whole file, uncompressed.
FILES = {
    f"train-{IMAGES}": (
        (60_000, 28, 28),
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    ),
    f"train-{LABELS}": (
        (60_000,),
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    ),
    f"t10k-{IMAGES}": (
        (10_000, 28, 28),
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    ),
    f"t10k-{LABELS}": (
        (10_000,),
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
}


def find(folder: Path, name: str) -> Path:
    """Returns the path of a file, gzipped or not."""
    for path in (folder / f"{name}.gz", folder / name):
        if path.is_file():
            return path
    raise MissingData(
        f"Fashion-MNIST: no {name} nor {name}.gz in {folder}; `apt install "
        "dataset-fashion-mnist`, or name a folder by --fashion-mnist or FASHION_MNIST"
    )


def contents(path: Path) -> bytes:
    """Returns what is in a file, uncompressed."""
    if path.suffix != ".gz":
        return path.read_bytes()
    try:
        return gzip.decompress(path.read_bytes())
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path}: expected a whole gzip file, but {error}") from error


def read_idx(path: Path, shape: tuple[int, ...], sha256: str) -> np.ndarray:
    """Returns the bytes of an IDX file as an array, or raises ValueError.

    An IDX file begins with a magic number, of which the third byte, 8, means unsigned
    bytes and the fourth is the number of axes; then the axes' lengths, big-endian.
    """

    def check(what: str, found: object, expected: object) -> None:
        if found != expected:
            raise ValueError(f"{path}: expected {what} {expected}, found {found}")

    data, header = contents(path), 4 + 4 * len(shape)
    check("magic number", data[:4].hex(), bytes((0, 0, 8, len(shape))).hex())
    sizes = (int.from_bytes(data[i : i + 4], "big") for i in range(4, header, 4))
    check("shape", tuple(sizes), shape)
    check("bytes", len(data), header + int(np.prod(shape)))
    check("SHA-256", hashlib.sha256(data).hexdigest(), sha256)
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape)


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


def read(files: dict = FILES) -> tuple[np.ndarray, ...]:
    """Returns the images, as bytes, and labels to train, and those to test."""
    folder = Path(os.environ.get("FASHION_MNIST") or FOLDER)
    paths = {name: find(folder, name) for name in files}
    return tuple(read_idx(paths[name], *files[name]) for name in files)


def load_splits(files: dict = FILES, per_class: int = 500) -> Splits:
    """Returns images and labels: 55,000 to train, 5,000 and 10,000."""
    images, labels, *test = read(files)
    train, valid = split(labels, per_class)
    return Splits(
        (images[train], labels[train]), (images[valid], labels[valid]), tuple(test)
    )
