"""The mutual projection of Aida, on two numbers a layer.

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

from typing import Any

import jax
import jax.numpy as jnp

# Up to here a static k is unrolled, which compiles and runs fastest.
_UNROLLED_ROUNDS = 8


def mutual_scales(
    sums: tuple[jax.Array, jax.Array, jax.Array], stages: tuple[tuple[Any, Any], ...]
) -> tuple[jax.Array, jax.Array]:
    """Returns the scales a, b after all rounds.

    Args:
        sums: A, B and C of the layers, each of one shape.
        stages: pairs (k, xi): k rounds with that ξ, one stage after the other.
    """
    scales = jnp.ones_like(sums[0]), jnp.ones_like(sums[1])
    for k, xi in stages:
        if isinstance(k, int) and k <= _UNROLLED_ROUNDS:
            for _ in range(k):
                scales = _round(xi, *sums, *scales)
        else:
            scales = _rounds(k, xi, *sums, *scales)
    return scales


def _round(
    xi: Any, A: jax.Array, B: jax.Array, C: jax.Array, a: jax.Array, b: jax.Array
) -> tuple[jax.Array, jax.Array]:
    d = a * (b * C)
    return a * _over_square_length(d, a, A, xi), b * _over_square_length(d, b, B, xi)


def _over_square_length(d: jax.Array, a: jax.Array, A: jax.Array, xi: Any) -> jax.Array:
    # d/(a²A+ξ), as two divisions by the root: the derivative of one division
    # would square ξ. The floor is reached only with ξ = 0 and a zero vector.
    length = jnp.sqrt(jnp.maximum(a * (a * A) + xi, jnp.finfo(A.dtype).tiny))
    return d / length / length


@jax.custom_jvp
def _rounds(k: Any, *operands: Any) -> tuple[jax.Array, jax.Array]:
    """Applies k rounds, k traced or large, to operands (ξ, A, B, C, a, b)."""
    *constants, a, b = operands
    return jax.lax.fori_loop(0, k, lambda _, ab: _round(*constants, *ab), (a, b))


@_rounds.defjvp
def _rounds_jvp(primals: Any, tangents: Any) -> Any:
    # Reverse mode cannot enter a loop of unknown length. The map is elementwise,
    # so its derivatives by each operand, taken forwards, are all there is.
    k, *operands = primals
    operands = [jnp.asarray(x, operands[1].dtype) for x in operands]
    result = _rounds(k, *operands)
    derivative = (jnp.zeros_like(result[0]), jnp.zeros_like(result[1]))
    for i, tangent in enumerate(tangents[1:]):
        direction = [
            jnp.ones_like(x) if i == j else jnp.zeros_like(x)
            for j, x in enumerate(operands)
        ]
        _, partials = jax.jvp(
            lambda *x: _rounds.fun(k, *x), tuple(operands), tuple(direction)
        )
        derivative = jax.tree.map(
            lambda total, p, t=tangent: total + p * t, derivative, partials
        )
    return result, derivative
