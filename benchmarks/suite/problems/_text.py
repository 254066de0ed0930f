"""What the two networks that predict Shakespeare's next character share.

Whole plays are held out, a comedy and a tragedy to validate and a romance and a tragedy
to test.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.data import Splits
from benchmarks.data.shakespeare import read
from benchmarks.suite.problem import Array, Network

VALID, TEST = ("twelfth-night", "king-lear"), ("the-tempest", "macbeth")


def windows(text: np.ndarray, count: int, length: int) -> np.ndarray:
    """Returns so many pieces of a text, evenly over all of it."""
    starts = np.linspace(0, len(text) - length, count).astype(int)
    return text[starts[:, None] + np.arange(length)]


class Text(Network):
    """The next character, from those before it in a crop. Judged by bits a character.

    The module is called with characters [crop, time], and returns logits.
    """

    metric = "bits per character"
    length = 32  # characters to read, and to predict, in a crop

    def load(self) -> Splits:
        """Returns the text of 34 plays, 256 windows of two, and 512 of two others."""
        plays = read()
        letters = sorted(set("".join(plays.values())))

        def encode(names: Any) -> np.ndarray:
            text = "".join(plays[name] for name in names)
            # Each letter as its number in Unicode, then as its place in the alphabet.
            codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
            return np.searchsorted([ord(x) for x in letters], codes).astype(np.uint8)

        train = encode(name for name in plays if name not in VALID + TEST)
        valid = windows(encode(VALID), 256, self.length + 1)
        test = windows(encode(TEST), 512, self.length + 1)
        return Splits(*jax.device_put((train, valid, test)))

    def batch(self, train: Array, key: Array) -> Array:
        """Returns crops at random offsets; a few begin in one play, end in the next."""
        last = len(train) - self.length
        starts = jax.random.randint(key, (self.batch_size, 1), 0, last)
        return train[starts + jnp.arange(self.length + 1)[None]]

    def loss(self, params: Any, batch: Array, key: Array) -> Array:
        """Returns the mean cross entropy in nats."""
        del key
        logits = self.module(params)(batch[:, :-1])
        targets = batch[:, 1:].astype(int)
        return optax.softmax_cross_entropy_with_integer_labels(logits, targets).mean()

    def measure(self, params: Any, split: Array) -> Array:
        """Returns the cross entropy; at the start of a window nothing is known."""
        # A few windows at a time: what they need stays in a CPU's cache.
        nats = jax.lax.map(
            lambda window: self.loss(params, window[None], None), split, batch_size=16
        )
        return nats.mean() / jnp.log(2)
