"""e = a·g − b·m: how far a layer's gradient g is from its prediction m.

All methods have this residual. What differs is where the scales (a, b) come from:

    (1, 1)                          AdaBelief
    (1, 0)                          Adam: the gradient alone
    c·(1−μ, μ), c = 2 − |2μ−1|      AdaFamily: between the two, and beyond
    K rounds on the layer's sums    Aida (see `_projection.py`)

The sums A = ⟨g,g⟩, B = ⟨m,m⟩ and C = Re⟨g,m⟩ of several layers become scales
together.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from adabelief_optax._checks import is_traced
from adabelief_optax._moments import abs_sq
from adabelief_optax._projection import mutual_scales
from adabelief_optax._reduction import Layers, local_sum, over_devices, spread
from adabelief_optax._together import fits, sums_together
from adabelief_optax._xla import one_call

# Up to this size one stacked sum is as fast as three.
_SMALL = 2**12


class Rule(NamedTuple):
    """Where the scales a and b of one leaf come from.

    Attributes:
        weights: a and b where nothing is projected.
        rounds: pairs (k, xi) of projections, applied one after the other.
        layers: over what they sum.
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


def layer_sums(rule: Rule, g: jax.Array, m: jax.Array) -> jax.Array | None:
    """Returns A, B and C of each layer, on a leading axis, where they are needed."""
    if not rule.projects:
        return None
    layers = rule.layers
    return (_sums if is_traced(layers.axes) else _fused_sums)(g, m, layers)


def layer_sums_apart(
    rules: list[Rule], g: list[jax.Array], m: list[jax.Array]
) -> list[jax.Array | None]:
    """Returns the sums of each leaf."""
    return list(map(layer_sums, rules, g, m))


def layer_sums_together(
    rules: list[Rule], g: list[jax.Array], m: list[jax.Array]
) -> list[jax.Array | None]:
    """Returns the sums of each leaf, made in few kernels of a GPU."""
    sums = layer_sums_apart(rules, g, m)
    ours = [
        i
        for i, (rule, x) in enumerate(zip(rules, g, strict=True))
        if rule.projects and fits(x, rule.layers)
    ]
    together = sums_together([_products(g[i], m[i]) for i in ours])
    for i, x in zip(ours, together, strict=True):
        sums[i] = x
    return sums


def _products(g: jax.Array, m: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    both_real = jnp.isrealobj(g) and jnp.isrealobj(m)
    inner = g * m if both_real else (g * m.conj()).real
    return abs_sq(g), abs_sq(m), inner


def _sums(g: jax.Array, m: jax.Array, layers: Layers) -> jax.Array:
    products = _products(g, m)
    # The size may be symbolic, as in an export for any batch.
    if isinstance(g.size, int) and g.size <= _SMALL and not is_traced(layers.axes):
        # The new leading axis is one more that is not summed.
        stacked = layers._replace(axes=(0, *(axis + 1 for axis in layers.axes)))
        sums = local_sum(jnp.stack(products), stacked)
    else:
        sums = jnp.stack([local_sum(x, layers) for x in products])
    return over_devices(sums, layers)


_fused_sums = one_call(_sums, "layers")


def scales(rules: list[Rule], sums: list[Any]) -> list[tuple[Any, Any]]:
    """Returns (a, b) of each leaf.

    Those of single layers are computed as one array, of fewer instructions. It holds
    what is alike in the rounds to take, in dtype and in what JAX knows of devices.
    """
    alike: dict[Any, list[int]] = {}
    for i, (rule, x) in enumerate(zip(rules, sums, strict=True)):
        if x is not None:
            # By identity, because k and xi may be traced: two of those can be
            # neither hashed nor compared.
            rounds = tuple(id(number) for pair in rule.rounds for number in pair)
            alone = i if x.ndim > 1 else None
            alike.setdefault((rounds, jax.typeof(x), alone), []).append(i)
    result: list[tuple[Any, Any]] = [rule.weights for rule in rules]
    for indices in alike.values():
        pairs = _scales_of([sums[i] for i in indices], rules[indices[0]].rounds)
        for i, pair in zip(indices, pairs, strict=True):
            result[i] = pair
    return result


def _scales_of(
    sums: list[jax.Array], rounds: tuple[tuple[Any, Any], ...]
) -> list[tuple[jax.Array, jax.Array]]:
    """Returns (a, b) of leaves that are alike."""
    # Known k are part of the program, xi and traced k are not.
    known = tuple(k if isinstance(k, int) else None for k, _ in rounds)
    traced = [
        (None if n is not None else k, xi)
        for n, (k, xi) in zip(known, rounds, strict=True)
    ]
    pairs: list[tuple[jax.Array, jax.Array]] = _fused_scales(sums, traced, known)
    return pairs


def _stacked_scales(
    sums: list[jax.Array], traced: list[tuple[Any, Any]], known: tuple[int | None, ...]
) -> list[tuple[jax.Array, jax.Array]]:
    rounds = tuple(
        (k if n is None else n, xi) for n, (k, xi) in zip(known, traced, strict=True)
    )
    if len(sums) == 1:
        a, b = mutual_scales(sums[0], rounds)
        return [(a, b)]
    a, b = mutual_scales(jnp.stack(sums, 1), rounds)
    return [(a[column], b[column]) for column in range(len(sums))]


_fused_scales = one_call(_stacked_scales, "known")


def residual(
    g: jax.Array, m: jax.Array, a_and_b: tuple[Any, Any], rule: Rule
) -> jax.Array:
    """Returns e = a·g − b·m, without operations for scales known to be 1 or 0."""
    a, b = (
        x if isinstance(x, int | float) else spread(jnp.asarray(x), g, rule.layers)
        for x in a_and_b
    )
    if isinstance(b, int | float) and b == 0:
        return _times(a, g)
    return _times(a, g) - _times(b, m)


def _times(scale: Any, x: jax.Array) -> jax.Array:
    return x if isinstance(scale, int | float) and scale == 1 else scale * x
