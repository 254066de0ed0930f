"""A small convolutional network for the 8x8 digits, and how it convolves."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx


def patches(x: jax.Array, stride: int) -> jax.Array:
    """Returns 3x3 patches of square images: a dense layer on them is a convolution."""
    # Convolutions proper, with their weights under `vmap`, are ten times slower on CPU.
    n, x = x.shape[1], jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    shifts = [x[:, i : i + n : stride, j : j + n : stride] for i, j in np.ndindex(3, 3)]
    return jnp.concatenate(shifts, -1)


class ConvNet(nnx.Module):
    """Two convolutions and two dense layers, from 8x8 images to ten logits."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        """Draws the weights."""
        self.conv1 = nnx.Linear(3 * 3 * 1, 12, rngs=rngs)
        self.conv2 = nnx.Linear(3 * 3 * 12, 24, rngs=rngs)
        self.dense1 = nnx.Linear(4 * 4 * 24, 32, rngs=rngs)
        self.dense2 = nnx.Linear(32, 10, rngs=rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        """Returns the logits of a batch."""
        x = nnx.relu(self.conv1(patches(images, stride=1)))
        x = nnx.relu(self.conv2(patches(x, stride=2)))
        return self.dense2(nnx.relu(self.dense1(x.reshape(len(x), -1))))
