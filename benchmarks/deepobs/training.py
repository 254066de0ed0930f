"""How is a problem trained, and what is measured of it?

As in DeepOBS: before training and after every epoch, on the training data, the
validation data and the test data, and each number is the mean over the batches.

Every step is one call of a compiled function. A loop inside of it would be simpler, but
XLA's convolutions take fifty times as long in a loop on a CPU. It also lets the
learning rate be an argument, so that one program serves every schedule and length.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from tqdm import tqdm

from benchmarks.data import Splits
from benchmarks.deepobs.problem import Problem

Make = Callable[[Any], optax.GradientTransformation]  # of a learning rate
Curves = dict[str, np.ndarray]  # such as "test_loss": [training, epoch]
BEGINNING = 3  # batches, whose losses tell a training from others
# What a learning rate is multiplied by, of the share of the training that is done.
SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda done: 1.0,
    "cosine": lambda done: (1 + math.cos(math.pi * done)) / 2,
}


class State(NamedTuple):
    """What a training carries from step to step."""

    params: Any
    optimizer: Any
    key: jax.Array
    count: jax.Array


class Program:
    """The compiled functions of the trainings of a problem by an optimizer.

    As many train together, under `vmap`, as there are learning rates and seeds.
    """

    def __init__(
        self, problem: Problem, make: Make, splits: Splits, schedule: str = "constant"
    ) -> None:
        """Compiles nothing yet."""
        self.problem, self.make = problem, make
        self.splits, self.schedule = splits, schedule
        self.start = jax.jit(jax.vmap(self._start))
        step = jax.vmap(self._step, (0, 0, 0, 0, None))
        self.step = jax.jit(step, donate_argnums=1)
        measure_train = partial(self._measure, True)
        self.measure_train = jax.jit(jax.vmap(measure_train, (0, 0, 0, None)))
        measure = partial(self._measure, False)
        self.measure = jax.jit(jax.vmap(measure, (0, 0, None, None)))

    def _start(self, rate: Any, seed: Any) -> tuple[State, Any]:
        draw, follow = jax.random.split(jax.random.key(seed))
        params = self.problem.init(draw)
        state = State(params, self.make(rate).init(params), follow, np.int32(0))
        return state, self.problem.memory()

    def _step(
        self, rate: Any, state: State, memory: Any, rows: Any, train: Any
    ) -> tuple[State, Any, jax.Array]:
        change, noise = jax.random.split(jax.random.fold_in(state.key, state.count))
        batch = self.problem.augmented(rows_of(train, rows), change)

        def loss(params: Any) -> tuple[jax.Array, Any]:
            measures, after = self.problem.measure(params, memory, batch, noise, True)
            return measures["loss"], after

        gradient_of = jax.value_and_grad(loss, has_aux=True)
        (value, memory), gradient = gradient_of(state.params)
        tx = self.make(rate)
        updates, optimizer = tx.update(gradient, state.optimizer, state.params)
        params = optax.apply_updates(state.params, updates)
        return State(params, optimizer, state.key, state.count + 1), memory, value

    def _measure(
        self, training: bool, state: State, memory: Any, rows: Any, split: Any
    ) -> tuple[Any, Any]:
        # Other draws in every batch, and at every time.
        key = jax.random.fold_in(jax.random.fold_in(state.key, state.count), rows[0])
        change, noise = jax.random.split(key)
        batch = rows_of(split, rows)
        batch = self.problem.augmented(batch, change) if training else batch
        return self.problem.measure(state.params, memory, batch, noise, False)

    def train(self, rates: np.ndarray, seeds: np.ndarray, epochs: int) -> Curves:
        """Trains for some epochs.

        Args:
            rates: a learning rate each.
            seeds: of the parameters, the order of the batches and all noise.
            epochs: how long.
        """
        order, (state, memory) = self.order(seeds), self.start(rates, seeds)
        found = [self.measured(state, memory, order)]
        for epoch in range(epochs):
            state, _ = self.epoch(epoch, epochs, rates, order, state, memory)
            found.append(self.measured(state, memory, order))
            if not np.isfinite(found[-1]["train_loss"]).any():
                found += (epochs - 1 - epoch) * found[-1:]  # it stays so
                break
        return {name: np.stack([f[name] for f in found], -1) for name in found[0]}

    def beginning(
        self, rates: np.ndarray, seeds: np.ndarray, epochs: int
    ) -> np.ndarray:
        """Returns the losses of the first batches: [training, batch]."""
        order, start = self.order(seeds), self.start(rates, seeds)
        _, losses = self.epoch(0, epochs, rates, order, *start, BEGINNING)
        return np.stack(losses, -1)

    def epoch(
        self,
        number: int,
        epochs: int,
        rates: np.ndarray,
        order: np.ndarray,
        state: State,
        memory: Any,
        count: int | None = None,
    ) -> tuple[State, list[jax.Array]]:
        """Trains an epoch, or the first batches of it, and returns their losses."""
        losses, name = [], f"{self.problem.name}, epoch {number + 1} of {epochs}"
        for batch, rows in enumerate(tqdm(order[:count], name, leave=False, delay=1)):
            done = (number + batch / len(order)) / epochs
            rate = rates * SCHEDULES[self.schedule](done)
            state, memory, loss = self.step(
                rate, state, memory, rows, self.splits.train
            )
            losses.append(loss)
        return state, losses

    def order(self, seeds: np.ndarray) -> np.ndarray:
        """Returns the rows of each batch of an epoch: [batch, training, row]."""
        orders = [self.problem.order(size(self.splits.train), seed) for seed in seeds]
        return np.stack(orders, 1)

    def measured(self, state: State, memory: Any, order: np.ndarray) -> dict[str, Any]:
        """Returns the mean of each measure over the batches of each split."""
        train, valid, test = self.splits
        valid_order, test_order = (self.problem.order(size(x)) for x in (valid, test))
        parts = {
            "train": (self.measure_train, order[: len(test_order)], train),
            "valid": (self.measure, valid_order, valid),
            "test": (self.measure, test_order, test),
        }
        return {
            f"{part}_{name}": value
            for part, (measure, rows, split) in parts.items()
            for name, value in mean(measure, state, memory, rows, split).items()
        }


def size(split: Any) -> int:
    """Returns how many examples there are."""
    return len(jax.tree.leaves(split)[0])


def rows_of(split: Any, rows: Any) -> Any:
    """Returns these rows of each array."""
    return jax.tree.map(lambda x: x[rows], split)


def mean(
    measure: Callable, state: State, memory: Any, order: np.ndarray, split: Any
) -> dict[str, np.ndarray]:
    """Returns the mean of each measure over the batches."""
    found = []
    for rows in order:
        measures, memory = measure(state, memory, rows, split)
        found.append(measures)
    return {
        name: np.mean([np.asarray(x[name], np.float64) for x in found], 0)
        for name in found[0]
    }
