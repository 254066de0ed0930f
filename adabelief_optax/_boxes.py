"""The nodes in which models keep their parameters, filled with fewer axes.

Flax and Haliax keep an array in a node together with the names of its axes, by which
it is sharded. One number per layer has the layer axes alone, and so must have the names
of these alone. The nodes are recognized by their attributes, so neither library need be
installed.
"""

from collections.abc import Iterator
from typing import Any

import jax
from jax.sharding import NamedSharding, PartitionSpec

Positions = tuple[int, ...]
# The attributes in which variables of Flax NNX have the names, in all its versions.
_SHARDINGS = ("out_sharding", "optimizer_sharding", "sharding", "sharding_names")


def refill(tree: Any, leaves: Iterator[tuple[Any, Positions]]) -> Any:
    """Returns the tree with other leaves.

    A node that takes no array with fewer axes is replaced by what it would hold.

    Args:
        tree: what the leaves are to stand in.
        leaves: each new array, with the positions that its axes had in the old one.
    """
    treedef: Any
    nodes, treedef = jax.tree.flatten(tree, is_leaf=lambda x: x is not tree)
    if treedef.num_nodes == treedef.num_leaves:  # not None or another empty node
        return next(leaves)[0]
    axes: Positions | None = None
    if len(nodes) == 1 and jax.tree_util.all_leaves(nodes):
        nodes[0], axes = next(leaves)
    else:
        nodes = [refill(node, leaves) for node in nodes]
    try:
        box = None if axes is None else _box(tree, nodes[0], axes)
        return treedef.unflatten(nodes) if box is None else box
    except Exception:  # whatever the checks of a model's own class raise
        return nodes[0] if len(nodes) == 1 else tuple(nodes)


def _box(box: Any, leaf: Any, axes: Positions) -> Any:
    """Returns a box like another, for an array with some of its array's axes.

    Returns:
        The new box, or None if the node is no box.
    """
    if hasattr(box, "get_metadata") and hasattr(box, "from_metadata"):  # Flax NNX
        metadata = {
            key: _of_axes(value, axes) if key in _SHARDINGS else value
            for key, value in box.get_metadata().items()
        }
        return box.from_metadata(leaf, metadata)
    if hasattr(box, "value") and hasattr(box, "names"):  # Flax Linen
        return box.replace(value=leaf, names=_of_axes(box.names, axes))
    if hasattr(box, "array") and hasattr(box, "axes"):  # Haliax
        return type(box)(leaf, tuple(box.axes[i] for i in axes))
    return None


def _of_axes(sharding: Any, axes: Positions) -> Any:
    """Returns the names, or the sharding, of some axes of an array."""
    kind: Any = type(sharding)
    if isinstance(sharding, NamedSharding):
        spec = _of_axes(sharding.spec, axes)
        return NamedSharding(sharding.mesh, spec, memory_kind=sharding.memory_kind)
    if not isinstance(sharding, tuple | list | PartitionSpec):
        return sharding
    # Axes at the end that they do not name are None.
    names = [sharding[i] if i < len(sharding) else None for i in axes]
    return kind(*names) if isinstance(sharding, PartitionSpec) else kind(names)


def without_boxes(tree: Any) -> Any:
    """Returns the tree with the arrays that Flax's variables and boxes hold."""
    return jax.tree.map(
        lambda x: children(x)[0][0][1] if _is_box(x) else x, tree, is_leaf=_is_box
    )


def children(node: Any) -> tuple[list[tuple[tuple[Any, ...], Any]], Any]:
    """Returns (path, child) of each child, and the structure of the node alone."""
    return jax.tree_util.tree_flatten_with_path(node, is_leaf=lambda x: x is not node)


def _is_box(x: Any) -> bool:
    # Without importing Flax: a class of Flax whose only child is the attribute value.
    if not any(c.__module__.startswith("flax.") for c in type(x).__mro__):
        return False
    return [p for p, _ in children(x)[0]] == [(jax.tree_util.GetAttrKey("value"),)]
