"""The variance rectification of RAdam.

Early on, 1/√ŝ rests on few squares and its variance is large, even infinite.
RAdam (Liu et al., "On the Variance of the Adaptive Learning Rate and Beyond",
arXiv 1908.03265, 2019) models ŝ as the mean of ρₜ squares,

    ρ∞ = 2/(1−β₂) − 1,   ρₜ = ρ∞ − 2t β₂ᵗ/(1−β₂ᵗ)

multiplies the step by

    rₜ = √( (ρₜ−4)(ρₜ−2)ρ∞ / ((ρ∞−4)(ρ∞−2)ρₜ) )

and does not adapt at all while ρₜ is small. As in the AdaBelief authors' code
the threshold is ρₜ ≥ 5; for β₂ ≤ 2/3 it is never reached.
"""

import math

import jax
import jax.numpy as jnp

_THRESHOLD = 5.0


def rectification(
    b2: float | jax.Array, count: jax.Array, c2: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Returns rₜ√(1−β₂ᵗ), and whether ρₜ is large enough for rₜ to be used.

    Args:
        b2: β₂.
        count: t.
        c2: 1−β₂ᵗ, in whose dtype all is computed.
    """
    # y = −log β₂, of a known β₂ in double precision: near 1 float32 has few digits
    # of 1 − β₂ left.
    if isinstance(b2, int | float):
        y = jnp.asarray(-math.log(b2 or 1e-37), c2.dtype)  # no β₂ = 0
    else:
        y = -jnp.log(jnp.maximum(b2, 1e-37)).astype(c2.dtype)
    t = count.astype(y.dtype)
    rho_inf = 1 + 2 / jnp.expm1(y)
    # Early on the two terms of ρₜ cancel all but a few of float32's digits, and blur
    # the step at which the threshold is met. With q(x) = (x/2)·coth(x/2) − 1 the same
    # number is t − (2/y)(q(ty) − q(y)). Later the terms of this formula cancel.
    x = t * y
    early = t - 2 / y * (_q(x) - _q(y))
    late = rho_inf - 2 * t / jnp.expm1(jnp.clip(x, 1.0, 80.0))
    rho = jnp.where(x < 1, early, late)
    usable = rho >= _THRESHOLD
    # ρ∞ ≥ ρₜ, so one test guards both; 6 is any number that gives a finite root.
    rho = jnp.where(usable, rho, 6.0)
    rho_inf = jnp.where(usable, rho_inf, 6.0)
    r = (rho - 4) / (rho_inf - 4) * ((rho - 2) / (rho_inf - 2)) * (rho_inf / rho)
    return jnp.sqrt(r) * jnp.sqrt(c2), usable


def _q(x: jax.Array) -> jax.Array:
    """(x/2)·coth(x/2) − 1 for x > 0, by its series where x is small."""
    x2 = jnp.minimum(x, 0.25) ** 2
    series = x2 / 12 * (1 - x2 / 60 * (1 - x2 / 42 * (1 - x2 / 40 * (1 - x2 / 39.6))))
    return jnp.where(x < 0.25, series, x / 2 / jnp.tanh(x / 2) - 1)


def rectified(
    u: jax.Array, m_hat: jax.Array, r: jax.Array, usable: jax.Array, sgd: bool
) -> jax.Array:
    """Returns r·u where r is usable, else m̂ or, without SGD, 0."""
    return jnp.where(usable, r * u, m_hat if sgd else jnp.zeros_like(m_hat))
