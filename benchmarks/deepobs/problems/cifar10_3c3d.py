"""CIFAR-10, and a network of three convolutions and three dense layers."""

import zlib
from functools import partial
from typing import Any

import jax
from flax import nnx

from benchmarks.data import Splits, cifar
from benchmarks.deepobs import images
from benchmarks.deepobs.problem import Array, Classifier, first_validate

NORMAL = {"kernel_init": nnx.initializers.glorot_normal()}
UNIFORM = {"kernel_init": nnx.initializers.glorot_uniform()}


class Model(nnx.Module):
    """Each convolution is followed by the largest of 3x3, two apart."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        """Draws the weights; biases are 0."""
        conv = partial(nnx.Conv, rngs=rngs, **NORMAL)
        self.conv1 = conv(3, 64, (5, 5), padding="VALID")
        self.conv2 = conv(64, 96, (3, 3), padding="VALID")
        self.conv3 = conv(96, 128, (3, 3), padding="SAME")
        self.dense1 = nnx.Linear(3 * 3 * 128, 512, rngs=rngs, **UNIFORM)
        self.dense2 = nnx.Linear(512, 256, rngs=rngs, **UNIFORM)
        self.dense3 = nnx.Linear(256, 10, rngs=rngs, **UNIFORM)

    def __call__(self, x: Array, key: Array | None = None) -> Array:
        """Returns the logits of a batch of images, from 0 to 255."""
        del key
        x = jax.vmap(images.standardized)(x)
        for layer, padding in ((self.conv1, 0), (self.conv2, 0), (self.conv3, 1)):
            x = images.pooled(jax.nn.relu(images.convolved(layer, x, padding)))
        x = jax.nn.relu(self.dense1(x.reshape(len(x), -1)))
        return self.dense3(jax.nn.relu(self.dense2(x)))


class Cifar(Classifier):
    """Images that are changed at random in training, and in evaluation on it."""

    kind: cifar.Kind

    def load(self) -> Splits:
        """Returns 40,000 images to train, 10,000 to validate and 10,000 to test.

        A smaller file, of a test, is divided in the same proportion.
        """
        arrays = cifar.read(self.kind)
        self.data = f"{zlib.crc32(b''.join(x.tobytes() for x in arrays)):08x}"
        return first_validate(*arrays, count=len(arrays[0]) // 5)

    def augmented(self, batch: Any, key: Array) -> Any:
        """Returns the batch with changed images."""
        pixels, labels = batch
        return jax.vmap(images.augmented)(
            pixels, jax.random.split(key, len(pixels))
        ), labels


class Cifar3c3d(Cifar):
    """Cross entropy, with decay of the weights."""

    name, title, model = "cifar10_3c3d", "CIFAR-10, 3c3d", Model
    kind, batch_size, epochs, weight_decay = cifar.CIFAR10, 128, 100, 0.002
