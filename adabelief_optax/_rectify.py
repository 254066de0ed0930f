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

from typing import Any

import chex
import jax
import jax.numpy as jnp

from adabelief_optax._moments import bias

_THRESHOLD = 5.0


def rectification(b2: chex.Numeric, count: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns rₜ, and whether ρₜ is large enough for it to be used."""
    # The two terms of ρₜ cancel all but a few of float32's digits, and with them
    # the step at which the threshold is met. With y = −log β₂ and
    # q(x) = (x/2)·coth(x/2) − 1 the same number is t − (2/y)(q(ty) − q(y)).
    y = -jnp.log(jnp.maximum(b2, 1e-37))  # no β₂ = 0
    t = count.astype(y.dtype)
    rho = t - 2 / y * (_q(t * y) - _q(y))
    usable = rho >= _THRESHOLD
    # ρ∞ ≥ ρₜ, so one test guards both; 6 is any number that gives a finite root.
    rho = jnp.where(usable, rho, 6.0)
    rho_inf = jnp.where(usable, 1 + 2 / jnp.expm1(y), 6.0)
    r = (rho - 4) / (rho_inf - 4) * ((rho - 2) / (rho_inf - 2)) * (rho_inf / rho)
    return jnp.sqrt(r), usable


def _q(x: jax.Array) -> jax.Array:
    """(x/2)·coth(x/2) − 1 for x > 0, by its series where x is small."""
    x2 = jnp.minimum(x, 0.25) ** 2
    series = x2 / 12 * (1 - x2 / 60 * (1 - x2 / 42 * (1 - x2 / 40 * (1 - x2 / 39.6))))
    return jnp.where(x < 0.25, series, x / 2 / jnp.tanh(x / 2) - 1)


def rectified(
    u: Any, m_hat: Any, b2: chex.Numeric, count: jax.Array, degenerate_to_sgd: bool
) -> Any:
    """Returns rₜ√(1−β₂ᵗ)·u where rₜ is usable, else m̂ or, without SGD, 0.

    Args:
        u: tree of m̂/(√d + eps), with d not corrected for its bias.
        m_hat: like tree of the corrected averages.
        b2: β₂.
        count: t.
        degenerate_to_sgd: what to do where rₜ is not usable.
    """
    r, usable = rectification(b2, count)
    scale = r * jnp.sqrt(bias(b2, count))

    def choose(u: jax.Array, m: jax.Array) -> jax.Array:
        fallback = m if degenerate_to_sgd else jnp.zeros_like(m)
        return jnp.where(usable, scale.astype(jnp.finfo(u.dtype).dtype) * u, fallback)

    return jax.tree.map(choose, u, m_hat)
