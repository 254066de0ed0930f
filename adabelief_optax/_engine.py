"""The engine: the only transformation of the family that carries moments.

For each layer (one parameter array) with gradient g at step t:

    m = b1·m + (1−b1)·g                      the prediction
    e = a·g − b·m                            the residual
    s = b2·s + (1−b2)·S(|e|²) + eps_root     how far predictions have been off
    d = max(d, s) with AMSGrad, else s
    u = m̂ / (√d̂ + eps)                       m̂ = m/(1−b1ᵗ), d̂ = d/(1−b2ᵗ)

A step is long where the gradient was as predicted and short where it was not.
Where a and b come from is chosen for each leaf by the marks of `_marks.py`; S is the
identity or the mean over the layer. `eps_root` accumulates in s, as in the authors'
code, so that the stepsize 1/√d̂ never exceeds √((1−b2)/eps_root). It does get there:
for a constant gradient e and s vanish, and the step grows to that ceiling.

All is computed in float32, or in more where gradient or moments are wider.
Departures from `adabelief-pytorch` 0.2.1: a rectified step uses the AMSGrad
maximum (theirs ignores it), and ρₜ is computed without cancellation.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from adabelief_optax._checks import check_params, is_traced
from adabelief_optax._marks import unmark
from adabelief_optax._moments import (
    abs_sq,
    denominators,
    ema,
    is_wide,
    mu_dtype_of,
    nu_dtype_of,
    numerators,
    second_moment,
    store_updates,
    widen,
    zeros_like,
)
from adabelief_optax._rectify import rectified
from adabelief_optax._reduction import Layers, identity, layers_of, spread
from adabelief_optax._residual import (
    Rule,
    layer_sums_apart,
    layer_sums_together,
    residual,
    scales,
)
from adabelief_optax._rounding import round_moments
from adabelief_optax._settings import Settings
from adabelief_optax._states import (
    BeliefState,
    after_step,
    layers_of_state,
    new_state,
    tree_of_layers,
)
from adabelief_optax._together import totals_together
from adabelief_optax._xla import again_after, is_large, leaf_by_leaf

Arrays = list[jax.Array]


def init_fn(settings: Settings, params: optax.Params) -> BeliefState:
    """Returns the state before the first step: zeros."""
    check_params(params)
    layers = layers_of(params, settings.stacked_axes)

    def mu(p: Any) -> jax.Array:
        return zeros_like(p, mu_dtype_of(jnp.result_type(p), settings.mu_dtype))

    def nu(p: Any, m: jax.Array, of_leaf: Layers) -> jax.Array:
        dtype = nu_dtype_of(jnp.result_type(p), settings.nu_dtype)
        if is_traced(m) and m.dtype == dtype:
            return settings.reduction.zeros(m, of_leaf)
        return settings.reduction.zeros(zeros_like(p, dtype), of_leaf)

    tree_of_mu = jax.tree.map(mu, params)

    def tree_of_nu() -> optax.Updates:
        leaves = map(jax.tree.leaves, (params, tree_of_mu))
        return tree_of_layers(params, list(map(nu, *leaves, layers)), layers)

    nu_max = tree_of_nu() if settings.amsgrad else None
    count = jnp.zeros([], jnp.int32)
    return new_state(count, tree_of_mu, tree_of_nu(), nu_max)


def new_moments(
    settings: Settings,
    t: jax.Array,
    together: bool,
    g: Arrays,
    mu: Arrays,
    nu: Arrays,
    rules: list[Rule],
    layers: list[Layers],
) -> tuple[Arrays, Arrays]:
    """Returns the new m and s of some leaves, with no more digits than are kept."""
    average = partial(ema, settings.b1)
    again = partial(again_after, average, together)
    m = list(map(average, g, mu))
    sums = (layer_sums_together if together else layer_sums_apart)(rules, g, m)
    m = list(map(again, m, sums, [rule.layers for rule in rules], g, mu))
    e = map(residual, g, m, scales(rules, sums), rules)
    squares = list(map(abs_sq, e))
    totals: list[Any] = [None] * len(squares)
    if together and settings.reduction.S is not identity:
        totals = totals_together(squares, layers)
    square = map(settings.reduction.S, squares, layers, totals)
    s = list(map(partial(second_moment, settings.b2, settings.eps_root), square, nu))
    if together and not (is_large(m[0]) and is_wide(mu[0])):
        # A kernel that sums over several leaves writes the average of none, and one
        # that is rounded would be kept in 32 bits.
        means = [
            x[None] if x.ndim < of_m.ndim else None
            for x, of_m in zip(s, m, strict=True)
        ]
        m = list(map(again, m, means, layers, g, mu))
    pairs = list(map(partial(round_moments, t, settings.b1), g, m, s, mu, nu))
    return [m for m, _ in pairs], [s for _, s in pairs]


def update_fn(
    settings: Settings,
    updates: optax.Updates,
    state: Any,
    params: optax.Params | None = None,
    **extra_args: Any,
) -> tuple[optax.Updates, BeliefState]:
    """Returns the updates of one step, and the state after it."""
    del extra_args
    gradients, rules = unmark(updates)
    layers = layers_of_state(state, gradients, settings)
    t = jnp.asarray(optax.safe_increment(state.count))
    g = list(map(widen, jax.tree.leaves(gradients)))
    mu, nu = jax.tree.leaves(state.mu), jax.tree.leaves(state.nu)

    some = partial(new_moments, settings, t)
    sums = settings.reduction.S is not identity or any(x.projects for x in rules)
    m, s = leaf_by_leaf(some, sums, g, mu, nu, rules, layers)
    d = s
    if settings.amsgrad:
        d = list(map(jnp.maximum, s, jax.tree.leaves(state.nu_max)))
    m_hat = numerators(settings, list(map(widen, m)), g, t)
    roots = denominators(settings, list(map(widen, d)), t)
    v = map(settings.reduction.P, roots, layers)
    u = [
        x / spread(y, x, of_leaf)
        for x, y, of_leaf in zip(m_hat, v, layers, strict=True)
    ]
    if settings.rectify:
        u = rectified(u, m_hat, settings.b2, t, settings.degenerate_to_sgd)
    after = after_step(state, t, m, s, d)
    return store_updates(u, gradients, params), after
