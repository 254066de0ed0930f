"""S: what the entries of a layer share, and the sums over a layer.

A layer is one leaf of the parameters. Where a model keeps a whole stack of layers in
one array, as scanned models do, `stacked_axes` says which axes of the leaf index the
layers. Sums accumulate in the dtype that they are given, which the engine has widened
to float32 or more.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from adabelief_optax._checks import AxisName, is_traced, leaf_name

# An int would be one that `optax.inject_hyperparams` makes an array of, and the shape
# of a sum cannot depend on an array.
WHOLE_LEAVES: frozenset[int] = frozenset()


class Layers(NamedTuple):
    """Where the layers of one leaf are.

    Attributes:
        axes: positions of the axes that index layers, or their number, counted from
            the front, as a traced array.
        axis_name: the mapped axes over which a layer is split, if any.
        number: a traced array that must turn out to be the number of axes.
    """

    axes: Any = ()
    axis_name: AxisName = None
    number: Any = None

    def summed(self, ndim: int) -> tuple[int, ...]:
        """Returns the positions of the other axes."""
        return tuple(i for i in range(ndim) if i not in self.axes)

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Returns the shape of one number a layer."""
        return tuple(shape[i] for i in self.axes)


def layer_sum(x: jax.Array, layers: Layers) -> jax.Array:
    """Sums x over each layer: one number for each index of the layer axes."""
    return over_devices(local_sum(x, layers), layers)


def local_sum(x: jax.Array, layers: Layers) -> jax.Array:
    """Sums x over what this device has of each layer.

    If the axes are traced the result has the shape of x, alike in a layer.
    """
    if not is_traced(layers.axes):
        return x.sum(layers.summed(x.ndim))
    # By `inject_hyperparams`: every axis is summed, or not, as data.
    for axis in reversed(range(x.ndim)):
        x = jnp.where(axis < layers.axes, x, x.sum(axis, keepdims=True))
    return x


def over_devices(sums: jax.Array, layers: Layers) -> jax.Array:
    """Adds up the sums of devices over which a layer is split."""
    names = split_over(sums, layers.axis_name)
    total: jax.Array = jax.lax.psum(sums, names) if names else sums
    return total


def split_over(x: jax.Array, axis_name: AxisName) -> tuple[str, ...]:
    """Returns those of the mapped axes over which x varies.

    A leaf that every device holds whole must be counted once. JAX knows what varies
    unless it was told not to check (`check_vma=False`); then all axes count.
    """
    names = (axis_name,) if isinstance(axis_name, str) else axis_name or ()
    return tuple(
        name
        for name in names
        if name in varying(x) or name not in varying(jax.lax.axis_index(name))
    )


def varying(x: jax.Array) -> frozenset[str]:
    """Returns the mapped axes over which JAX knows that x varies."""
    aval = jax.typeof(x)
    # From JAX 0.7 on it knew them as `vma`, from 0.10 on as part of a larger type.
    manual = getattr(aval, "manual_axis_type", None)
    names: frozenset[str] = getattr(
        manual or aval, "varying" if manual else "vma", _NONE
    )
    return names


_NONE: frozenset[str] = frozenset()


def layer_mean(
    x: jax.Array, layers: Layers, total: jax.Array | None = None
) -> jax.Array:
    """Returns the mean over each layer of x >= 0; 0 for an empty layer.

    A sum too large for the dtype counts as the largest number: an average that has
    once been infinite would stay so for good.

    Args:
        x: an array of numbers >= 0.
        layers: where its layers are.
        total: the sums over the layers, if they are known.
    """
    size: Any
    if is_traced(layers.axes):
        size = layer_sum(jnp.ones_like(x), layers)
    else:
        size = math.prod(x.shape[i] for i in layers.summed(x.ndim))
        names = split_over(x, layers.axis_name)
        size = size * jax.lax.psum(1, names) if names else size
    total = layer_sum(x, layers) if total is None else total
    total = jnp.minimum(total, float(jnp.finfo(x.dtype).max))
    if layers.number is not None:
        total = jnp.where(layers.number == len(layers.axes), total, jnp.nan)
    # The size may also be traced, or symbolic, as in an export for any batch.
    return total / (max(size, 1) if isinstance(size, int) else jnp.maximum(size, 1))


def spread(x: jax.Array, like: jax.Array, layers: Layers) -> jax.Array:
    """Returns one number a layer with axes of length 1, to broadcast to `like`."""
    if x.ndim in (0, like.ndim):
        return x
    return jax.lax.expand_dims(x, layers.summed(like.ndim))


class Reduction(NamedTuple):
    """What the entries of a layer share.

    Attributes:
        S: of |e|², before it enters s: the identity, or the layer mean. Its third
            argument is the sum over the layer, where it is known.
        P: of √d̂ + eps, the inverse stepsizes: the identity, or the inverse of the
            layer's mean stepsize.
        zeros: the first s, for zeros in the shape of the parameter.
        shape: of s, for the shape of a parameter.
    """

    S: Callable[[jax.Array, Layers, jax.Array | None], jax.Array]
    P: Callable[[jax.Array, Layers], jax.Array]
    zeros: Callable[[jax.Array, Layers], jax.Array]
    shape: Callable[[tuple[int, ...], Layers], tuple[int, ...]]

    def known(self, layers: Layers, s: jax.Array) -> Layers:
        """Returns the layers with axes that are known, if their number is traced.

        The shape of s then tells their number. If it is not the traced one, the
        layer's mean is NaN.
        """
        if self.shape is identity or not is_traced(layers.axes):
            return layers
        return Layers(tuple(range(s.ndim)), layers.axis_name, layers.axes)


def identity(x: Any, layers: Layers, total: Any = None) -> Any:
    """Returns x."""
    del layers, total
    return x


def harmonic_mean(v: jax.Array, layers: Layers) -> jax.Array:
    """Returns 1 / (the layer mean of 1/v)."""
    return 1 / layer_mean(1 / v, layers)


def first_means(zeros: jax.Array, layers: Layers) -> jax.Array:
    """Returns 0 for each layer, placed as the means of the parameter's layers are.

    Raises:
        ValueError: for traced axes, on whose values no shape can depend.
    """
    if is_traced(layers.axes):
        raise ValueError(
            "stacked_axes must not be traced in init(), because the shape of nu "
            "depends on it: give a frozenset of positions, such as frozenset({0}), or "
            "name it in static_args of optax.inject_hyperparams"
        )
    if is_traced(zeros) and not layers.axes and not varying(zeros):
        return jnp.zeros([], zeros.dtype)  # one number, alike on all devices
    return local_sum(zeros, layers)


def one_a_layer(shape: tuple[int, ...], layers: Layers) -> tuple[int, ...]:
    """Returns the shape of one number a layer."""
    return layers.shape(shape)


ELEMENTWISE = Reduction(identity, identity, identity, identity)
PRE = Reduction(layer_mean, identity, first_means, one_a_layer)
POST = Reduction(identity, harmonic_mean, identity, identity)


def layers_of(tree: Any, stacked_axes: Any, axis_name: AxisName = None) -> list[Layers]:
    """Returns where the layers of each leaf are.

    Raises:
        ValueError: naming the leaf, if it has no such axes, or if `stacked_axes` is a
            tree without an entry for it.
    """
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    if jax.tree_util.all_leaves([stacked_axes]):
        return [
            Layers(_positions(stacked_axes, x, path), axis_name) for path, x in leaves
        ]

    def keys(path: tuple[Any, ...]) -> tuple[str, ...]:
        return tuple(leaf_name((key,)) for key in path)

    # By the names on the way, so that a dict fits a model's own kind of mapping.
    given = {
        keys(path): axes
        for path, axes in jax.tree_util.tree_leaves_with_path(stacked_axes)
    }

    def entry(path: tuple[Any, ...]) -> Any:
        names = keys(path)
        for i in range(len(names) + 1):
            if names[:i] in given:
                return given[names[:i]]
        raise ValueError(
            f"stacked_axes has no entry for leaf '{leaf_name(path)}': {stacked_axes}"
        )

    return [Layers(_positions(entry(path), x, path), axis_name) for path, x in leaves]


def _positions(axes: Any, leaf: Any, path: tuple[Any, ...]) -> Any:
    """Returns the layer axes of one leaf, counted from the front, in order."""
    if is_traced(axes):
        return axes
    ndim = jnp.ndim(leaf)
    asked = axes if isinstance(axes, frozenset) else range(int(axes))
    positions = sorted({axis + ndim if axis < 0 else axis for axis in asked})
    if len(positions) < len(asked) or any(not 0 <= i < ndim for i in positions):
        raise ValueError(
            f"stacked_axes is {_readable(axes)} for leaf '{leaf_name(path)}', which "
            f"has only {ndim} axes (shape {jnp.shape(leaf)})"
        )
    return tuple(positions)


def _readable(axes: Any) -> Any:
    return sorted(axes) if isinstance(axes, frozenset) else axes
