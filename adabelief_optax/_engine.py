"""The engine: the only transformation of the family that carries moments.

For each layer (one parameter array) with gradient g at step t:

    m = b1·m + (1−b1)·g                      the prediction
    e = R(g, m)                              the residual
    s = b2·s + (1−b2)·S(|e|²) + eps_root     how far predictions have been off
    d = max(d, s) with AMSGrad, else s
    u = m̂ / (√d̂ + eps)                       m̂ = m/(1−b1ᵗ), d̂ = d/(1−b2ᵗ)

A step is long where the gradient was as predicted and short where it was not.
R is chosen for each leaf by the marks of `_marks.py`; S is the identity or the
mean over the layer. `eps_root` accumulates in s, as in the authors' code, so
that the stepsize 1/√d̂ never exceeds √((1−b2)/eps_root). It does get there: for
a constant gradient e and s vanish, and the step grows to that ceiling.

All is computed in float32, or in more where gradient or moments are wider.
Departures from `adabelief-pytorch` 0.2.1: a rectified step uses the AMSGrad
maximum (theirs ignores it), and ρₜ is computed without cancellation.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from adabelief_optax._checks import (
    check_dtype,
    check_gradients,
    check_params,
    check_rates,
    check_switch,
)
from adabelief_optax._layer import (
    AxisName,
    abs_sq,
    expand_to,
    layer_mean,
    map_layers,
)
from adabelief_optax._marks import unmark
from adabelief_optax._moments import (
    bias,
    correct,
    ema,
    mu_dtype_of,
    nu_dtype_of,
    second_moment,
    store,
    widen,
    zeros_like,
    zeros_per_layer,
)
from adabelief_optax._order import after_sums, map_in_order
from adabelief_optax._rectify import rectified
from adabelief_optax._residual import Rule, scales_of
from adabelief_optax._rounding import store_moment
from adabelief_optax._state import (
    BeliefState,
    ScaleByBeliefAmsgradState,
    ScaleByBeliefState,
)


class _Layerwise(NamedTuple):
    """What the layerwise methods change in the engine.

    Attributes:
        init_nu: (parameters, nu_dtype) -> s at the start.
        mean_square: (e, s) -> S(|e|²) of one leaf, in the shape of s.
        mean_stepsizes: tree of √d̂ + eps -> the same, averaged over layers.
    """

    init_nu: Callable[[optax.Params, Any], optax.Updates]
    mean_square: Callable[[jax.Array, jax.Array], jax.Array]
    mean_stepsizes: Callable[[Any], Any]


def _square(e: jax.Array, s: jax.Array) -> jax.Array:
    del s
    return abs_sq(e)


def _zeros_like_params(params: optax.Params, dtype: Any) -> optax.Updates:
    return jax.tree.map(lambda p: zeros_like(p, nu_dtype_of(p, dtype)), params)


ELEMENTWISE = _Layerwise(_zeros_like_params, _square, lambda tree: tree)


def pre_processing(stacked_axes: Any, axis_name: AxisName) -> _Layerwise:
    """S = the layer mean; s is one number a layer."""

    def init_nu(params: optax.Params, dtype: Any) -> optax.Updates:
        return map_layers(
            lambda n, p: zeros_per_layer(p, n, nu_dtype_of(p, dtype)),
            stacked_axes,
            params,
        )

    def mean_square(e: jax.Array, s: jax.Array) -> jax.Array:
        return layer_mean(abs_sq(e), s.ndim, axis_name)

    return _Layerwise(init_nu, mean_square, lambda tree: tree)


def post_processing(stacked_axes: Any, axis_name: AxisName) -> _Layerwise:
    """S = the identity; the stepsizes 1/(√d̂ + eps) are averaged over the layer."""

    def mean_stepsizes(denominators: Any) -> Any:
        return map_layers(
            lambda n, v: 1 / layer_mean(1 / v, n, axis_name), stacked_axes, denominators
        )

    return _Layerwise(_zeros_like_params, _square, mean_stepsizes)


def belief(
    b1: chex.Numeric,
    b2: chex.Numeric,
    eps: chex.Numeric,
    eps_root: chex.Numeric,
    layerwise: _Layerwise,
    *,
    nesterov: bool,
    amsgrad: bool,
    rectify: bool,
    degenerate_to_sgd: bool,
    mu_dtype: Any,
    nu_dtype: Any,
) -> optax.GradientTransformationExtraArgs:
    """Returns the transformation; the arguments are those of `scale_by_belief`."""
    check_rates(b1, b2, eps, eps_root)
    check_switch("nesterov", nesterov)
    check_switch("amsgrad", amsgrad)
    check_switch("rectify", rectify)
    check_switch("degenerate_to_sgd", degenerate_to_sgd)
    check_dtype("mu_dtype", mu_dtype, jnp.inexact)
    check_dtype("nu_dtype", nu_dtype, jnp.floating)

    def init_fn(params: optax.Params) -> BeliefState:
        check_params(params)
        mu = jax.tree.map(lambda p: zeros_like(p, mu_dtype_of(p, mu_dtype)), params)
        count, nu = jnp.zeros([], jnp.int32), layerwise.init_nu(params, nu_dtype)
        if not amsgrad:
            return ScaleByBeliefState(count, mu, nu)
        nu_max = layerwise.init_nu(params, nu_dtype)
        return ScaleByBeliefAmsgradState(count, mu, nu, nu_max)

    def update_fn(
        updates: optax.Updates,
        state: Any,
        params: optax.Params | None = None,
        **extra_args: Any,
    ) -> tuple[optax.Updates, BeliefState]:
        del params, extra_args
        gradients, rules = unmark(updates)
        gradients = jax.tree.map(jnp.asarray, gradients)
        check_gradients(gradients, state.mu)
        if amsgrad and getattr(state, "nu_max", None) is None:
            raise ValueError("amsgrad is True, but the state has no nu_max: init it so")
        t = optax.safe_increment(state.count)
        g = jax.tree.map(widen, gradients)

        def average(m: jax.Array, g: jax.Array) -> jax.Array:
            return ema(b1, g, widen(m))

        def moments(
            m: jax.Array, s: jax.Array, g: jax.Array, rule: Rule, scales: Any
        ) -> tuple[jax.Array, jax.Array]:
            m = average(m, g)
            e = rule.residual(g, m, scales)
            return m, second_moment(b2, layerwise.mean_square(e, s), widen(s), eps_root)

        def together(ms: Any, ss: Any, gs: Any, rules: Any) -> Any:
            sums = [
                rule.sums(g, average(m, g))
                for rule, g, m in zip(rules, gs, ms, strict=True)
            ]
            ms = list(map(after_sums, ms, sums))
            return map(moments, ms, ss, gs, rules, scales_of(rules, sums))

        m, s = map_in_order(together, state.mu, state.nu, g, rules)
        d = jax.tree.map(jnp.maximum, s, state.nu_max) if amsgrad else s

        c1, c2 = bias(b1, t), bias(b2, t)
        if nesterov:
            c1_next = bias(b1, t + 1)
            m_hat = jax.tree.map(
                lambda m, g: ema(b1, correct(g, c1), correct(m, c1_next)), m, g
            )
        else:
            m_hat = jax.tree.map(lambda m: correct(m, c1), m)
        v = jax.tree.map(
            # The authors leave d uncorrected in a rectified step: it is in r.
            lambda d: jnp.sqrt(d if rectify else correct(d, c2)) + eps,
            d,
        )
        v = layerwise.mean_stepsizes(v)
        u = jax.tree.map(lambda m, v: m / expand_to(v, m), m_hat, v)
        if rectify:
            u = rectified(u, m_hat, b2, t, degenerate_to_sgd)

        def stored(x: Any, old: Any, other: Any) -> Any:
            return jax.tree.map(
                lambda x, old, other: store_moment(x, old, other, t), x, old, other
            )

        new = {"mu": stored(m, state.mu, state.nu), "nu": stored(s, state.nu, state.mu)}
        if amsgrad:
            new["nu_max"] = stored(d, state.nu_max, state.mu)
        # Not a new state, so that one of Optax's own class stays one.
        return jax.tree.map(store, u, gradients), state._replace(count=t, **new)

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)
