"""One leaf after another, where that saves memory traffic.

XLA on CPU starts every operation as soon as its operands are there, first come,
first served. Of an optimizer step that means the averages of all leaves, then the
second moments of all, then the updates of all: each array has left the cache when
it is read again, and the step moves half as many bytes more than it must. So a
leaf is made to wait for the one before. What makes it wait is a number that is
always 0, which the compiler cannot know: it is read from s, and s is not negative.

On other platforms one kernel does all of a leaf, and nothing waits. Nor does it
with several devices, where one entry of a sharded array is not to be had for free.
"""

from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp

# Smaller leaves stay in the cache together.
_WORTH_WAITING = 2**16


def map_in_order(
    f: Callable[..., tuple[jax.Array, jax.Array]],
    gradients: chex.ArrayTree,
    *rest: chex.ArrayTree,
) -> tuple[Any, Any]:
    """As `jax.tree.map`, of an f that returns a pair, whose second is s ≥ 0."""
    leaves, treedef = jax.tree.flatten(gradients)
    one_cpu = _one_cpu(leaves)
    pairs: list[tuple[jax.Array, jax.Array]] = []
    previous = None
    for g, *others in zip(leaves, *map(treedef.flatten_up_to, rest), strict=True):
        large = one_cpu is not None and g.size >= _WORTH_WAITING
        if large and previous is not None:
            first = jax.lax.stop_gradient(previous[(0,) * previous.ndim])
            g = g + jnp.where(first < -1, one_cpu, 0.0).astype(g.dtype)
        pairs.append(f(g, *others))
        if large:
            previous = pairs[-1][1]
    return tuple(treedef.unflatten(tree) for tree in zip(*pairs, strict=True)) or (
        treedef.unflatten([]),
    ) * 2


def _one_cpu(leaves: list[jax.Array]) -> jax.Array | None:
    """Returns 1 where this runs on one CPU, 0 elsewhere; None if surely elsewhere."""
    traced = any(isinstance(x, jax.core.Tracer) for x in leaves)
    if not traced or jax.device_count() > 1:
        return None
    return jax.lax.platform_dependent(
        cpu=lambda: jnp.float32(1), default=lambda: jnp.float32(0)
    )
