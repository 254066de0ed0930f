"""Which images come next, so that a run that goes on sees what it would have seen?"""

from typing import NamedTuple

import numpy as np

from benchmarks.data.digits import read

TRAIN = 1500  # images; the other 297 test


class Digits(NamedTuple):
    """Images, a row of pixels from 0 to 1 each, and which digits they show."""

    images: np.ndarray
    digits: np.ndarray


class Position(NamedTuple):
    """Where in the data the next batch begins: an epoch, and images into it."""

    epoch: int = 0
    offset: int = 0


def load() -> tuple[Digits, Digits]:
    """Returns the images for training and for the test."""
    train, test = zip(*((x[:TRAIN], x[TRAIN:]) for x in read()), strict=True)
    return Digits(*train), Digits(*test)


def next_batch(
    position: Position, seed: int, batch_size: int
) -> tuple[np.ndarray, Position]:
    """Returns which images come next, and the position behind them.

    Every epoch has an order of its own, which the seed and its number alone decide.
    What is left at its end and makes no whole batch is passed over.
    """
    epoch, offset = position
    if offset + batch_size > TRAIN:
        epoch, offset = epoch + 1, 0
    order = np.random.default_rng([seed, epoch]).permutation(TRAIN)
    end = offset + batch_size
    return order[offset:end], Position(epoch, end)
