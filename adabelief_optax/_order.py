"""One leaf after another, where that saves memory traffic.

XLA on CPU starts every operation as soon as its operands are there, first come,
first served. Of an optimizer step that means the averages of all leaves, then the
second moments of all, then the updates of all: each array has left the cache when
it is read again, and the step moves half as many bytes more than it must. So a
leaf is made to wait for the one before. What makes it wait is a number that is
always 0, which the compiler cannot know: it is read from s, and s is not negative.

On other platforms nothing waits: there the kernels of a leaf are one or two. Nor
does it with several devices, where an entry of a sharded array is not to be had for
free.
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
    mu: chex.ArrayTree,
    *rest: chex.ArrayTree,
) -> tuple[Any, Any]:
    """Maps f(m, …) over the leaves of trees, as `jax.tree.map` does.

    Args:
        f: returns the new m and s of a leaf.
        mu: the averages; it is m that waits for the s of the leaf before.
        *rest: trees of the same structure.

    Returns:
        The trees of the new m and of the new s.
    """
    treedef: Any = jax.tree.structure(mu)
    leaves = zip(*map(treedef.flatten_up_to, (mu, *rest)), strict=True)
    zero = _zero_that_waits(mu)
    pairs: list[tuple[jax.Array, jax.Array]] = []
    previous = None
    for m, *others in leaves:
        large = m.size >= _WORTH_WAITING
        if large and zero is not None and previous is not None:
            m = m + zero(previous).astype(m.dtype)
        pairs.append(f(m, *others))
        if large:
            previous = pairs[-1][1]
    firsts, seconds = zip(*pairs, strict=True) if pairs else ((), ())
    return treedef.unflatten(firsts), treedef.unflatten(seconds)


def _zero_that_waits(mu: chex.ArrayTree) -> Callable[[jax.Array], jax.Array] | None:
    traced = any(isinstance(m, jax.core.Tracer) for m in jax.tree.leaves(mu))
    if not traced or jax.device_count() > 1:
        return None
    one_on_cpu = jax.lax.platform_dependent(
        cpu=lambda: jnp.ones([]), default=lambda: jnp.zeros([])
    )

    def zero(s: jax.Array) -> jax.Array:
        first = jax.lax.slice(s, (0,) * s.ndim, (1,) * s.ndim).reshape(())
        return jnp.where(jax.lax.stop_gradient(first) < -1, one_on_cpu, 0.0)

    return zero
