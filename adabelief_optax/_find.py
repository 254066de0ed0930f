"""Where the belief states are: wherever Optax, Flax or a user has put them."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import jax
import optax

from adabelief_optax._state import ScaleByBeliefAmsgradState, ScaleByBeliefState

_BELIEF = (ScaleByBeliefState, ScaleByBeliefAmsgradState, optax.ScaleByBeliefState)
_INJECTED = optax.InjectStatefulHyperparamsState


def leaf_name(path: tuple[Any, ...]) -> str:
    """Returns a path in a tree as text, such as blocks/kernel."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def belief_states(
    tree: Any, hyperparams: Mapping[str, Any] = MappingProxyType({})
) -> Iterator[tuple[Any, Mapping[str, Any]]]:
    """Yields belief states, each with the hyperparameters injected around it."""
    nodes = (*_BELIEF, _INJECTED)
    for node in jax.tree.leaves(tree, is_leaf=lambda x: isinstance(x, nodes)):
        if isinstance(node, _BELIEF):
            yield node, hyperparams
        elif isinstance(node, _INJECTED):
            yield from belief_states(
                node.inner_state, {**hyperparams, **node.hyperparams}
            )


def names_of_states(tree: Any) -> str:
    """Returns the classes of the states in a tree, for an error."""
    names = []

    def note(x: Any) -> bool:
        if hasattr(x, "_fields") and not isinstance(x, optax.MaskedNode):
            names.append(type(x).__name__)
        return False

    jax.tree.leaves(tree, is_leaf=note)
    return ", ".join(dict.fromkeys(names)) or f"no state, a {type(tree).__name__}"


def _children(node: Any) -> tuple[list[tuple[tuple[Any, ...], Any]], Any]:
    """Returns (path, child) of each child, and the structure of the node alone."""
    return jax.tree_util.tree_flatten_with_path(node, is_leaf=lambda x: x is not node)


def merge(a: Any, b: Any, path: tuple[Any, ...] = ()) -> Any:
    """Returns a tree with the leaves of both: what one has masked, the other has.

    Raises:
        ValueError: for a leaf that both have, naming it, and for unlike trees.
    """
    if isinstance(a, optax.MaskedNode):
        return b
    if isinstance(b, optax.MaskedNode):
        return a
    children, treedef = _children(a)
    others, other_treedef = _children(b)
    is_leaf = any(child is a for _, child in children)
    if is_leaf or treedef != other_treedef:
        raise ValueError(
            "opt_state holds several belief states for the same parameters (at "
            f"'{leaf_name(path)}'): give them to stepsizes one by one"
        )
    return treedef.unflatten(
        merge(x, y, path + key)
        for (key, x), (_, y) in zip(children, others, strict=True)
    )


def without_boxes(tree: Any) -> Any:
    """Returns the tree with the arrays that Flax's variables and boxes hold."""
    return jax.tree.map(
        lambda x: _children(x)[0][0][1] if _is_box(x) else x, tree, is_leaf=_is_box
    )


def _is_box(x: Any) -> bool:
    # By its look, so that Flax need not be there: a class of Flax, whose only child
    # is the attribute value.
    if not any(c.__module__.startswith("flax.") for c in type(x).__mro__):
        return False
    return [p for p, _ in _children(x)[0]] == [(jax.tree_util.GetAttrKey("value"),)]
