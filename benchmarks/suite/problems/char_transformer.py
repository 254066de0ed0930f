"""A small causal Transformer that predicts Shakespeare's next character."""

import jax
import numpy as np
from flax import nnx

from benchmarks.data.shakespeare import VOCABULARY
from benchmarks.suite.problem import Array
from benchmarks.suite.problems._text import Text

WIDTH, HEADS = 32, 4
# The only positions, as of Press et al. (2021, arXiv 2108.12409): scores fall with the
# distance. With learned positions 400 steps were too few to look at the one before.
SLOPES = 2.0 ** (1 - np.arange(HEADS))


def attention_bias(times: int) -> np.ndarray:
    """Returns what is added to the scores, [head, reader, read]; the future is out."""
    distance = np.subtract.outer(np.arange(times), np.arange(times))
    bias = -SLOPES[:, None, None] * distance
    return np.where(distance < 0, -1e9, bias).astype(np.float32)


class Block(nnx.Module):
    """Attention, then two dense layers: each after a LayerNorm, each added to x."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        """Draws the weights."""
        self.norm1 = nnx.LayerNorm(WIDTH, rngs=rngs)
        self.qkv = nnx.Linear(WIDTH, 3 * WIDTH, use_bias=False, rngs=rngs)
        self.out = nnx.Linear(WIDTH, WIDTH, use_bias=False, rngs=rngs)
        self.norm2 = nnx.LayerNorm(WIDTH, rngs=rngs)
        self.up = nnx.Linear(WIDTH, 4 * WIDTH, rngs=rngs)
        self.down = nnx.Linear(4 * WIDTH, WIDTH, rngs=rngs)

    def attend(self, x: Array) -> Array:
        """Returns what each time reads from those before it and from itself."""
        crops, times, _ = x.shape
        qkv = self.qkv(x).reshape(crops, times, 3, HEADS, WIDTH // HEADS)
        q, k, v = qkv.transpose(2, 0, 3, 1, 4)
        scores = q @ k.swapaxes(-1, -2) * (WIDTH // HEADS) ** -0.5
        weights = jax.nn.softmax(scores + attention_bias(times)[None])
        return self.out((weights @ v).swapaxes(1, 2).reshape(x.shape))

    def __call__(self, x: Array) -> Array:
        """Returns the next layer's input, [crop, time, width]."""
        x += self.attend(self.norm1(x))
        return x + self.down(nnx.relu(self.up(self.norm2(x))))


class Model(nnx.Module):
    """Two blocks; the norms come first in each, so one more is the last."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        """Draws the weights."""
        normal = nnx.initializers.normal(1.0)
        self.embedding = nnx.Embed(VOCABULARY, WIDTH, embedding_init=normal, rngs=rngs)
        self.block1, self.block2 = Block(rngs), Block(rngs)
        self.norm = nnx.LayerNorm(WIDTH, rngs=rngs)
        self.output = nnx.Linear(WIDTH, VOCABULARY, rngs=rngs)

    def __call__(self, text: Array) -> Array:
        """Returns logits of what follows each character, [crop, time, character]."""
        x = self.block2(self.block1(self.embedding(text)))
        return self.output(self.norm(x))


class CharTransformer(Text):
    """Two layers of four heads."""

    name, title = "char-transformer", "Shakespeare, Transformer"
    model, batch_size, steps, target = Model, 16, 1_600, 3.13


PROBLEMS = (CharTransformer(),)
