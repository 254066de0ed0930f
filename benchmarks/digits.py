"""A data set without a download, and a network with a scanned stack of layers."""

from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from flax import nnx
from sklearn.datasets import load_digits

PIXELS, CLASSES = 64, 10
TRAIN = 1500  # images; the other 297 test
# How many leading axes of an array count layers.
STACKED_AXES = {"blocks": 1, "embed": 0, "head": 0}


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
    images, digits = load_digits(return_X_y=True)
    every = Digits((images / 16).astype(np.float32), digits.astype(np.int32))
    train, test = zip(*((x[:TRAIN], x[TRAIN:]) for x in every), strict=True)
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


class Block(nnx.Module):
    """Adds a perceptron of one hidden layer to its normalised input."""

    def __init__(self, width: int, rngs: nnx.Rngs) -> None:
        """Draws the weights."""
        self.norm = nnx.LayerNorm(width, rngs=rngs)
        self.inner = nnx.Linear(width, 2 * width, rngs=rngs)
        self.outer = nnx.Linear(2 * width, width, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Returns what the next block gets."""
        return x + self.outer(nnx.relu(self.inner(self.norm(x))))


class Network(nnx.Module):
    """Residual blocks in one stack: each array holds all layers."""

    def __init__(self, width: int, depth: int, rngs: nnx.Rngs) -> None:
        """Draws the weights."""

        @nnx.split_rngs(splits=depth)
        @nnx.vmap
        def stack(rngs: nnx.Rngs) -> Block:
            return Block(width, rngs)

        self.embed = nnx.Linear(PIXELS, width, rngs=rngs)
        self.blocks = stack(rngs)
        self.head = nnx.Linear(width, CLASSES, rngs=rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        """Returns the logits of a batch."""

        @nnx.scan(in_axes=(nnx.Carry, 0), out_axes=nnx.Carry)
        def forward(x: jax.Array, block: Block) -> jax.Array:
            return block(x)

        return self.head(forward(self.embed(images), self.blocks))


def draw(width: int, depth: int, seed: int) -> dict[str, Any]:
    """Returns the parameters at the start, dictionaries of arrays."""
    network = Network(width, depth, nnx.Rngs(seed))
    return nnx.to_pure_dict(nnx.state(network, nnx.Param))


def evaluate(
    params: dict[str, Any], images: jax.Array, digits: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Returns the mean cross entropy and the accuracy."""
    depth, width = params["blocks"]["norm"]["scale"].shape
    network = nnx.eval_shape(lambda: Network(width, depth, nnx.Rngs(0)))
    logits = nnx.merge(nnx.graphdef(network), params)(images)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, digits)
    return losses.mean(), (logits.argmax(-1) == digits).mean()
