"""The states of the belief transformations, and where they are in a tree.

Without AMSGrad the state is `optax.ScaleByBeliefState` itself, so that code and
checkpoints made for `optax.adabelief` fit. With AMSGrad it has one more field.
"""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from adabelief_optax._boxes import refill
from adabelief_optax._checks import check_gradients, leaf_name
from adabelief_optax._moments import mu_dtype_of, nu_dtype_of
from adabelief_optax._reduction import Layers
from adabelief_optax._settings import Settings


class ScaleByBeliefAmsgradState(NamedTuple):
    """State of `scale_by_belief` with AMSGrad.

    Attributes:
        count: t, the number of updates so far, an int32 scalar.
        mu: m, a tree like the parameters.
        nu: s, a tree like the parameters; with `processing="pre"` each leaf has one
            number a layer: the layer axes alone.
        nu_max: d, a tree like `nu`.
    """

    count: chex.Array
    mu: optax.Updates
    nu: optax.Updates
    nu_max: optax.Updates


BeliefState = optax.ScaleByBeliefState | ScaleByBeliefAmsgradState


def new_state(
    count: jax.Array, mu: optax.Updates, nu: optax.Updates, nu_max: optax.Updates | None
) -> BeliefState:
    """Returns a state with AMSGrad where there is a `nu_max`."""
    if nu_max is None:
        return optax.ScaleByBeliefState(count, mu, nu)
    return ScaleByBeliefAmsgradState(count, mu, nu, nu_max)


def tree_of_layers(
    params: optax.Params, leaves: list[jax.Array], layers: list[Layers]
) -> optax.Updates:
    """Returns a tree like the parameters with other leaves: some with fewer axes.

    The nodes around those name the layer axes alone.
    """
    old, treedef = jax.tree.flatten(params)
    if list(map(jnp.ndim, leaves)) == list(map(jnp.ndim, old)):
        return jax.tree.unflatten(treedef, leaves)
    axes = (of_leaf.axes for of_leaf in layers)
    return refill(params, zip(leaves, axes, strict=True))


def check_state(
    state: Any, gradients: Any, layers: list[Layers], settings: Settings
) -> None:
    """Raises unless state and gradients are those of this optimizer.

    Raises:
        ValueError: for a state of another optimizer, naming its field and leaf.
        AssertionError: for gradients that do not fit the averages in the state.
    """
    if not all(hasattr(state, name) for name in ("count", "mu", "nu")):
        raise ValueError(
            "the optimizer's state must be what init() returned, got a "
            f"{type(state).__name__}: restore a checkpoint into the structure of "
            "init(params), which jax.eval_shape(tx.init, params) gives"
        )
    if hasattr(state, "nu_max") != settings.amsgrad:
        raise ValueError(
            f"amsgrad={settings.amsgrad}, but this state was created with "
            f"amsgrad={not settings.amsgrad}: call init() of the optimizer with "
            f"amsgrad={settings.amsgrad}"
        )
    check_gradients(gradients, state.mu)
    # The state does not say what the parameters were, of which the gradients may be
    # in another dtype.
    mu_dtypes = {mu_dtype_of(d, settings.mu_dtype) for d in _PARAMETERS}
    nu_dtypes = {nu_dtype_of(d, settings.nu_dtype) for d in _PARAMETERS}
    shapes = [jnp.shape(g) for g in jax.tree.leaves(gradients)]
    reduced = map(settings.reduction.shape, shapes, layers)
    expected = {"mu": (shapes, mu_dtypes), "nu": (list(reduced), nu_dtypes)}
    if settings.amsgrad:
        expected["nu_max"] = expected["nu"]
    for field, (field_shapes, dtypes) in expected.items():
        _check_field(field, getattr(state, field), gradients, field_shapes, dtypes)


_PARAMETERS = (jnp.bfloat16, jnp.float32, jnp.float64, jnp.complex64, jnp.complex128)


def _check_field(
    field: str,
    moments: Any,
    gradients: Any,
    shapes: list[tuple[int, ...]],
    dtypes: set[Any],
) -> None:
    leaves = jax.tree.leaves(moments)
    found = [(jnp.shape(x), jnp.result_type(x)) for x in leaves]
    if len(found) == len(shapes) and all(
        shape == expected and dtype in dtypes
        for (shape, dtype), expected in zip(found, shapes, strict=True)
    ):
        return
    paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(gradients)]
    for path, (shape, dtype), expected in zip(paths, found, shapes, strict=False):
        if shape != expected or dtype not in dtypes:
            allowed = " or ".join(sorted(str(jnp.dtype(d)) for d in dtypes))
            raise ValueError(
                f"the state does not belong to this optimizer: {field} of leaf "
                f"'{leaf_name(path)}' must have shape {expected} and dtype {allowed}, "
                f"got {shape} and {dtype}; call init() of this optimizer with these "
                "parameters"
            )
    raise ValueError(
        f"the state does not belong to this optimizer: {field} must have {len(shapes)} "
        f"leaves, got {len(found)}; call init() of this optimizer with these parameters"
    )


_BELIEF = (optax.ScaleByBeliefState, ScaleByBeliefAmsgradState)
_INJECTED = optax.InjectStatefulHyperparamsState


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
