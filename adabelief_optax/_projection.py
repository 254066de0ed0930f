"""The mutual projection of Aida, on two numbers per layer.

A round projects g onto m and m onto g at once (Zhang, Niwa, Kleijn, "A
DNN Optimizer that Improves over AdaBelief by Suppression of the Adaptive
Stepsize Range", arXiv 2203.13273, published code):

    g, m ← ⟨g,m⟩/(|g|²+ξ) g, ⟨g,m⟩/(|m|²+ξ) m

Neither vector ever turns: after any number of rounds they are a·g and b·m. So
the K rounds need no pass over the arrays, only the layer's three sums

    A = ⟨g,g⟩, B = ⟨m,m⟩, C = Re⟨g,m⟩

and the same recursion on a and b, from (1, 1):

    d = a·b·C;   a, b ← a·d/(a²A+ξ), b·d/(b²B+ξ)

This is the authors' loop exactly, ξ included. For even K and ξ → 0 both scales
are cosᴷ∠(g,m). Products are ordered so that nothing overflows or vanishes in
float32 before the quotient is formed: ξ² alone would be 0 there.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

# Up to here a known k is unrolled, which compiles and runs fastest.
_UNROLLED_ROUNDS = 8


def mutual_scales(sums: jax.Array, rounds: tuple[tuple[Any, Any], ...]) -> jax.Array:
    """Returns the scales a, b after all rounds, on a leading axis.

    Args:
        sums: A, B and C of the layers, on a leading axis.
        rounds: pairs (k, xi): k rounds with that ξ, one pair after the other; at
            least one k is traced or above 0.
    """
    # A layer whose sums overflow is not projected in this step, so that it recovers:
    # its quotients would be NaN, and s too from then on. If A = B = C, far above ξ,
    # both scales are 1. For a single layer it takes fewer instructions to set them to 1
    # in the end; for several, each user of a scale would repeat these.
    finite, several = jnp.isfinite(sums[:1] + sums[1:2]), sums[0].size != 1
    if several:
        sums = jnp.where(finite, sums, 1e18)
    squares, inner = sums[:2], jnp.broadcast_to(sums[2:], (2, *sums.shape[1:]))
    scales: jax.Array | None = None
    for k, xi in rounds:
        xi = _not_zero(xi, sums.dtype)
        if isinstance(k, int) and k <= _UNROLLED_ROUNDS:
            for _ in range(k):
                scales = _one_round(xi, squares, inner, scales)
        else:
            scales = jnp.ones_like(squares) if scales is None else scales
            scales = _looped_rounds(k, xi, squares, inner, scales)
    assert scales is not None
    return scales if several else jnp.where(finite, scales, 1)


def _not_zero(xi: Any, dtype: Any) -> Any:
    # With ξ = 0 a zero vector would give 0/0; with a tiny ξ it gives 0. In the dtype of
    # the sums: in float16, which ξ may have, their tiny number is 0.
    tiny = float(jnp.finfo(dtype).tiny)
    if isinstance(xi, float | int):
        return max(float(xi), tiny)
    return jnp.maximum(jnp.asarray(xi, dtype), tiny)


@jax.jit  # to be traced once, not for every round of every layer
def _one_round(
    xi: Any, squares: jax.Array, inner: jax.Array, scales: jax.Array | None
) -> jax.Array:
    """Returns the next (a, b), the first ones if there are none yet."""
    if scales is None:
        return _ratio(inner, squares + xi)
    d = scales * (scales[::-1] * inner)
    return scales * _ratio(d, scales * (scales * squares) + xi)


@jax.custom_jvp
def _ratio(x: jax.Array, y: jax.Array) -> jax.Array:
    return x / y


@_ratio.defjvp
def _ratio_jvp(primals: Any, tangents: Any) -> Any:
    # As usual, but for y² in the denominator, which could be ξ² and vanish.
    (x, y), (dx, dy) = primals, tangents
    ratio = _ratio(x, y)
    return ratio, (dx - ratio * dy) / y


def _looped_rounds(
    k: Any, xi: Any, squares: jax.Array, inner: jax.Array, scales: jax.Array
) -> jax.Array:
    """Returns (a, b) after k more rounds."""
    looped: jax.Array
    if isinstance(k, int):  # JAX can reverse a loop of known length
        looped = _known_rounds(k, xi, squares, inner, scales)
        return looped
    xi = jnp.broadcast_to(jnp.asarray(xi, squares.dtype), inner[:1].shape)
    operands = jnp.concatenate([squares, inner[:1], scales, xi])
    looped = _traced_rounds(jnp.asarray(k, int), operands)
    return looped


def _rounds(
    k: Any, xi: Any, squares: jax.Array, inner: jax.Array, scales: jax.Array
) -> jax.Array:
    looped: jax.Array = jax.lax.fori_loop(
        0, k, lambda _, x: _one_round(xi, squares, inner, x), scales
    )
    return looped


# Compiled once, outside jit too.
_known_rounds = jax.jit(_rounds, static_argnums=0)


@jax.jit
def _stacked_rounds(k: jax.Array, operands: jax.Array) -> jax.Array:
    """Returns (a, b) after k more rounds, of A, B, C, a, b and ξ of each layer."""
    inner = jnp.broadcast_to(operands[2:3], operands[:2].shape)
    return _rounds(k, operands[5:], operands[:2], inner, operands[3:5])


_traced_rounds = jax.custom_jvp(_stacked_rounds)


@_traced_rounds.defjvp
def _traced_rounds_jvp(primals: Any, tangents: Any) -> Any:
    # Reverse mode cannot enter a loop of unknown length. But for each layer the loop
    # makes two numbers of six, so there are only twelve derivatives, taken forwards.
    k, operands = primals
    each = jnp.eye(6, dtype=operands.dtype)
    each = each.reshape(6, 6, *(1,) * (operands.ndim - 1))
    each = jnp.broadcast_to(each, (6, *operands.shape))

    def derivative(direction: jax.Array) -> Any:
        rounds = partial(_stacked_rounds, k)
        return jax.jvp(rounds, (operands,), (direction,))[1]

    derivatives = jax.vmap(derivative)(each)
    return _traced_rounds(k, operands), (derivatives * tangents[1][:, None]).sum(0)
