"""The 1,797 handwritten digits of scikit-learn, and a small convolutional network."""

import jax
from flax import nnx

from benchmarks.convnet import ConvNet
from benchmarks.data import Splits
from benchmarks.data.digits import load_splits
from benchmarks.suite.problem import Classifier


class Model(ConvNet):
    """The network of `make demo`; it has no dropout."""

    def __call__(self, images: jax.Array, rngs: nnx.Rngs | None = None) -> jax.Array:
        """Returns the logits of a batch."""
        del rngs
        return super().__call__(images)


class Digits(Classifier):
    """As in `make demo`."""

    name, title = "digits", "Digits, CNN"
    model, batch_size, steps, target = Model, 64, 1_000, 98.3

    def load(self) -> Splits:
        """Returns 1,078 images to train, 359 to validate and 360 to test."""
        return load_splits()


PROBLEMS = (Digits(),)
