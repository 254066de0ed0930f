"""The engine: the only transformation of the family that carries moments.

For each layer (one parameter array) with gradient g at step t:

    m = b1·m + (1−b1)·g                      the prediction
    e = a·g − b·m                            the residual
    s = b2·s + (1−b2)·S(|e|²) + eps_root     how far predictions have been off
    d = max(d, s) with AMSGrad, else s
    u = m̂ / (√d̂ + eps)                       m̂ = m/(1−b1ᵗ), d̂ = d/(1−b2ᵗ)

A step is long where the gradient was as predicted and short where it was not.
The marks of `_marks.py` choose for each leaf where a and b come from. S is the identity
or the mean over the layer. `eps_root` accumulates in s, as in the authors' code, so
that in float32 the stepsize 1/√d̂ never exceeds √((1−b2)/eps_root). It does get there:
for a constant gradient e vanishes, and the stepsize grows to this ceiling.

Everything is computed in float32, or in more where gradient or moments are wider.
Departures from `adabelief-pytorch` 0.2.1: a rectified step uses the AMSGrad
maximum (theirs ignores it), and ρₜ is computed without cancellation.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from adabelief_optax._checks import check_params, check_prediction
from adabelief_optax._layers import (
    Layers,
    layers_of,
    mean,
    spread,
    sums_of_zeros,
)
from adabelief_optax._marks import unmark
from adabelief_optax._moments import (
    abs_sq,
    bias,
    correct,
    ema,
    mu_dtype_of,
    nu_dtype_of,
    real_dtype,
    second_moment,
    widen,
    zeros_like,
)
from adabelief_optax._rectify import rectification, rectified
from adabelief_optax._residual import Rule, inner_products, residual
from adabelief_optax._rounding import round_moments
from adabelief_optax._states import (
    BeliefState,
    ScaleByBeliefAmsgradState,
    after_step,
    check_moments,
    check_state,
    leaves_that_move,
    placed_like,
    store_updates,
    tree_of_layers,
)
from adabelief_optax._xla import Steps, Sums, run


class Leaf(NamedTuple):
    """One leaf before a step: g, and m, s and d as they are kept."""

    g: jax.Array
    m: jax.Array
    s: jax.Array
    d: jax.Array
    rule: Rule
    layers: Layers


class Stepped(NamedTuple):
    """The leaf after it: the update u, and the new m, s and d."""

    u: jax.Array
    m: jax.Array
    s: jax.Array
    d: jax.Array


class Now(NamedTuple):
    """What leaves share at step t: 1−b1ᵗ, 1−b1ᵗ⁺¹, 1−b2ᵗ, and RAdam's rₜ."""

    t: jax.Array
    c1: jax.Array
    c1_next: jax.Array
    c2: jax.Array
    r: tuple[jax.Array, jax.Array] | None


class Belief(NamedTuple):
    """The arguments of `scale_by_layerwise_belief`, and the equation.

    `processing` is None where each entry has a stepsize of its own.
    """

    b1: Any
    b2: Any
    eps: Any
    eps_root: Any
    processing: Any
    stacked_axes: Any
    axis_name: Any
    momentum: bool
    nesterov: bool
    amsgrad: bool
    rectify: bool
    degenerate_to_sgd: bool
    mu_dtype: Any
    nu_dtype: Any

    def step(self, now: Now, leaf: Leaf) -> Steps:
        """Steps one leaf. It yields what must be summed, and is sent the sums and m."""
        g, layers, rule = leaf.g, leaf.layers, leaf.rule
        m = self.predict(leaf)
        a, b = rule.weights
        if rule.projects:
            (a, b), m = yield Sums(inner_products(g, m), rule.layers, m, rule.rounds)
        square = abs_sq(residual(g, m, a, b, rule.layers))
        if self.processing == "pre":
            (total,), m = yield Sums((square,), layers, m)
            square = mean(total, square, layers)
        s = second_moment(self.b2, self.eps_root, square, leaf.s)
        m, s = round_moments(now.t, self.b1, g, m, s, leaf.m, leaf.s)
        d = jnp.maximum(s, leaf.d) if self.amsgrad else s
        m_hat = self.numerator(now, g, widen(m))
        v = jnp.sqrt(correct(widen(d), now.c2)) + self.eps
        if self.processing == "post":
            (total,), _ = yield Sums((1 / v,), layers)
            v = spread(1 / mean(total, v, layers), v, layers)
        u = m_hat / spread(v, m_hat, layers)
        if now.r is not None:
            u = rectified(u, m_hat, *now.r, self.degenerate_to_sgd)
        return Stepped(u, m, s, d)

    def predict(self, leaf: Leaf) -> jax.Array:
        """Returns m, the average of the gradient."""
        return ema(self.b1, leaf.g, leaf.m)

    def numerator(self, now: Now, g: jax.Array, m: jax.Array) -> jax.Array:
        """Returns m̂, with Nesterov's look-ahead, or g without momentum."""
        if not self.momentum:
            return g
        if self.nesterov:
            return ema(self.b1, correct(g, now.c1), correct(m, now.c1_next))
        return correct(m, now.c1)

    def now(self, t: jax.Array, dtype: Any) -> Now:
        """Returns what all leaves of a dtype share at step t."""
        next_t = jnp.asarray(optax.safe_increment(t))
        c1, c1_next = (bias(self.b1, count, dtype) for count in (t, next_t))
        c2 = bias(self.b2, t, dtype)
        if not self.rectify:
            return Now(t, c1, c1_next, c2, None)
        # The authors leave d uncorrected in a rectified step: the correction is in r.
        return Now(t, c1, c1_next, jnp.ones_like(c2), rectification(self.b2, t, c2))

    def update(
        self,
        updates: optax.Updates,
        state: Any,
        params: optax.Params | None = None,
        **extra_args: Any,
    ) -> tuple[optax.Updates, BeliefState]:
        """Returns the updates of one step, and the state after it."""
        del extra_args
        gradients, rules = unmark(updates)
        for rule in rules:
            check_prediction(self.b1, *rule.weights)
        check_state(state, self.amsgrad)
        live = leaves_that_move(gradients, state.mu)
        layers = layers_of(gradients, self.stacked_axes, self.axis_name)
        check_moments(state, gradients, live, layers, self)
        moments = state.mu, state.nu, state.nu_max if self.amsgrad else state.nu
        kept = (
            [x for x, moves in zip(jax.tree.leaves(tree), live, strict=True) if moves]
            for tree in moments
        )
        g = map(widen, jax.tree.leaves(gradients))
        leaves = [
            Leaf(placed_like(leaf[0], leaf[1]), *leaf[1:])
            for leaf in zip(g, *kept, rules, layers, strict=True)
        ]
        t = jnp.asarray(optax.safe_increment(state.count))
        now = {d: self.now(t, d) for d in {real_dtype(widen(x.m)) for x in leaves}}
        stepped = run(
            lambda leaf: self.step(now[real_dtype(widen(leaf.m))], leaf),
            self.predict,
            leaves,
        )
        after = after_step(state, t, live, stepped)
        return store_updates([x.u for x in stepped], gradients, params), after

    def init(self, params: optax.Params) -> BeliefState:
        """Returns the state before the first step: zeros."""
        check_params(params)
        layers = layers_of(params, self.stacked_axes, self.axis_name)

        def zeros(dtype_of: Any, asked: Any) -> Any:
            return jax.tree.map(
                lambda p: zeros_like(p, dtype_of(jnp.result_type(p), asked)), params
            )

        def nu() -> optax.Updates:
            leaves = jax.tree.leaves(zeros(nu_dtype_of, self.nu_dtype))
            if self.processing == "pre":
                leaves = list(map(sums_of_zeros, leaves, layers))
            return tree_of_layers(params, leaves, layers)

        count, mu = jnp.zeros([], jnp.int32), zeros(mu_dtype_of, self.mu_dtype)
        if self.amsgrad:
            return ScaleByBeliefAmsgradState(count, mu, nu(), nu())
        return optax.ScaleByBeliefState(count, mu, nu())
