"""Fashion-MNIST, and a network of two convolutions and two dense layers."""

import jax
from flax import nnx

from benchmarks.data import Splits, fashion_mnist
from benchmarks.deepobs.problem import Array, Classifier, first_validate

SMALL = {
    "kernel_init": nnx.initializers.truncated_normal(0.05),
    "bias_init": nnx.initializers.constant(0.05),
}


def pooled(x: Array) -> Array:
    """Returns the largest of each square of 2x2.

    Its gradient takes a fifth of the time on a CPU that that of `nnx.max_pool` takes.
    """
    n, height, width, channels = x.shape
    return x.reshape(n, height // 2, 2, width // 2, 2, channels).max((2, 4))


class Model(nnx.Module):
    """3.3 million parameters, nearly all of them in the first dense layer."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        """Draws the weights."""
        self.conv1 = nnx.Conv(1, 32, (5, 5), rngs=rngs, **SMALL)
        self.conv2 = nnx.Conv(32, 64, (5, 5), rngs=rngs, **SMALL)
        self.dense1 = nnx.Linear(7 * 7 * 64, 1024, rngs=rngs, **SMALL)
        self.dense2 = nnx.Linear(1024, 10, rngs=rngs, **SMALL)

    def __call__(self, images: Array, key: Array | None = None) -> Array:
        """Returns the logits of a batch of bytes."""
        del key
        x = images[..., None] / 255
        x = pooled(jax.nn.relu(self.conv1(x)))
        x = pooled(jax.nn.relu(self.conv2(x)))
        return self.dense2(jax.nn.relu(self.dense1(x.reshape(len(x), -1))))


class Fashion2c2d(Classifier):
    """Cross entropy, without weight decay."""

    name, title, model = "fmnist_2c2d", "Fashion-MNIST, 2c2d", Model
    batch_size, epochs, target = 128, 100, 0.89

    def load(self) -> Splits:
        """Returns 50,000 images to train, 10,000 to validate and 10,000 to test."""
        return first_validate(*fashion_mnist.read())
