"""R(g, m): how far a layer's gradient g is from its prediction m.

A rule is of two functions of one layer's arrays, in float32 or more: the sums that
it needs of the layer as a whole, and the residual e, whose square the second moment
averages. Between the two the sums of several leaves become scales together.
"""

import dataclasses
from typing import Any, Protocol

import jax
import jax.numpy as jnp

from adabelief_optax._layer import AxisName, abs_sq, expand_to, layer_sum
from adabelief_optax._projection import mutual_scales

# A sum of up to so many entries takes no longer as one of three.
_SMALL = 2**12


class Rule(Protocol):
    """How a residual is measured."""

    def sums(self, g: jax.Array, m: jax.Array) -> jax.Array | None:
        """Returns A, B and C of the layers, as one array, or None."""

    def residual(self, g: jax.Array, m: jax.Array, scales: Any) -> jax.Array:
        """Returns e."""


@dataclasses.dataclass(frozen=True)
class Difference:
    """e = g − m: AdaBelief."""

    def sums(self, g: jax.Array, m: jax.Array) -> None:
        """Needs none."""
        del g, m

    def residual(self, g: jax.Array, m: jax.Array, scales: Any) -> jax.Array:
        """Returns the residual."""
        del scales
        return g - m


@dataclasses.dataclass(frozen=True)
class GradientAlone(Difference):
    """e = g: Adam's second moment."""

    def residual(self, g: jax.Array, m: jax.Array, scales: Any) -> jax.Array:
        """Returns the residual."""
        del m, scales
        return g


difference, gradient_alone = Difference(), GradientAlone()


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

    def sums(self, g: jax.Array, m: jax.Array) -> jax.Array | None:
        """Returns ⟨g,g⟩, ⟨m,m⟩ and Re⟨g,m⟩ of each layer, on a leading axis."""
        if all(isinstance(k, int) and k == 0 for k, _ in self.stages):
            return None
        inner = g * m if jnp.isrealobj(g) else (g * m.conj()).real
        products = abs_sq(g), abs_sq(m), inner
        axes = self.stacked_axes
        if g.size <= _SMALL:
            return layer_sum(jnp.stack(products), axes + 1, self.axis_name)
        return jnp.stack([layer_sum(x, axes, self.axis_name) for x in products])

    def residual(self, g: jax.Array, m: jax.Array, scales: Any) -> jax.Array:
        """Returns the residual, for scales that are None where there are no sums."""
        if scales is None:
            return g - m
        return expand_to(scales[0], g) * g - expand_to(scales[1], m) * m


def scales_of(rules: list[Rule], sums: list[Any]) -> list[Any]:
    """Returns the scales a, b of each leaf, on a leading axis.

    Those of single layers are computed as one array, of fewer instructions. It holds
    what is alike in the rounds to take, in dtype and in what JAX knows of devices.
    """
    alike: dict[Any, list[int]] = {}
    for i, (rule, x) in enumerate(zip(rules, sums, strict=True)):
        if isinstance(rule, ProjectedDifference) and x is not None:
            rounds = tuple(id(number) for stage in rule.stages for number in stage)
            alone = i if x.ndim > 1 else None
            alike.setdefault((rounds, jax.typeof(x), alone), []).append(i)
    scales: list[Any] = [None] * len(rules)
    for indices in alike.values():
        stages = rules[indices[0]].stages  # type: ignore[attr-defined]
        if len(indices) == 1:
            scales[indices[0]] = mutual_scales(sums[indices[0]], stages)
            continue
        together = mutual_scales(jnp.stack([sums[i] for i in indices], 1), stages)
        for column, i in enumerate(indices):
            scales[i] = together[:, column]
    return scales
