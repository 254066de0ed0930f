"""Aida as its authors publish it: what ours is timed against."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax


class LoopState(NamedTuple):
    """Aida's step count and its two averages."""

    count: jax.Array
    mu: Any
    nu: Any


def aida_loop(
    learning_rate: float,
    k: int = 2,
    b1: float = 0.9,
    b2: float = 0.999,
    eps_root: float = 1e-8,
    xi: float = 1e-20,
) -> optax.GradientTransformation:
    """Aida as its authors publish it: K rounds of projections over the arrays."""

    def residual(g: jax.Array, m: jax.Array) -> jax.Array:
        for _ in range(k):
            inner = jnp.sum(g * m)
            g, m = (
                inner / (jnp.sum(g * g) + xi) * g,
                inner / (jnp.sum(m * m) + xi) * m,
            )
        return m - g

    def init(params: Any) -> LoopState:
        zeros = [jax.tree.map(jnp.zeros_like, params) for _ in range(2)]
        return LoopState(jnp.zeros([], jnp.int32), *zeros)

    def update(
        grads: Any, state: LoopState, params: Any = None
    ) -> tuple[Any, LoopState]:
        del params
        t = state.count + 1
        mu = jax.tree.map(lambda g, m: b1 * m + (1 - b1) * g, grads, state.mu)
        error = jax.tree.map(residual, grads, mu)
        nu = jax.tree.map(
            lambda e, s: b2 * s + (1 - b2) * e**2 + eps_root, error, state.nu
        )
        rate, correction = learning_rate / (1 - b1**t), 1 - b2**t
        updates = jax.tree.map(
            lambda m, s: -rate * m / jnp.sqrt(s / correction), mu, nu
        )
        return updates, LoopState(t, mu, nu)

    return optax.GradientTransformation(init, update)
