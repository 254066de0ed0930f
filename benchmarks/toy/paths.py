"""Which way do the optimizers take over the functions, and when do they arrive?"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np
import optax

from benchmarks.functions import FUNCTIONS, Function, Point
from benchmarks.optimizers import Optimizer
from benchmarks.precision import double_precision

TARGET = 1e-3


class Case(NamedTuple):
    """A function and a start."""

    function: Function
    start: Point


STARTS, MOVE = 10, 0.25  # since how soon a single start arrives may be chance
CASES = tuple(Case(x, start) for x in FUNCTIONS.values() for start in x.starts)


def moved_starts() -> list[Case]:
    """Returns each function with the paper's first start, moved STARTS times."""
    moves = np.random.default_rng(0).uniform(-MOVE, MOVE, (STARTS, 2))
    return [
        Case(function, tuple((function.starts[0] + move).tolist()))
        for function in FUNCTIONS.values()
        for move in moves
    ]


def follow(
    optimizer: Optimizer, cases: Sequence[Case], learning_rate: float, steps: int
) -> np.ndarray:
    """Returns x and y before and after every step: [case, steps + 1, 2]."""
    gradients = [jax.grad(lambda p, f=case.function.f: f(*p)) for case in cases]

    def walk(index: jax.Array, start: jax.Array, betas: jax.Array) -> jax.Array:
        tx = optimizer.make(learning_rate, betas, optimizer.eps)

        def step(carry: tuple, _: None) -> tuple[tuple, jax.Array]:
            params, state = carry
            gradient = jax.lax.switch(index, gradients, params)
            updates, state = tx.update(gradient, state, params)
            return (optax.apply_updates(params, updates), state), params

        carry = start, tx.init(start)
        (end, _), before = jax.lax.scan(step, carry, length=steps)
        return jax.numpy.concatenate([before, end[None]])

    # All cases at once, so that an optimizer is compiled once.
    with double_precision():
        starts = np.array([case.start for case in cases], float)
        betas = np.array([case.function.betas for case in cases])
        return np.asarray(jax.jit(jax.vmap(walk))(np.arange(len(cases)), starts, betas))


def values(case: Case, path: np.ndarray) -> np.ndarray:
    """Returns f along a path."""
    with np.errstate(all="ignore"):  # SGD leaves some functions for infinity
        return case.function.f(*path.T)


def steps_to_target(f: np.ndarray) -> float:
    """Returns the first step with f below the target, or infinity."""
    reached = f < TARGET
    return float(reached.argmax()) if reached.any() else np.inf
