"""e = a·g − b·m: how far a layer's gradient g is from its prediction m.

All methods have this residual. What differs is where the scales (a, b) come from:

    (1, 1)                          AdaBelief
    (1, 0)                          Adam: the gradient alone
    c·(1−μ, μ), c = 2 − |2μ−1|      AdaFamily: between the two, and beyond
    K rounds on the layer's sums    Aida (see `_projection.py`)
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from adabelief_optax._layers import Layers, spread
from adabelief_optax._moments import abs_sq


class Rule(NamedTuple):
    """Where the scales a and b of one leaf come from.

    Attributes:
        weights: a and b where nothing is projected.
        rounds: pairs (k, xi) of projections, applied one after the other.
        layers: the layers over which these sum.
    """

    weights: tuple[Any, Any] = (1, 1)
    rounds: tuple[tuple[Any, Any], ...] = ()
    layers: Layers = Layers()

    @property
    def is_default(self) -> bool:
        """Whether no mark has changed it."""
        # Not by equality: a and b may be traced.
        plain = all(isinstance(x, int) and x == 1 for x in self.weights)
        return plain and not self.rounds

    @property
    def projects(self) -> bool:
        """Whether g and m are projected: not where every k is known to be 0."""
        return any(not (isinstance(k, int) and k == 0) for k, _ in self.rounds)


def inner_products(
    g: jax.Array, m: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns, entry by entry, what sums to A = ⟨g,g⟩, B = ⟨m,m⟩ and C = Re⟨g,m⟩."""
    both_real = jnp.isrealobj(g) and jnp.isrealobj(m)
    return abs_sq(g), abs_sq(m), g * m if both_real else (g * m.conj()).real


def residual(g: jax.Array, m: jax.Array, a: Any, b: Any, layers: Layers) -> jax.Array:
    """Returns e = a·g − b·m, without operations for scales known to be 1 or 0."""
    scaled = _times(a, g, layers)
    if isinstance(b, int | float) and b == 0:
        return scaled
    return scaled - _times(b, m, layers)


def _times(scale: Any, x: jax.Array, layers: Layers) -> jax.Array:
    if isinstance(scale, int | float):
        return x if scale == 1 else scale * x
    return spread(jnp.asarray(scale), x, layers) * x
