"""What is a problem of the suite?

A class with the attributes and methods of `Problem`. The suite trains many copies of it
at once, under `vmap`, so everything but `load` is a pure function of arrays.
"""

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar

import jax
import optax
from flax import nnx

from benchmarks.data import Splits
from benchmarks.precision import double_precision

Array = jax.Array


class Problem(ABC):
    """A loss to minimise, and the metric by which the result is judged."""

    name: str  # for the command line
    title: str  # for people
    metric: str  # with its unit, such as "accuracy (%)"
    larger_is_better = False
    version = 1  # to be raised when anything changes that a training depends on
    target: float  # of the validation metric; ours are where the pilot's Adam ends
    steps: int  # of one training
    batch_size: int
    evaluations = 50  # of the validation metric, evenly over the steps
    cosine = True  # the learning rate decays to 0 by a cosine; else it is constant
    chosen_by_speed = False  # alone: settings are, by the steps to the target
    float64 = False
    betas = (0.9, 0.999)  # b1, or SGD's momentum, and b2

    @abstractmethod
    def load(self) -> Splits:
        """Returns the checked data, or raises MissingData."""

    @abstractmethod
    def init(self, key: Array) -> Any:
        """Returns the parameters at the start, a tree of arrays."""

    @abstractmethod
    def loss(self, params: Any, batch: Any, key: Array) -> Array:
        """Returns the training loss of a batch; the key is for dropout and noise."""

    @abstractmethod
    def measure(self, params: Any, split: Any) -> Array:
        """Returns the metric of a whole split."""

    def precision(self) -> AbstractContextManager:
        """Returns the context in which the problem is computed."""
        return double_precision() if self.float64 else nullcontext()

    def batch(self, train: Any, key: Array) -> Any:
        """Returns a batch, drawn with replacement."""
        count = len(jax.tree.leaves(train)[0])
        rows = jax.random.randint(key, (self.batch_size,), 0, count)
        return jax.tree.map(lambda x: x[rows], train)

    def start(self, tx: optax.GradientTransformation, params: Any) -> Any:
        """Returns the optimizer's state at the start."""
        return tx.init(params)

    def step(
        self,
        tx: optax.GradientTransformation,
        params: Any,
        state: Any,
        train: Any,
        key: Array,
    ) -> tuple[Any, Any, Array]:
        """Returns parameters and state after one step, and the loss of its batch."""
        draw, noise = jax.random.split(key)
        batch = self.batch(train, draw)
        loss, grads = jax.value_and_grad(self.loss)(params, batch, noise)
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state, loss


class Network(Problem):
    """A problem whose parameters are those of a Flax NNX module."""

    model: ClassVar[type[nnx.Module]]  # of one argument, `rngs`

    def init(self, key: Array) -> Any:
        """Returns the parameters of a new module, as dictionaries."""
        return nnx.to_pure_dict(nnx.state(self.model(rngs=nnx.Rngs(key)), nnx.Param))

    def module(self, params: Any) -> Any:
        """Returns the module with these parameters, in training mode."""
        abstract = nnx.eval_shape(lambda: self.model(rngs=nnx.Rngs(0)))
        graph, state = nnx.split(abstract, nnx.Param)
        nnx.replace_by_pure_dict(state, params)
        return nnx.merge(graph, state)


class Classifier(Network):
    """Cross entropy, judged by accuracy. Examples are pairs of images and labels.

    The module is called with images and, in training, with the key of its dropout.
    """

    metric = "accuracy (%)"
    larger_is_better = True

    def loss(self, params: Any, batch: Any, key: Array) -> Array:
        """Returns the mean cross entropy, dropout on."""
        images, labels = batch
        logits = self.module(params)(images, nnx.Rngs(key))
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    def measure(self, params: Any, split: Any) -> Array:
        """Returns the accuracy, dropout off."""
        images, labels = split
        return 100 * (self.module(params)(images).argmax(-1) == labels).mean()
