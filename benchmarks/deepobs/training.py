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


class Outcome(NamedTuple):
    """What trainings that ran together did."""

    curves: Curves
    beginning: np.ndarray  # the losses of the first batches: [training, batch]


class Program:
    """The compiled functions of the trainings of a problem by an optimizer.

    Where the problem says that several train together they run under `vmap`, else one
    by one.
    """

    def __init__(
        self, problem: Problem, make: Make, splits: Splits, schedule: str = "constant"
    ) -> None:
        """Compiles nothing yet."""
        self.problem, self.make, self.splits = problem, make, splits
        self.schedule, self.together = schedule, problem.together != 1
        self.start = self.compiled(self._start, (0, 0))
        self.step = self.compiled(self._step, (0, 0, 0, 0, None), donate=(1,))
        axes = 0, 0, 0, None
        self.measure_train = self.compiled(partial(self._measure, True), axes)
        self.measure = self.compiled(partial(self._measure, False), axes)

    def compiled(
        self, function: Callable, axes: tuple, donate: tuple[int, ...] = ()
    ) -> Callable:
        """Returns a function for many trainings at once, or for one."""
        if self.together:
            function = jax.vmap(function, axes)
        return jax.jit(function, donate_argnums=donate)

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
        (loss, memory), gradient = jax.value_and_grad(self.problem.loss, has_aux=True)(
            state.params, memory, batch, noise
        )
        updates, optimizer = self.make(rate).update(
            gradient, state.optimizer, state.params
        )
        params = optax.apply_updates(state.params, updates)
        return State(params, optimizer, state.key, state.count + 1), memory, loss

    def _measure(
        self, training: bool, state: State, memory: Any, rows: Any, split: Any
    ) -> tuple[Any, Any]:
        # Other draws in every batch, and at every time.
        key = jax.random.fold_in(jax.random.fold_in(state.key, state.count), rows[0])
        change, noise = jax.random.split(key)
        batch = rows_of(split, rows)
        batch = self.problem.augmented(batch, change) if training else batch
        return self.problem.measure(state.params, memory, batch, noise)

    def train(
        self,
        rates: np.ndarray,
        seeds: np.ndarray,
        epochs: int,
        progress: Callable[[], object] = lambda: None,
    ) -> Outcome:
        """Trains; calls `progress` after each step of each group.

        Args:
            rates: a learning rate each, or one where they train one by one.
            seeds: of the parameters, the order of the batches and all noise.
            epochs: how long.
            progress: shows it.
        """
        order, (state, memory) = self.order(seeds), self.start(rates, seeds)
        losses, found = [], [self.measured(state, memory, order)]
        for epoch in range(epochs):
            now = memory
            for number, rows in enumerate(order):
                rate = rates * self.factor(epoch + number / len(order), epochs)
                state, now, loss = self.step(rate, state, now, rows, self.splits.train)
                losses = [*losses, loss] if len(losses) < BEGINNING else losses
                progress()
            found.append(self.measured(state, memory, order))
            if not np.isfinite(found[-1]["train_loss"]).any():
                found += (epochs - 1 - epoch) * found[-1:]  # it stays so
                break
        curves = {name: np.stack([f[name] for f in found], -1) for name in found[0]}
        return Outcome(curves, np.stack(losses, -1))

    def beginning(
        self, rates: np.ndarray, seeds: np.ndarray, epochs: int
    ) -> np.ndarray:
        """Returns the losses of the first batches alone."""
        state, memory = self.start(rates, seeds)
        losses, order = [], self.order(seeds)
        for number, rows in enumerate(order[:BEGINNING]):
            rate = rates * self.factor(number / len(order), epochs)
            state, memory, loss = self.step(
                rate, state, memory, rows, self.splits.train
            )
            losses.append(loss)
        return np.stack(losses, -1)

    def factor(self, epoch: float, epochs: int) -> np.float32:
        """Returns what the learning rate is multiplied by."""
        return np.float32(SCHEDULES[self.schedule](epoch / epochs))

    def order(self, seeds: np.ndarray) -> np.ndarray:
        """Returns the rows of each batch of an epoch, of all trainings."""
        count = len(jax.tree.leaves(self.splits.train)[0])
        orders = [self.problem.order(count, int(seed)) for seed in np.atleast_1d(seeds)]
        return np.stack(orders, 1) if self.together else orders[0]

    def measured(self, state: State, memory: Any, order: np.ndarray) -> dict[str, Any]:
        """Returns the mean of each measure over the batches of each split."""
        sizes = [len(jax.tree.leaves(split)[0]) for split in self.splits]
        fixed = [self.problem.order(size) for size in sizes]
        if self.together:
            fixed = [np.stack([x] * order.shape[1], 1) for x in fixed]
        parts = {
            "train": (self.measure_train, order[: len(fixed[2])], self.splits.train),
            "valid": (self.measure, fixed[1], self.splits.valid),
            "test": (self.measure, fixed[2], self.splits.test),
        }
        return {
            f"{part}_{name}": value
            for part, (measure, rows, split) in parts.items()
            for name, value in mean(measure, state, memory, rows, split).items()
        }


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
