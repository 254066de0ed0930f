"""How do all trials of one optimizer train together?

One jitted step trains every copy of the problem, each with a learning rate, an eps and
a seed of its own: under `vmap` and spread over the devices, or, on the one device that
a CPU usually is, one after the other, which takes a fifth to a third less there.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from benchmarks.data import Splits
from benchmarks.optimizers import Optimizer
from benchmarks.suite.problem import Problem

CALLS = 25  # of the compiled function in one training, between which progress shows


class Trial(NamedTuple):
    """What one training is given."""

    rate: float
    eps: float
    seed: int


class Curves(NamedTuple):
    """What the trials did: [trial, time], and the test metric in the end: [trial]."""

    train: np.ndarray  # mean loss of the steps since the last evaluation
    valid: np.ndarray  # the validation metric, before the first step too
    test: np.ndarray


def transformation(
    problem: Problem, optimizer: Optimizer, steps: int, rate: Any, eps: Any
) -> optax.GradientTransformation:
    """Returns the optimizer as the problem wants it."""
    if problem.cosine:
        rate = optax.cosine_decay_schedule(rate, steps)
    return optimizer.make(rate, problem.betas, eps)


def train_together(
    problem: Problem,
    optimizer: Optimizer,
    splits: Splits,
    trials: list[Trial],
    steps: int,
    progress: Callable[[], object],
) -> Curves:
    """Trains them all; calls `progress` CALLS times."""
    start, advance, measure = compiled(problem, optimizer, steps)
    given = over_devices(*(np.array(column) for column in zip(*trials, strict=True)))
    carry = start(*given)
    train, valid = [], [measure(carry[0], splits.valid)[:, None]]
    for _ in range(CALLS):
        carry, curves = jax.block_until_ready(advance(*given[:2], carry, splits))
        train.append(curves[0])
        valid.append(curves[1])
        progress()
    test = measure(carry[0], splits.test)
    return Curves(np.concatenate(train, 1), np.concatenate(valid, 1), np.array(test))


def over_devices(*columns: np.ndarray) -> list[jax.Array]:
    """Puts the trials on as many devices as divide their number."""
    count = len(columns[0])
    devices = jax.devices()
    share = max(n for n in range(1, len(devices) + 1) if count % n == 0)
    mesh = Mesh(devices[:share], ("trials",))
    sharding = NamedSharding(mesh, PartitionSpec("trials"))
    return [jax.device_put(x, sharding) for x in columns]


def scanned_step(problem: Problem, tx: Any, data: Any) -> Callable:
    """Returns a step for `jax.lax.scan`, which carries parameters, state and key."""

    def step(carry: Any, _: None) -> tuple[Any, Any]:
        params, state, key = carry
        key, now = jax.random.split(key)
        params, state, loss = problem.step(tx, params, state, data, now)
        return (params, state, key), loss

    return step


@lru_cache(maxsize=1)  # all budgets and roles of an optimizer use it, one by one
def compiled(problem: Problem, optimizer: Optimizer, steps: int) -> tuple[Any, ...]:
    """Returns the start, a CALLS-th of the training, and the metric, of all trials."""
    periods = problem.evaluations // CALLS
    period_steps = steps // problem.evaluations

    def start(rate: Any, eps: Any, seed: Any) -> Any:
        draw, follow = jax.random.split(jax.random.key(seed))
        params = problem.init(draw)
        tx = transformation(problem, optimizer, steps, rate, eps)
        return params, problem.start(tx, params), follow

    def advance(rate: Any, eps: Any, carry: Any, splits: Splits) -> Any:
        tx = transformation(problem, optimizer, steps, rate, eps)
        step = scanned_step(problem, tx, splits.train)

        def period(carry: Any, _: None) -> tuple[Any, Any]:
            carry, losses = jax.lax.scan(step, carry, length=period_steps)
            return carry, (losses.mean(), problem.measure(carry[0], splits.valid))

        return jax.lax.scan(period, carry, length=periods)

    return (
        jax.jit(jax.vmap(start)),
        jax.jit(of_each(advance), donate_argnums=2),
        jax.jit(of_each(problem.measure)),
    )


def of_each(function: Callable) -> Callable:
    """Returns the function of each trial, given all; the last argument is the same."""

    def of_all(*columns: Any) -> Any:
        *columns, shared = columns

        def one(trial: Any) -> Any:
            return function(*trial, shared)

        if jax.default_backend() == "cpu" and jax.device_count() == 1:
            return jax.lax.map(one, columns)
        return jax.vmap(one)(columns)

    return of_all
