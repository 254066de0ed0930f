"""Sums over many leaves in few kernels, for a GPU.

A GPU starts every kernel anew, and sums a large array in two: one that leaves a few
hundred numbers, and one that adds these up. XLA does so for every sum of every leaf.
Here a sum that leaves as many numbers of each leaf is written out, and those of
several leaves are one array, with one second sum. Small leaves have no first one.

The sums are then entries of one array, from which XLA makes the steps of several
leaves in one kernel. It is for arrays on one device: with parts of a layer on others,
each such array would have to travel.
"""

import jax
import jax.numpy as jnp

from adabelief_optax._checks import is_traced
from adabelief_optax._reduction import Layers
from adabelief_optax._xla import is_large

_NUMBERS = 2**10  # that the first sum leaves of a leaf, unless it is huge
_SUMMED = 2**13  # entries for one number, beyond which XLA would sum twice again


def fits(x: jax.Array, layers: Layers) -> bool:
    """Returns whether a leaf is a layer of known size on one device."""
    return (
        isinstance(x.size, int)
        and x.size > 0
        and not is_traced(layers.axes)
        and not layers.axes
        and layers.axis_name is None
        and jax.typeof(x).sharding.mesh.size <= 1
    )


def sums_together(products: list[tuple[jax.Array, ...]]) -> list[jax.Array]:
    """Returns the sums of each leaf's products, on a leading axis.

    Args:
        products: of each leaf, as many arrays; all leaves have one size and dtype.
    """
    if not products:
        return []
    parts = [
        jnp.stack([_first_sum(x) for x in column])
        for column in zip(*products, strict=True)
    ]
    if is_large(products[0][0]):
        sums = jnp.stack(parts).sum(-1)
    else:
        sums = jnp.stack([part.sum(-1) for part in parts])
    return [
        jax.lax.index_in_dim(sums, column, 1, keepdims=False)
        for column in range(len(products))
    ]


def totals_together(
    squares: list[jax.Array], layers: list[Layers]
) -> list[jax.Array | None]:
    """Returns the sum of each leaf that is a layer on one device."""
    totals: list[jax.Array | None] = [None] * len(squares)
    ours = [i for i, x in enumerate(squares) if fits(x, layers[i])]
    together = sums_together([(squares[i],) for i in ours])
    for i, sums in zip(ours, together, strict=True):
        totals[i] = sums[0]
    return totals


def _first_sum(x: jax.Array) -> jax.Array:
    """Returns a few hundred sums of a large array, and a small one as it is."""
    if not is_large(x):
        return x.reshape(-1)
    wanted = max(_NUMBERS, 1 << (x.size // _SUMMED).bit_length())
    # A power of 2, as many as the size is a multiple of.
    return x.reshape(min(wanted, x.size & -x.size), -1).sum(-1)
