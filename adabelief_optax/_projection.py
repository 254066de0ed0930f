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
    a, b = jnp.ones_like(sums[0]), jnp.ones_like(sums[1])
    for k, xi in stages:
        rounds = _rounds if isinstance(k, int) else _traced_rounds
        a, b = rounds(k, xi, *sums, a, b)
    return a, b


def _rounds(
    k: Any,
    xi: Any,
    A: jax.Array,
    B: jax.Array,
    C: jax.Array,
    a: jax.Array,
    b: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    # One array of both, of which XLA makes one small kernel a round.
    squares, scales = jnp.stack([A, B]), jnp.stack([a, b])

    def one_round(_: Any, scales: jax.Array) -> jax.Array:
        d = scales[0] * (scales[1] * C)
        # d/(a²A+ξ), as two divisions by the root: the derivative of one division
        # would square ξ. The floor is for ξ = 0 with a zero vector alone.
        tiny = jnp.finfo(C.dtype).tiny
        length = jnp.sqrt(jnp.maximum(scales * (scales * squares) + xi, tiny))
        return scales * (d[None] / length / length)

    if isinstance(k, int) and k <= _UNROLLED_ROUNDS:
        for i in range(k):
            scales = one_round(i, scales)
    else:
        scales = jax.lax.fori_loop(0, k, one_round, scales)
    return scales[0], scales[1]


_traced_rounds = jax.custom_jvp(_rounds)


@_traced_rounds.defjvp
def _traced_rounds_jvp(primals: Any, tangents: Any) -> Any:
    # Reverse mode cannot enter a loop of unknown length. The map is elementwise,
    # so its derivatives by each operand, taken forwards, are all there is.
    k, *operands = primals
    operands = [jnp.asarray(x, operands[1].dtype) for x in operands]
    result = _traced_rounds(k, *operands)
    derivative = (jnp.zeros_like(result[0]), jnp.zeros_like(result[1]))
    for i, tangent in enumerate(tangents[1:]):
        direction = [
            jnp.ones_like(x) if i == j else jnp.zeros_like(x)
            for j, x in enumerate(operands)
        ]
        _, partials = jax.jvp(
            lambda *x: _rounds(k, *x), tuple(operands), tuple(direction)
        )
        derivative = jax.tree.map(
            lambda total, p, t=tangent: total + p * t, derivative, partials
        )
    return result, derivative
