"""What comes after what, where that saves memory traffic.

XLA is free to compute in any order, and to keep or to compute again. It chooses
badly in two places, so there an array is made to wait for another by adding a
number computed from that: one that is always 0, which the compiler cannot know. On
other platforms the number is the constant 0, and nothing is left of it.

On CPU every operation starts as soon as its operands are there, first come, first
served. Of an optimizer step that means the averages of all leaves, then the second
moments of all, then the updates of all: each array has left the cache when it is
read again, and the step moves half as many bytes more than it must. So a leaf waits
for the one before, unless there are several devices, where an entry of a sharded
array is not to be had for free.

On GPU the new average is kept by the kernel that sums over the layer, which cannot
write it to where the old one was: it is copied there in the end, 8 bytes a parameter.
So the old average waits for the sums, and the new one is computed again after them.
"""

import functools
from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp

from adabelief_optax._layer import expand_to

# Smaller leaves stay in the cache.
_WORTH_WAITING = 2**16


def map_in_order(
    f: Callable[..., tuple[jax.Array, jax.Array]],
    mu: chex.ArrayTree,
    *rest: chex.ArrayTree,
) -> tuple[Any, Any]:
    """Maps f(m, …) over the leaves of trees, as `jax.tree.map` does.

    Args:
        f: returns the new m and s of a leaf.
        mu: the averages; on CPU it is m that waits for the s of the leaf before.
        *rest: trees of the same structure.

    Returns:
        The trees of the new m and of the new s.
    """
    treedef: Any = jax.tree.structure(mu)
    leaves = zip(*map(treedef.flatten_up_to, (mu, *rest)), strict=True)
    pairs: list[tuple[jax.Array, jax.Array]] = []
    previous = None
    for m, *others in leaves:
        large = m.size >= _WORTH_WAITING and jax.device_count() == 1
        if large and previous is not None:
            first = jax.lax.slice(previous, (0,) * previous.ndim, (1,) * previous.ndim)
            m = _wait(m, first.reshape(()), "cpu")
        pairs.append(f(m, *others))
        if large:
            previous = pairs[-1][1]
    firsts, seconds = zip(*pairs, strict=True) if pairs else ((), ())
    return treedef.unflatten(firsts), treedef.unflatten(seconds)


def after_sums(m: jax.Array, sums: jax.Array) -> jax.Array:
    """Returns m, on GPU after the layers' sums of squares are there."""
    return _wait(m, sums, "cuda", "rocm") if m.size >= _WORTH_WAITING else m


def _wait(x: jax.Array, square: jax.Array, *platforms: str) -> jax.Array:
    """Returns x, after `square`, of which no entry is negative."""
    if not isinstance(x, jax.core.Tracer):
        return x
    zero = _zero_after(jax.lax.stop_gradient(square), platforms)
    return x + expand_to(zero, x).astype(x.dtype)


@functools.partial(jax.jit, static_argnames="platforms")  # to be traced but once
def _zero_after(square: jax.Array, platforms: tuple[str, ...]) -> jax.Array:
    one_there = jax.lax.platform_dependent(
        **dict.fromkeys(platforms, lambda: jnp.ones([])), default=lambda: jnp.zeros([])
    )
    return jnp.where(square < -1, one_there, 0.0)  # also where it is not a number
