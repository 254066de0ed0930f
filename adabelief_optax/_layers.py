"""What a layer is, and what its entries share: sums and means.

A layer is one leaf of the parameters. A scanned model keeps several layers in one leaf;
there `stacked_axes` says which axes of it count the layers. `axis_name` says over which
mapped axes a layer is split. Sums accumulate in the dtype of what is summed, which the
engine has widened to float32.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import NamedSharding, PartitionSpec

from adabelief_optax._checks import AxisName, is_axis_name, is_traced, leaf_name


class Layers(NamedTuple):
    """Where the layers of one leaf are.

    Attributes:
        axes: positions of the axes that count layers.
        axis_name: the mapped axes over which a layer is split, if any.
    """

    axes: tuple[int, ...] = ()
    axis_name: AxisName = None

    def summed(self, ndim: int) -> tuple[int, ...]:
        """Returns the positions of the other axes."""
        return tuple(i for i in range(ndim) if i not in self.axes)

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Returns the shape of one number per layer."""
        return tuple(shape[i] for i in self.axes)


def local_sum(x: jax.Array, layers: Layers) -> jax.Array:
    """Sums x over what this device has of each layer."""
    return x.sum(layers.summed(x.ndim))


def split_over(x: jax.Array, axis_name: AxisName) -> tuple[str, ...]:
    """Returns those of the mapped axes over which x varies.

    A leaf that every device holds whole must be counted once. JAX knows what varies
    unless it was told not to check (`check_vma=False`); then all axes count.
    """
    names = (axis_name,) if isinstance(axis_name, str) else axis_name or ()
    return tuple(
        name
        for name in sorted(names)
        if name in varying(x) or name not in varying(jax.lax.axis_index(name))
    )


def varying(x: jax.Array) -> frozenset[str]:
    """Returns the mapped axes over which JAX knows that x varies."""
    aval = jax.typeof(x)
    # JAX has them as `vma` from 0.7 on, from 0.10 on as part of a larger type.
    manual = getattr(aval, "manual_axis_type", None)
    names: frozenset[str] = getattr(
        manual or aval, "varying" if manual else "vma", frozenset()
    )
    return names


def sums_of_zeros(zeros: jax.Array, layers: Layers) -> jax.Array:
    """Returns 0 for each layer, placed as the sums of the parameter's layers are."""
    if is_traced(zeros):
        if not layers.axes and not varying(zeros):
            return jnp.zeros([], zeros.dtype)  # one number, alike on all devices
    elif isinstance(zeros.sharding, NamedSharding):
        # Outside jit each sum would be an all-reduce of its own. Hundreds of them in
        # quick succession bring eight devices of a CPU to a stop.
        there, spec = zeros.sharding, [*zeros.sharding.spec, *[None] * zeros.ndim]
        new_spec: Callable[..., PartitionSpec] = PartitionSpec
        of_layers = new_spec(*(spec[i] for i in layers.axes))
        there = NamedSharding(there.mesh, of_layers, memory_kind=there.memory_kind)
        return jnp.zeros(layers.shape(zeros.shape), zeros.dtype, device=there)
    names = layers.axis_name
    names = (names,) if isinstance(names, str) else names or ()
    sums = local_sum(zeros, layers)
    split = tuple(name for name in names if name in varying(sums))
    return jax.lax.psum(sums, split) if split else sums


def mean(total: jax.Array, like: jax.Array, layers: Layers) -> jax.Array:
    """Returns the mean of each layer of `like`, of sums >= 0; 0 for an empty layer.

    A sum too large for the dtype counts as the largest number: an average that has
    once been infinite would stay so for good.
    """
    size: Any = math.prod(like.shape[i] for i in layers.summed(like.ndim))
    names = split_over(like, layers.axis_name)
    size = size * jax.lax.psum(1, names) if names else size
    total = jnp.minimum(total, float(jnp.finfo(total.dtype).max))
    # The size may also be symbolic, as in an export for any batch.
    return total / (max(size, 1) if isinstance(size, int) else jnp.maximum(size, 1))


def spread(x: jax.Array, like: jax.Array, layers: Layers) -> jax.Array:
    """Returns one number per layer with axes of length 1, to broadcast to `like`."""
    if x.ndim in (0, like.ndim):
        return x
    return jax.lax.expand_dims(x, layers.summed(like.ndim))


def layers_of(tree: Any, stacked_axes: Any, axis_name: Any = None) -> list[Layers]:
    """Returns where the layers of each leaf are.

    Args:
        tree: the parameters, or a tree with their names.
        stacked_axes: as in `scale_by_layerwise_belief`.
        axis_name: likewise.

    Raises:
        ValueError: naming the leaf, if it has no such axes, or a name that the tree
            lacks.
    """
    axes_of = _by_name("stacked_axes", stacked_axes, tree, _is_axes)
    name_of = _by_name("axis_name", axis_name, tree, is_axis_name)
    return [
        Layers(_positions(axes_of(path), leaf, path), name_of(path))
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    ]


def _is_axes(x: Any) -> bool:
    return x is None or jax.tree_util.all_leaves([x])


def _by_name(
    argument: str, given: Any, tree: Any, is_leaf: Callable[[Any], bool]
) -> Callable[[tuple[Any, ...]], Any]:
    """Returns what an argument says of a leaf, given the path of that leaf.

    What the argument says under a name holds for all leaves below it. A leaf whose name
    it leaves out gets None.
    """
    given = given(tree) if callable(given) else given
    if is_leaf(given):
        return lambda path: given
    # By the names on the way, so that a dict fits a model's own kind of mapping.
    said = {
        _names(path): value
        for path, value in jax.tree_util.tree_leaves_with_path(given, is_leaf=is_leaf)
    }
    _check_names(argument, said, tree)

    def value_of(path: tuple[Any, ...]) -> Any:
        return next((said[x] for x in _prefixes(_names(path)) if x in said), None)

    return value_of


def _check_names(argument: str, said: Iterable[tuple[str, ...]], tree: Any) -> None:
    """Raises for a name that the tree does not have."""
    if not jax.tree.leaves(tree):
        return  # as `optax.tree.map_params` calls init() with a tree without names
    known, empty = set(), set()
    for path, x in jax.tree_util.tree_leaves_with_path(tree, is_leaf=_is_empty):
        known.update(_prefixes(_names(path)))
        empty.update([_names(path)] if _is_empty(x) else [])
    for names in said:
        if names not in known and empty.isdisjoint(_prefixes(names)):
            have = ", ".join(sorted(x[0] for x in known if len(x) == 1)) or "no names"
            raise ValueError(
                f"{argument} names '{'/'.join(names)}', which the parameters do not "
                f"have: they have {have}"
            )


def _is_empty(x: Any) -> bool:
    # A frozen leaf is None, and one that another transformation moves is masked.
    return x is None or isinstance(x, optax.MaskedNode)


def _names(path: tuple[Any, ...]) -> tuple[str, ...]:
    return tuple(leaf_name((key,)) for key in path)


def _prefixes(names: tuple[str, ...]) -> list[tuple[str, ...]]:
    return [names[:i] for i in range(len(names) + 1)]


def _positions(axes: Any, leaf: Any, path: tuple[Any, ...]) -> tuple[int, ...]:
    """Returns the layer axes of one leaf, counted from the front, in order."""
    ndim = jnp.ndim(leaf)
    asked = sorted(axes) if isinstance(axes, frozenset) else list(range(int(axes or 0)))
    positions = sorted(axis + ndim if axis < 0 else axis for axis in asked)
    readable = asked if isinstance(axes, frozenset) else axes
    here = f"stacked_axes is {readable} for leaf '{leaf_name(path)}'"
    if any(not 0 <= axis < ndim for axis in positions):
        raise ValueError(
            f"{here}, which has only {ndim} axes (shape {jnp.shape(leaf)})"
        )
    if len(set(positions)) < len(positions):
        raise ValueError(f"{here}, which names an axis twice")
    return tuple(positions)
