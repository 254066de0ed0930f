"""How does DeepOBS change the colour images of CIFAR before a network sees them?"""

import jax
import jax.numpy as jnp

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
