"""How are the trainings of one optimizer on one problem computed?

One program is a whole training, given a learning rate, an eps, a warm-up and a seed. An
accelerator runs many of them at once under `vmap`; a CPU one after the other, which
takes a fifth to a third less there.
"""

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.data import Splits
from benchmarks.optimizers import Optimizer
from benchmarks.suite.problem import Problem

WIDTH = 48  # trainings at once on an accelerator


class Trial(NamedTuple):
    """What one training is given."""

    rate: float
    eps: float
    warmup: float
    seed: int


class Curves(NamedTuple):
    """What a training did."""

    train: np.ndarray  # mean loss of the steps since the last evaluation
    valid: np.ndarray  # the validation metric, before the first step too
    test: np.ndarray  # the test metric in the end


def schedule(
    problem: Problem, steps: int, rate: Any, warmup: Any
) -> Callable[[Any], Any]:
    """Returns the rate of each step: it rises for a share of the steps, then decays."""

    def at(count: Any) -> Any:
        rising = jnp.minimum(1.0, (count + 1) / jnp.maximum(1.0, warmup * steps))
        if not problem.cosine:
            return rate * rising
        done = jnp.clip((count / steps - warmup) / (1 - warmup), 0, 1)
        return rate * rising * 0.5 * (1 + jnp.cos(jnp.pi * done))

    return at


def scanned_step(problem: Problem, tx: Any, data: Any) -> Callable:
    """Returns a step for `jax.lax.scan`, which carries parameters, state and key."""

    def step(carry: Any, _: None) -> tuple[Any, Any]:
        params, state, key = carry
        key, now = jax.random.split(key)
        params, state, loss = problem.step(tx, params, state, data, now)
        return (params, state, key), loss

    return step


@lru_cache(maxsize=1)  # for all stages of an optimizer, and for it with a warm-up
def compiled(problem: Problem, optimizer: Optimizer) -> Any:
    """Returns the training of one trial, or on an accelerator of many."""
    steps, count = problem.steps // problem.evaluations, problem.evaluations

    def train(trial: Trial, splits: Splits) -> Curves:
        draw, follow = jax.random.split(jax.random.key(trial.seed))
        rate = schedule(problem, problem.steps, trial.rate, trial.warmup)
        tx: optax.GradientTransformation = optimizer.make(
            rate, problem.betas, trial.eps
        )
        params = problem.init(draw)
        step = scanned_step(problem, tx, splits.train)

        def period(carry: Any, _: None) -> tuple[Any, Any]:
            carry, losses = jax.lax.scan(step, carry, length=steps)
            return carry, (losses.mean(), problem.measure(carry[0], splits.valid))

        carry = params, problem.start(tx, params), follow
        before = problem.measure(params, splits.valid)
        (params, *_), (losses, valid) = jax.lax.scan(period, carry, length=count)
        valid = jnp.concatenate([before[None], valid])
        return Curves(losses, valid, problem.measure(params, splits.test))

    return jax.jit(train if on_cpu() else jax.vmap(train, (0, None)))


def on_cpu() -> bool:
    """Whether trainings run one after the other."""
    return jax.default_backend() == "cpu"


def train_all(
    problem: Problem, optimizer: Optimizer, splits: Splits, trials: list[Trial]
) -> Iterator[Curves]:
    """Yields what each trial came to, in their order."""
    size = 1 if on_cpu() else WIDTH
    for i in range(0, len(trials), size):
        group = trials[i : i + size]
        padded = [*group, *group[-1:] * (size - len(group))]
        columns = Trial(*map(np.array, zip(*padded, strict=True)))
        given = jax.tree.map(lambda x: x[0], columns) if on_cpu() else columns
        # On a GPU "highest" means float32, as on a CPU, and not TF32.
        with problem.precision(), jax.default_matmul_precision("highest"):
            found = compiled(problem, optimizer)(given, splits)
        found = jax.tree.map(np.asarray, found)
        if on_cpu():
            yield found
        else:
            yield from (Curves(*(x[k] for x in found)) for k in range(len(group)))
