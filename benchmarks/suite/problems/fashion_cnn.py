"""Fashion-MNIST, and a small convolutional network with dropout."""

from functools import partial
from math import gcd
from typing import Any

import jax
from flax import nnx

from benchmarks.convnet import patches
from benchmarks.data import Splits
from benchmarks.data.fashion_mnist import load_splits
from benchmarks.suite.problem import Classifier


class Model(nnx.Module):
    """Two convolutions of stride 2, two dense layers, dropout between these."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        """Draws the weights."""
        self.conv1 = nnx.Linear(3 * 3 * 1, 8, rngs=rngs)
        self.conv2 = nnx.Linear(3 * 3 * 8, 16, rngs=rngs)
        self.dense1 = nnx.Linear(7 * 7 * 16, 64, rngs=rngs)
        self.dense2 = nnx.Linear(64, 10, rngs=rngs)
        self.dropout = nnx.Dropout(0.25)

    def features(self, images: jax.Array) -> jax.Array:
        """Returns what the last layer sees of a batch of bytes."""
        x = images[..., None] / 255
        x = nnx.relu(self.conv1(patches(x, stride=2)))
        x = nnx.relu(self.conv2(patches(x, stride=2)))
        return nnx.relu(self.dense1(x.reshape(len(x), -1)))

    def __call__(self, images: jax.Array, rngs: nnx.Rngs | None = None) -> jax.Array:
        """Returns the logits; dropout is off without `rngs`."""
        x = self.features(images)
        return self.dense2(self.dropout(x, deterministic=rngs is None, rngs=rngs))


class FashionCNN(Classifier):
    """Validated by 1,000 images, to afford that often; tested by all 10,000."""

    name, title = "fashion-cnn", "Fashion-MNIST, CNN"
    model, batch_size, steps, target = Model, 64, 2_000, 86.6

    def load(self) -> Splits:
        """Returns 55,000 images to train, 1,000 to validate and 10,000 to test."""
        train, valid, test = load_splits()
        first = tuple(array[:1_000] for array in valid)
        return jax.device_put(Splits(train, first, test))

    def measure(self, params: Any, split: Any) -> jax.Array:
        """Returns the accuracy, in pieces: of all images at once memory would fail."""
        accuracy, size = partial(super().measure, params), gcd(len(split[0]), 250)
        pieces = jax.tree.map(lambda x: x.reshape(-1, size, *x.shape[1:]), split)
        return jax.lax.map(accuracy, pieces).mean()


PROBLEMS: tuple[Any, ...] = (FashionCNN(),)
