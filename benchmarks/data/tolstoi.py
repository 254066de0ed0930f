"""War and Peace, character by character, as DeepOBS prepares it.

No package brings it in that form. It is read from the folder `tolstoi` of the cache:
`train.npy` and `test.npy`, arrays of the numbers of characters.
"""

import numpy as np

from benchmarks.data import VARIABLE, MissingData, cache

VOCABULARY = 83
FILES = "train.npy", "test.npy"


def read() -> tuple[np.ndarray, np.ndarray]:
    """Returns the numbers of the characters to train, and of those to test.

    Raises:
        MissingData: if a file is not there.
        ValueError: if there are more characters than DeepOBS's network knows.
    """
    folder = cache() / "tolstoi"
    if not all((folder / name).is_file() for name in FILES):
        raise MissingData(
            f"War and Peace: no {' and '.join(FILES)} in {folder}; prepare them as "
            f"DeepOBS does, or name the folder that has `tolstoi` in it by {VARIABLE}"
        )
    train, test = (np.load(folder / name).astype(np.int32) for name in FILES)
    if (most := max(train.max(), test.max())) >= VOCABULARY:
        raise ValueError(f"{folder}: expected numbers below {VOCABULARY}, not {most}")
    return train, test
