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
from collections.abc import Callable, Iterable
from typing import Any

import chex
import jax
import jax.numpy as jnp

from adabelief_optax._layer import expand_to

# Smaller leaves stay in the cache.
_WORTH_WAITING = 2**16
# Of those so many may go together, in fewer instructions.
_TOGETHER = 16


def map_in_order(
    f: Callable[..., Iterable[tuple[jax.Array, jax.Array]]],
    mu: chex.ArrayTree,
    *rest: chex.ArrayTree,
) -> tuple[Any, Any]:
    """Maps f over the leaves of trees, a few small ones or a large one at a time.

    Args:
        f: takes a list of leaves of each tree, the averages m first; returns the
            new m and s of each. On CPU it is m that waits for the s of the large
            leaf before.
        mu: the averages.
        *rest: trees of the same structure.

    Returns:
        The trees of the new m and of the new s.
    """
    treedef: Any = jax.tree.structure(mu)
    lists = list(map(treedef.flatten_up_to, (mu, *rest)))
    pairs: list[tuple[jax.Array, jax.Array]] = []
    previous = None
    for part in _parts(lists[0]):
        ms, *others = (leaves[part] for leaves in lists)
        large = ms[0].size >= _WORTH_WAITING and jax.device_count() == 1
        if large and previous is not None:
            first = jax.lax.slice(previous, (0,) * previous.ndim, (1,) * previous.ndim)
            ms = [_wait(ms[0], first.reshape(()), "cpu")]
        pairs.extend(f(ms, *others))
        if large:
            previous = pairs[-1][1]
    firsts, seconds = zip(*pairs, strict=True) if pairs else ((), ())
    return treedef.unflatten(firsts), treedef.unflatten(seconds)


def _parts(leaves: list[jax.Array]) -> Iterable[slice]:
    """Yields where each large leaf is, and each run of small ones between them."""
    start = 0
    for i, leaf in enumerate(leaves):
        large = leaf.size >= _WORTH_WAITING
        if start < i and (large or i - start == _TOGETHER):
            yield slice(start, i)
            start = i
        if large:
            yield slice(i, i + 1)
            start = i + 1
    if start < len(leaves):
        yield slice(start, len(leaves))


def after_sums(m: jax.Array, sums: jax.Array | None) -> jax.Array:
    """Returns m, on GPU after the layers' sums, of which the first is of squares."""
    if sums is None or m.size < _WORTH_WAITING:
        return m
    return _wait(m, sums[0], "cuda", "rocm")


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
