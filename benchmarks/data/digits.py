"""The 1,797 handwritten digits of scikit-learn: 8x8 grey images of ten classes."""

from functools import partial

import jax
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from benchmarks.data import Splits

PIXELS, CLASSES = 64, 10


def read() -> tuple[np.ndarray, np.ndarray]:
    """Returns images, a row of pixels from 0 to 1 each, and which digits they show."""
    pixels, digits = load_digits(return_X_y=True)
    return pixels.astype(np.float32) / 16, digits.astype(np.int32)


def load_splits() -> Splits:
    """Returns images and digits: 1,078 to train, 359 to validate and 360 to test.

    All classes are as frequent in each.
    """
    pixels, digits = read()
    images = pixels.reshape(-1, 8, 8, 1)
    split = partial(train_test_split, random_state=0)
    train, rest = split(np.arange(len(digits)), test_size=0.4, stratify=digits)
    valid, test = split(rest, test_size=0.5, stratify=digits[rest])
    parts = (train, valid, test)
    return Splits(*(jax.device_put((images[i], digits[i])) for i in parts))
