"""How are CIFAR's colour images changed before a network sees them, and convolved?

XLA's own convolutions are slow where every training under `vmap` has other weights, and
so is the gradient of its pooling. As products of matrices and maxima of slices, a
training step of `cifar10_3c3d` takes two thirds of the time on a CPU core.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from benchmarks.deepobs.problem import Array

PADDING = 2  # to each side, before a random window of the old size is cut out


def window(image: Array, key: Array) -> Array:
    """Returns a random window of the image in a black frame."""
    corner = jax.random.randint(key, (2,), 0, 2 * PADDING + 1)
    framed = jnp.pad(image, ((PADDING, PADDING), (PADDING, PADDING), (0, 0)))
    return jax.lax.dynamic_slice(framed, (*corner, 0), image.shape)


def saturated(image: Array, factor: Array) -> Array:
    """Returns the image with its saturation in HSV times a factor, at most 1."""
    value = image.max(-1, keepdims=True)
    lack = value - image  # proportional to the saturation, at given hue and value
    largest = lack.max(-1, keepdims=True)
    most = jnp.maximum(value, 0) / jnp.where(largest > 0, largest, 1)
    return value - lack * jnp.minimum(factor, most)


def augmented(image: Array, key: Array) -> Array:
    """Returns an image, from 0 to 255, moved, mirrored and in other colours."""
    place, side, light, colour, strength = jax.random.split(key, 5)
    image = window(image.astype(jnp.float32), place)
    image = jnp.where(jax.random.bernoulli(side), image[:, ::-1], image)
    # On this scale the change of the brightness is next to nothing; so it is there.
    image += jax.random.uniform(light, minval=-63 / 255, maxval=63 / 255)
    image = saturated(image, jax.random.uniform(colour, minval=0.5, maxval=1.5))
    mean = image.mean((0, 1), keepdims=True)
    contrast = jax.random.uniform(strength, minval=0.2, maxval=1.8)
    return (image - mean) * contrast + mean


def standardized(image: Array) -> Array:
    """Returns the image with mean 0 and variance 1; of one colour it stays small."""
    image = image.astype(jnp.float32)
    return (image - image.mean()) / jnp.maximum(image.std(), image.size**-0.5)


def convolved(layer: nnx.Conv, x: Array, padding: int = 0) -> Array:
    """Returns the layer's convolution of square images, with a stride of 1."""
    x = jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    rows, columns, _, channels = layer.kernel.shape
    height, width = x.shape[1] - rows + 1, x.shape[2] - columns + 1
    shifted = [
        x[:, i : i + height, j : j + width] for i in range(rows) for j in range(columns)
    ]
    kernel = layer.kernel.reshape(-1, channels)
    return jnp.concatenate(shifted, -1) @ kernel + layer.bias.reshape(1, 1, 1, -1)


def pooled(x: Array) -> Array:
    """Returns the largest of each 3x3 of what is not negative, two apart."""
    return largest_of_three(largest_of_three(x, 1), 2)


def largest_of_three(x: Array, axis: int) -> Array:
    """Returns the largest of three neighbours, two apart; outside of x is 0."""
    size = x.shape[axis]
    count = -(-size // 2)
    missing = 2 * count + 1 - size
    padding = [(0, 0)] * x.ndim
    padding[axis] = missing // 2, missing - missing // 2
    x = jnp.pad(x, padding)
    first, second, third = (
        jax.lax.slice_in_dim(x, i, i + 2 * count - 1, 2, axis) for i in range(3)
    )
    return jnp.maximum(jnp.maximum(first, second), third)
