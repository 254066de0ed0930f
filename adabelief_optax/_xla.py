"""What must come before what, so that XLA moves the fewest bytes.

XLA chooses the order of operations, and whether to keep a result or compute it again.
In two places its choice costs memory traffic, and there we make one array depend on
another, so that it must come later.

On GPU: the kernel that sums over a layer also writes the new average m, but not to
where the old m was, so m is copied there in the end, which moves 8 bytes a parameter.
If the old m depends on the sums, the new one is computed again after them, in the
kernel that makes the step, and written in place. There leaves of one size are also
summed together (`_together.py`).

On CPU: XLA starts an operation as soon as its operands are there. Of an optimizer step
that means the averages of all leaves, then the second moments of all, then the updates
of all. Each array has left the cache when it is read again, and the step moves half as
many bytes again as it must. So each large leaf waits for the one before it.

`jax.lax.optimization_barrier` is the tool for such an order, and is used on GPU for
averages of 32 bits. On CPU the compiler drops it before it chooses the order. There,
and for averages of 16 bits, we add to one array a number computed from the other, which
is always 0. The compiler cannot know that, so it must keep the order. On all other
platforms nothing is left of either.
"""

import functools
import os
import re
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp

from adabelief_optax._checks import is_traced
from adabelief_optax._moments import is_wide
from adabelief_optax._reduction import Layers, spread, varying

# Smaller leaves stay in the cache, and may be handled together in fewer instructions.
_LARGE = 2**16
_TOGETHER = 16
_ALIKE = 4


def one_call(f: Callable[..., Any], *static: str) -> Callable[..., Any]:
    """Returns f, which outside jit is one compiled call and not one an operation.

    Inside jit its operations stand where it is called, and nothing else is left of it.

    Args:
        f: a function of arrays.
        *static: names of its arguments that are no arrays; they must be hashable.
    """
    return jax.jit(f, static_argnames=static, inline=True)


def leaf_by_leaf(
    f: Callable[..., tuple[list[jax.Array], list[jax.Array]]],
    sums: bool,
    g: list[jax.Array],
    mu: list[jax.Array],
    *rest: list[Any],
) -> tuple[list[jax.Array], list[jax.Array]]:
    """Applies f to lists of leaves, one large one or a few small ones at a time.

    On a GPU all leaves are one part, so that f can take their sums together.

    Args:
        f: takes whether it has all leaves of a GPU, and a part of each list; returns
            the new averages m and the new second moments s of that part.
        sums: whether f takes sums over leaves.
        g: the gradients of all leaves.
        mu: the averages of all leaves.
        *rest: lists of the same length.

    Returns:
        The new m and the new s of all leaves.
    """
    in_order = functools.partial(_in_order, functools.partial(f, False))
    if not (sums and g and is_traced(g[0])):
        return in_order(g, mu, *rest)
    # Arrays are arguments, the rest may be of any kind.
    nu, *others = rest

    def on_gpu(*arrays: list[jax.Array]) -> tuple[list[jax.Array], list[jax.Array]]:
        return _alike_together(functools.partial(f, True), *arrays, *others)

    found: tuple[list[jax.Array], list[jax.Array]] = jax.lax.platform_dependent(
        g,
        mu,
        nu,
        cuda=on_gpu,
        rocm=on_gpu,
        default=lambda *arrays: in_order(*arrays, *others),
    )
    return found


def _alike_together(
    f: Callable[..., tuple[list[jax.Array], list[jax.Array]]],
    g: list[jax.Array],
    mu: list[jax.Array],
    nu: list[jax.Array],
    *rest: list[Any],
) -> tuple[list[jax.Array], list[jax.Array]]:
    """Applies f to a few leaves of one size and dtype at a time.

    What one of them varies over, all would, so they vary over the same axes.
    """
    groups: dict[Any, list[int]] = {}
    for i, x in enumerate(g):
        axes = varying(x), varying(mu[i]), varying(nu[i])
        # A symbolic size has no hash, and may be any.
        kind = (x.size, x.dtype, axes) if isinstance(x.size, int) else i
        groups.setdefault(kind, []).append(i)
    new: dict[int, tuple[jax.Array, jax.Array]] = {}
    for group in groups.values():
        for start in range(0, len(group), _ALIKE):
            part = group[start : start + _ALIKE]
            m, s = f(*([leaves[i] for i in part] for leaves in (g, mu, nu, *rest)))
            new.update(zip(part, zip(m, s, strict=True), strict=True))
    return [new[i][0] for i in range(len(g))], [new[i][1] for i in range(len(g))]


def _in_order(
    f: Callable[..., tuple[list[jax.Array], list[jax.Array]]],
    g: list[jax.Array],
    mu: list[jax.Array],
    *rest: list[Any],
) -> tuple[list[jax.Array], list[jax.Array]]:
    ms: list[jax.Array] = []
    ss: list[jax.Array] = []
    previous = None
    for part in _parts(g):
        of_g, of_mu, *others = (leaves[part] for leaves in (g, mu, *rest))
        large = is_large(of_g[0])
        if large and previous is not None:
            # An average of 16 bits would be kept in 32 to add something to it.
            if is_wide(of_mu[0]):
                of_mu = [_after_leaf(of_mu[0], previous)]
            else:
                of_g = [_after_leaf(of_g[0], previous)]
        new_m, new_s = f(of_g, of_mu, *others)
        ms.extend(new_m)
        ss.extend(new_s)
        previous = new_s[-1] if large else previous
    return ms, ss


def is_large(x: jax.Array) -> bool:
    """Returns whether an array is so large that its order matters."""
    # The size may be symbolic, as in an export for any batch: those do not wait.
    return isinstance(x.size, int) and x.size >= _LARGE


def _parts(leaves: list[jax.Array]) -> Iterable[slice]:
    """Yields where each large leaf is, and each run of small ones between them."""
    start = 0
    for i, leaf in enumerate(leaves):
        large = is_large(leaf)
        if start < i and (large or i - start == _TOGETHER):
            yield slice(start, i)
            start = i
        if large:
            yield slice(i, i + 1)
            start = i + 1
    if start < len(leaves):
        yield slice(start, len(leaves))


def again_after(
    average: Callable[[jax.Array, jax.Array], jax.Array],
    on_gpu: bool,
    m: jax.Array,
    sums: jax.Array | None,
    layers: Layers,
    g: jax.Array,
    old: jax.Array,
) -> jax.Array:
    """Returns the new average m, which on GPU is computed again after the sums.

    Args:
        average: takes g and the old average, returns m.
        on_gpu: whether this is compiled for GPU alone.
        m: the new average, of which the sums were taken.
        sums: of the layers, where they are needed. The first are of squares.
        layers: where the layers of the sums are.
        g: the gradient.
        old: the old average.
    """
    if sums is None or not is_traced(m):
        return m
    if not is_wide(old):
        if not is_large(m):
            return m
        zero = spread(_zero_after(sums[0], ("cpu", "cuda", "rocm")), m, layers)
        return average(g, old + zero.astype(old.dtype))
    if not on_gpu:
        return m
    waiting: jax.Array = jax.lax.optimization_barrier((old, sums))[0]
    return average(g, waiting)


def again_after_leaf(
    average: Callable[[jax.Array, jax.Array], jax.Array],
    m: jax.Array,
    s: jax.Array,
    g: jax.Array,
    old: jax.Array,
) -> jax.Array:
    """Returns the new average m, on a single CPU device computed again after s.

    For averages that are rounded: XLA would keep m, as it was before, in an array of
    its own.
    """
    if not is_large(m) or not is_traced(m) or s.ndim < m.ndim:
        return m
    return average(_after_leaf(g, s), old)


def _after_leaf(x: jax.Array, s: jax.Array) -> jax.Array:
    """Returns x, which on a single CPU device comes after another leaf's s."""
    if not is_traced(x) or not _one_cpu_device():
        return x
    # An entry of an array that is spread over devices is not to be had for free, and
    # what varies over the axes of a mesh would make x vary over them.
    on_a_mesh = any(jax.typeof(y).sharding.mesh.size > 1 for y in (x, s))
    if on_a_mesh or not varying(s) <= varying(x):
        return x
    entry = jax.lax.slice(s, (0,) * s.ndim, (1,) * s.ndim).reshape(())
    later: jax.Array = x + _zero_after(entry, ("cpu",)).astype(x.dtype)
    return later


def _one_cpu_device() -> bool:
    # From the configuration, because to ask JAX for its devices starts a backend,
    # after which `jax.distributed.initialize` refuses to work.
    config: Any = jax.config  # JAX does not declare all of its options
    option = r"--xla_force_host_platform_device_count=(\d+)"
    forced = re.search(option, os.environ.get("XLA_FLAGS", ""))
    return (
        config.jax_num_cpu_devices <= 1
        and (forced is None or int(forced[1]) == 1)
        and not jax.distributed.is_initialized()
    )


@functools.partial(jax.jit, static_argnames="platforms")  # to be traced only once
def _zero_after(square: jax.Array, platforms: tuple[str, ...]) -> jax.Array:
    """Returns 0, which on these platforms the compiler takes for a number >= 0."""
    square = jax.lax.stop_gradient(square)
    one_there = jax.lax.platform_dependent(
        **dict.fromkeys(platforms, lambda: jnp.ones([])), default=lambda: jnp.zeros([])
    )
    return jnp.where(square < -1, one_there, 0.0)  # also where it is not a number
