"""R(g, m): how far a layer's gradient g is from its prediction m.

Each rule is a function of one layer's gradient and prediction, in float32 or
more, and returns the residual e whose square the second moment averages.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from adabelief_optax._layer import AxisName, abs_sq, expand_to, layer_sum
from adabelief_optax._projection import mutual_scales

Rule = Callable[[jax.Array, jax.Array], jax.Array]


def difference(g: jax.Array, m: jax.Array) -> jax.Array:
    """Returns e = g − m: AdaBelief."""
    return g - m


def gradient_alone(g: jax.Array, m: jax.Array) -> jax.Array:
    """Returns e = g: Adam's second moment."""
    del m
    return g


@dataclasses.dataclass(frozen=True)
class ProjectedDifference:
    """e = a·g − b·m, both first projected k times onto each other: Aida.

    Attributes:
        stages: pairs (k, xi), applied one after the other.
        stacked_axes: how many leading axes of the leaf index layers.
        axis_name: mapped axis over which a layer is spread, if any.
    """

    stages: tuple[tuple[Any, Any], ...]
    stacked_axes: Any
    axis_name: AxisName

    def __call__(self, g: jax.Array, m: jax.Array) -> jax.Array:
        """Returns the residual."""
        if all(isinstance(k, int) and k == 0 for k, _ in self.stages):
            return difference(g, m)
        inner = g * m if jnp.isrealobj(g) else (g * m.conj()).real
        A, B, C = (
            layer_sum(x, self.stacked_axes, self.axis_name)
            for x in (abs_sq(g), abs_sq(m), inner)
        )
        a, b = mutual_scales((A, B, C), self.stages)
        return expand_to(a, g) * g - expand_to(b, m) * m
