"""War and Peace, character by character, as DeepOBS prepares it.

No package brings it in that form. It is read from the folder `tolstoi` of the cache:
`train.npy` and `test.npy`, arrays of the numbers of characters, or the text they are
made from, `input.txt`, whose characters are numbered from the most frequent one on and
of which the first four fifths are to train.
"""

import math
from collections import Counter
from pathlib import Path

import numpy as np

from benchmarks.data import VARIABLE, MissingData, cache

VOCABULARY = 83
FILES = "train.npy", "test.npy"


def folder() -> Path:
    """Returns where the files are."""
    return cache() / "tolstoi"


def numbered(text: str) -> np.ndarray:
    """Returns the number of each character; equally frequent ones stay in order."""
    numbers = {c: i for i, (c, _) in enumerate(Counter(text).most_common())}
    return np.array([numbers[c] for c in text], np.int32)


def read() -> tuple[np.ndarray, np.ndarray]:
    """Returns the numbers of the characters to train, and of those to test.

    Raises:
        MissingData: if neither form is there.
        ValueError: if there are more characters than DeepOBS's network knows.
    """
    arrays, text = [folder() / name for name in FILES], folder() / "input.txt"
    if all(path.is_file() for path in arrays):
        train, test = (np.load(path, allow_pickle=False) for path in arrays)
    elif text.is_file():
        every = numbered(text.read_text(encoding="utf-8"))
        cut = math.ceil(0.8 * len(every))
        train, test = every[:cut], every[cut:]
    else:
        raise MissingData(
            f"War and Peace: neither {' and '.join(FILES)} nor input.txt in "
            f"{folder()}; prepare them as DeepOBS does, or name the folder that has "
            f"`tolstoi` in it by {VARIABLE}"
        )
    if (most := max(train.max(), test.max())) >= VOCABULARY:
        raise ValueError(f"{folder()}: expected numbers below {VOCABULARY}, not {most}")
    return train.astype(np.int32), test.astype(np.int32)
