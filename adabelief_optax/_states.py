"""The states of the belief transformations, and where they are in a tree.

Without AMSGrad the state is `optax.ScaleByBeliefState` itself, so that code and
checkpoints made for `optax.adabelief` fit. With AMSGrad it has one more field.
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

import chex
import jax
import jax.numpy as jnp
import optax

from adabelief_optax._boxes import refill
from adabelief_optax._checks import (
    check_fields,
    check_gradients,
    check_moments,
    leaf_name,
)
from adabelief_optax._moments import mu_dtype_of, nu_dtype_of, store
from adabelief_optax._reduction import Layers, layers_of
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


BeliefState: TypeAlias = optax.ScaleByBeliefState | ScaleByBeliefAmsgradState


def new_state(
    count: jax.Array, mu: optax.Updates, nu: optax.Updates, nu_max: optax.Updates | None
) -> BeliefState:
    """Returns a state with AMSGrad where there is a `nu_max`."""
    if nu_max is None:
        return optax.ScaleByBeliefState(count, mu, nu)
    return ScaleByBeliefAmsgradState(count, mu, nu, nu_max)


def after_step(
    state: Any,
    t: jax.Array,
    m: list[jax.Array],
    s: list[jax.Array],
    d: list[jax.Array],
) -> Any:
    """Returns the state with new moments, in the dtypes of the old."""

    def stored(field: str, new: list[jax.Array]) -> Any:
        old, treedef = jax.tree.flatten(getattr(state, field))
        return jax.tree.unflatten(treedef, map(store, new, old))

    new = {"mu": stored("mu", m), "nu": stored("nu", s)}
    if hasattr(state, "nu_max"):
        new["nu_max"] = stored("nu_max", d)
    # Not a new state, so that one of another class with these fields stays one.
    return state._replace(count=t, **new)


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


def layers_of_state(state: Any, gradients: Any, settings: Settings) -> list[Layers]:
    """Returns the layers of each leaf, once state and gradients are checked.

    Raises:
        ValueError: for a state of another optimizer, naming its field and leaf.
        AssertionError: for gradients that do not fit the averages in the state.
    """
    check_fields(state, amsgrad=settings.amsgrad)
    check_gradients(gradients, state.mu)
    leaves, nu = jax.tree.leaves(gradients), jax.tree.leaves(state.nu)
    layers = layers_of(gradients, settings.stacked_axes, settings.axis_name)
    if len(nu) == len(layers):
        layers = list(map(settings.reduction.known, layers, nu))
    shapes = [jnp.shape(g) for g in leaves]
    reduced = list(map(settings.reduction.shape, shapes, layers))
    dtypes = [jnp.result_type(g) for g in leaves]
    widest = jnp.result_type(float)
    mu_dtypes = [_possible(mu_dtype_of, d, settings.mu_dtype, widest) for d in dtypes]
    nu_dtypes = [_possible(nu_dtype_of, d, settings.nu_dtype, widest) for d in dtypes]
    check_moments("mu", state.mu, gradients, shapes, mu_dtypes)
    check_moments("nu", state.nu, gradients, reduced, nu_dtypes)
    if settings.amsgrad:
        check_moments("nu_max", state.nu_max, gradients, reduced, nu_dtypes)
    return layers


@functools.cache
def _possible(
    dtype_of: Callable[..., Any], dtype: Any, asked: Any, widest: Any
) -> frozenset[Any]:
    """Returns the dtypes that a moment can have, for a gradient of a dtype.

    The state does not say what the parameters were, of which the gradients may be in
    another dtype. Where no dtype is asked for, Optax takes that of the parameter.
    `widest`, which tells whether JAX has 64 bits now, is there for the cache.
    """
    del widest
    parameters = (jnp.bfloat16, jnp.float32, jnp.float64, jnp.complex64, jnp.complex128)
    own = frozenset(dtype_of(jnp.dtype(d), asked) for d in parameters)
    return own | {dtype} if asked is None else own


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
