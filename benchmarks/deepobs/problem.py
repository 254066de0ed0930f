"""What is one of DeepOBS's test problems?

A class with the attributes and methods of `Problem`. Everything but `load` is a pure
function of arrays. DeepOBS is a benchmark suite for TensorFlow (Schneider, Balles,
Hennig, ICLR 2019); where its layers and JAX's differ, the problems say so.
"""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from benchmarks.data import Splits

Array = jax.Array
Measures = dict[str, Array]  # "loss", and "accuracy" where there is one
VALIDATE = 10_000  # the first of the training images


class Problem(ABC):
    """A loss to minimise, and the metric by which the result is judged."""

    name: str  # DeepOBS's
    title: str  # for people
    metric: str  # "loss" or "accuracy"
    batch_size: int
    epochs: int
    # Of the test metric: what every seed of the two baselines, SGD with momentum and
    # Adam at their best learning rates, comes to in the end, rounded.
    target: float | None = None
    hessian: int | None = None  # the number of the quadratic's
    data: str | None = None  # a checksum, where any copy of the data is taken
    shuffled = True  # the training data is, once
    together = 1  # so many trainings at once, under `vmap`

    @property
    def sign(self) -> int:
        """1 if a larger metric is better, else -1."""
        return 1 if self.metric == "accuracy" else -1

    @abstractmethod
    def load(self) -> Splits:
        """Returns the checked data, or raises MissingData."""

    @abstractmethod
    def init(self, key: Array) -> Any:
        """Returns the parameters at the start, a tree of arrays."""

    @abstractmethod
    def measure(
        self, params: Any, memory: Any, batch: Any, key: Array, training: bool
    ) -> tuple[Measures, Any]:
        """Returns loss and metrics of a batch, and what the next batch is given.

        Dropout is on in training alone.
        """

    def memory(self) -> Any:
        """Returns what the first batch of every pass over the data is given."""
        return ()

    def augmented(self, batch: Any, key: Array) -> Any:
        """Returns a batch of training data as the network is given it."""
        del key
        return batch

    def order(self, count: int, seed: int | None = None) -> np.ndarray:
        """Returns the rows of each batch; the incomplete last batch is dropped.

        DeepOBS shuffles the training data by a seed, and every epoch in the same way.
        """
        rows = np.arange(count)
        if self.shuffled and seed is not None:
            rows = np.random.default_rng(seed).permutation(count)
        batches = count // self.batch_size
        return rows[: batches * self.batch_size].reshape(batches, self.batch_size)


class Network(Problem):
    """A problem whose parameters are those of a Flax NNX module.

    The module is called with a batch and, in training, with the key of its dropout.
    """

    model: ClassVar[type[nnx.Module]]  # of one argument, `rngs`
    weight_decay = 0.0  # of the weights; biases have none

    def init(self, key: Array) -> Any:
        """Returns the parameters of a new module, as dictionaries."""
        return nnx.to_pure_dict(nnx.state(self.model(rngs=nnx.Rngs(key)), nnx.Param))

    def module(self, params: Any) -> Any:
        """Returns the module with these parameters."""
        abstract = nnx.eval_shape(lambda: self.model(rngs=nnx.Rngs(0)))
        graph, state = nnx.split(abstract, nnx.Param)
        nnx.replace_by_pure_dict(state, params)
        return nnx.merge(graph, state)

    def penalty(self, params: Any) -> Array | float:
        """Returns half the decay times the sum of all squared weights."""
        if not self.weight_decay:
            return 0.0
        leaves = jax.tree.leaves_with_path(params)
        squares = [jnp.sum(x**2) for path, x in leaves if path[-1].key == "kernel"]
        return self.weight_decay / 2 * sum(squares)


class Classifier(Network):
    """Cross entropy, judged by accuracy. Examples are pairs of images and labels."""

    metric = "accuracy"

    def measure(
        self, params: Any, memory: Any, batch: Any, key: Array, training: bool
    ) -> tuple[Measures, Any]:
        """Returns the mean cross entropy with the penalty, and the accuracy."""
        images, labels = batch
        logits = self.module(params)(images, key if training else None)
        loss = cross_entropy(logits, labels) + self.penalty(params)
        return {"loss": loss, "accuracy": (logits.argmax(-1) == labels).mean()}, memory


def cross_entropy(logits: Array, labels: Array) -> Array:
    """Returns the mean over the batch."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def dropped(x: Array, rate: float, key: Array | None) -> Array:
    """Returns x with a share of its entries at 0, the others scaled; without key x."""
    if key is None:
        return x
    return jnp.where(jax.random.bernoulli(key, 1 - rate, x.shape), x / (1 - rate), 0)


def keys(key: Array | None, count: int) -> list[Array | None]:
    """Returns a key for each dropout, or none where there is no key."""
    return [None] * count if key is None else list(jax.random.split(key, count))


def first_validate(
    images: np.ndarray,
    labels: np.ndarray,
    test_images: np.ndarray,
    test_labels: np.ndarray,
    count: int = VALIDATE,
) -> Splits:
    """Returns the splits: the first training images validate."""
    train, valid = (images[count:], labels[count:]), (images[:count], labels[:count])
    return jax.device_put(Splits(train, valid, (test_images, test_labels)))
