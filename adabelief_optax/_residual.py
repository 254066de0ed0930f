"""R(g, m): how far a layer's gradient g is from its prediction m.

A rule is a pair of functions of one layer's arrays, in float32 or more: first the
numbers that it needs of the layer as a whole, then the residual e, whose square the
second moment averages.
"""

import dataclasses
from typing import Any, Protocol

import jax
import jax.numpy as jnp

from adabelief_optax._layer import AxisName, abs_sq, expand_to, layer_sum
from adabelief_optax._projection import mutual_scales

Sums = tuple[jax.Array, ...]


class Rule(Protocol):
    """How a residual is measured."""

    def sums(self, g: jax.Array, m: jax.Array) -> Sums:
        """Returns sums over the layer, the first of squares; none is ()."""

    def residual(self, g: jax.Array, m: jax.Array, sums: Sums) -> jax.Array:
        """Returns e."""


@dataclasses.dataclass(frozen=True)
class Difference:
    """e = g − m: AdaBelief."""

    def sums(self, g: jax.Array, m: jax.Array) -> Sums:
        """None are needed."""
        del g, m
        return ()

    def residual(self, g: jax.Array, m: jax.Array, sums: Sums) -> jax.Array:
        """Returns the residual."""
        del sums
        return g - m


@dataclasses.dataclass(frozen=True)
class GradientAlone(Difference):
    """e = g: Adam's second moment."""

    def residual(self, g: jax.Array, m: jax.Array, sums: Sums) -> jax.Array:
        """Returns the residual."""
        del m, sums
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

    def sums(self, g: jax.Array, m: jax.Array) -> Sums:
        """Returns ⟨g,g⟩, ⟨m,m⟩ and Re⟨g,m⟩ of each layer."""
        if all(isinstance(k, int) and k == 0 for k, _ in self.stages):
            return ()
        inner = g * m if jnp.isrealobj(g) else (g * m.conj()).real
        A, B, C = (
            layer_sum(x, self.stacked_axes, self.axis_name)
            for x in (abs_sq(g), abs_sq(m), inner)
        )
        return A, B, C

    def residual(self, g: jax.Array, m: jax.Array, sums: Sums) -> jax.Array:
        """Returns the residual."""
        if not sums:
            return g - m
        a, b = mutual_scales(sums, self.stages)
        return expand_to(a, g) * g - expand_to(b, m) * m


difference, gradient_alone = Difference(), GradientAlone()
