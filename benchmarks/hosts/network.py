"""A network for the digits, with a scanned stack of layers."""

from typing import Any

import jax
import optax
from flax import nnx

from benchmarks.data.digits import CLASSES, PIXELS

# How many leading axes of an array count layers.
STACKED_AXES = {"blocks": 1, "embed": 0, "head": 0}


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
