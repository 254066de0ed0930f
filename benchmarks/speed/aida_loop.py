"""Aida as its authors publish it: what ours is timed against."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

B1, B2, EPS_ROOT, XI = 0.9, 0.999, 1e-8, 1e-20


def aida_loop(learning_rate: float, k: int = 2) -> optax.GradientTransformation:
    """Aida as its authors publish it: K rounds of projections over the arrays."""

    def residual(g: jax.Array, m: jax.Array) -> jax.Array:
        for _ in range(k):
            inner = jnp.sum(g * m)
            g, m = (
                inner / (jnp.sum(g * g) + XI) * g,
                inner / (jnp.sum(m * m) + XI) * m,
            )
        return m - g

    def init(params: Any) -> optax.ScaleByBeliefState:
        zeros = [jax.tree.map(jnp.zeros_like, params) for _ in range(2)]
        return optax.ScaleByBeliefState(jnp.zeros([], jnp.int32), *zeros)

    def update(
        grads: Any, state: optax.ScaleByBeliefState, params: Any = None
    ) -> tuple[Any, optax.ScaleByBeliefState]:
        del params
        t = state.count + 1
        mu = jax.tree.map(lambda g, m: B1 * m + (1 - B1) * g, grads, state.mu)
        error = jax.tree.map(residual, grads, mu)
        nu = jax.tree.map(
            lambda e, s: B2 * s + (1 - B2) * e**2 + EPS_ROOT, error, state.nu
        )
        rate, correction = learning_rate / (1 - B1**t), 1 - B2**t
        updates = jax.tree.map(
            lambda m, s: -rate * m / jnp.sqrt(s / correction), mu, nu
        )
        return updates, optax.ScaleByBeliefState(t, mu, nu)

    return optax.GradientTransformation(init, update)
