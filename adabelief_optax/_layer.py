"""Sums and means over one layer.

A layer is one leaf of the parameters or, where `stacked_axes` is s > 0, each
index into the leaf's first s axes: a scanned model keeps a whole stack of
layers in one array. All reductions accumulate in the dtype they are given,
which the engine has widened to float32 or more.
"""

import math
from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp

AxisName = str | tuple[str, ...] | None

# An integer, but no `int`: `optax.inject_hyperparams` makes traced arrays of
# ints, and the number of axes of an array cannot be one.
NOT_STACKED = jnp.dtype("int32").type(0)


def abs_sq(x: jax.Array) -> jax.Array:
    """Returns |x|², real for complex x too."""
    return x * x if jnp.isrealobj(x) else x.real**2 + x.imag**2


def layer_sum(x: jax.Array, stacked_axes: Any, axis_name: AxisName = None) -> jax.Array:
    """Sums x over each layer: one number for each index of the stacked axes.

    If `stacked_axes` is traced the result has the shape of x, alike in a layer.
    """
    if isinstance(stacked_axes, jax.Array):
        # Traced by `inject_hyperparams`: every axis is summed, or not, as data.
        for axis in reversed(range(x.ndim)):
            x = jnp.where(axis < stacked_axes, x, x.sum(axis, keepdims=True))
    else:
        x = x.sum(tuple(range(stacked_axes, x.ndim)))
    return x if axis_name is None else jax.lax.psum(x, axis_name)


def layer_mean(
    x: jax.Array, stacked_axes: Any, axis_name: AxisName = None
) -> jax.Array:
    """As `layer_sum`, over the number of entries; 0 for an empty layer."""
    size: Any
    if isinstance(stacked_axes, jax.Array):
        size = layer_sum(jnp.ones_like(x), stacked_axes, axis_name)
    else:
        shape: tuple[Any, ...] = x.shape[stacked_axes:]
        size = math.prod(shape)
        size *= 1 if axis_name is None else jax.lax.psum(1, axis_name)
    return layer_sum(x, stacked_axes, axis_name) / jnp.maximum(size, 1)


def expand_to(x: jax.Array, like: jax.Array) -> jax.Array:
    """Appends axes of length one to x, unless it broadcasts to `like` as it is."""
    if x.ndim in (0, like.ndim):
        return x
    return x.reshape(x.shape + (1,) * (like.ndim - x.ndim))


def map_layers(
    f: Callable[[int, Any], Any], stacked_axes: Any, tree: chex.ArrayTree
) -> Any:
    """Maps f(number of stacked axes, leaf) over a tree.

    Raises:
        ValueError: naming the leaf, if it has fewer axes than `stacked_axes` says,
            or if that is a tree without an entry for it.
    """
    if not jax.tree.leaves(tree):  # also what `optax.tree.map_params` passes
        return tree

    def keys(path: tuple[Any, ...]) -> tuple[str, ...]:
        return tuple(jax.tree_util.keystr((key,), simple=True) for key in path)

    # By the names on the way, so that a dict fits a model's own kind of mapping.
    given = {
        keys(path): n for path, n in jax.tree_util.tree_leaves_with_path(stacked_axes)
    }

    def axes_of(path: tuple[Any, ...]) -> Any:
        names = keys(path)
        for i in range(len(names) + 1):
            if names[:i] in given:
                return given[names[:i]]
        raise ValueError(
            f"stacked_axes has no entry for leaf '{'/'.join(names)}': {stacked_axes}"
        )

    def checked(path: tuple[Any, ...], axes: Any, leaf: Any) -> Any:
        if not isinstance(axes, jax.core.Tracer):
            axes = int(axes)
            if axes > jnp.ndim(leaf):
                name = jax.tree_util.keystr(path, simple=True, separator="/")
                raise ValueError(
                    f"stacked_axes is {axes} for leaf '{name}', which has only "
                    f"{jnp.ndim(leaf)} axes (shape {jnp.shape(leaf)})"
                )
        return f(axes, leaf)

    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: checked(path, axes_of(path), leaf), tree
    )
