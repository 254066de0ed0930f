"""The states of the belief transformations, and whether one fits an optimizer.

Without AMSGrad the state is `optax.ScaleByBeliefState` itself, so that code and
checkpoints made for `optax.adabelief` fit. With AMSGrad it has one more field.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn, TypeAlias

import chex
import jax
import jax.numpy as jnp
import optax
from jax.sharding import AxisType

from adabelief_optax._boxes import refill
from adabelief_optax._checks import leaf_name
from adabelief_optax._layers import Layers
from adabelief_optax._moments import mu_dtype_of, nu_dtype_of, store


class ScaleByBeliefAmsgradState(NamedTuple):
    """State of `scale_by_belief` with AMSGrad.

    Attributes:
        count: t, the number of updates so far, an int32 scalar.
        mu: m, a tree like the parameters.
        nu: s, a tree like the parameters; with `processing="pre"` each leaf has one
            number per layer: the layer axes alone.
        nu_max: d, a tree like `nu`.
    """

    count: chex.Array
    mu: optax.Updates
    nu: optax.Updates
    nu_max: optax.Updates


BeliefState: TypeAlias = optax.ScaleByBeliefState | ScaleByBeliefAmsgradState


def after_step(state: Any, t: jax.Array, live: list[bool], stepped: list[Any]) -> Any:
    """Returns the state with the new moments of the leaves that were stepped.

    The new moments have the dtypes of the old ones, and are placed like them.
    """

    def stored(name: str, new: list[jax.Array]) -> Any:
        old, treedef = jax.tree.flatten(getattr(state, name))
        rest = iter(new)
        kept = [
            placed_like(store(next(rest), x), x) if moves else x
            for x, moves in zip(old, live, strict=True)
        ]
        return jax.tree.unflatten(treedef, kept)

    new = {"mu": [x.m for x in stepped], "nu": [x.s for x in stepped]}
    if hasattr(state, "nu_max"):
        new["nu_max"] = [x.d for x in stepped]
    # Not a new state, so that one of another class with these fields keeps its class.
    return state._replace(count=t, **{name: stored(name, x) for name, x in new.items()})


def tree_of_layers(
    params: optax.Params, leaves: list[jax.Array], layers: list[Layers]
) -> optax.Updates:
    """Returns a tree like the parameters with other leaves: some with fewer axes.

    The nodes around leaves with fewer axes name the layer axes alone.
    """
    old, treedef = jax.tree.flatten(params)
    if list(map(jnp.ndim, leaves)) == list(map(jnp.ndim, old)):
        return jax.tree.unflatten(treedef, leaves)
    axes = (of_leaf.axes for of_leaf in layers)
    return refill(params, zip(leaves, axes, strict=True))


def check_state(state: Any, amsgrad: bool) -> None:
    """Raises unless the state has the fields of a belief state."""
    if isinstance(state, optax.ScaleByAdamState):
        raise ValueError(
            "the state is an optax.ScaleByAdamState, whose nu averages squared "
            "gradients, not squared residuals: call init() of this optimizer"
        )
    if not all(hasattr(state, name) for name in ("count", "mu", "nu")):
        raise ValueError(
            "the optimizer's state must be what init() returned, got a "
            f"{type(state).__name__}: restore a checkpoint into the structure of "
            "init(params), which jax.eval_shape(tx.init, params) gives"
        )
    if hasattr(state, "nu_max") != amsgrad:
        raise ValueError(
            f"amsgrad={amsgrad}, but this state was created with amsgrad="
            f"{not amsgrad}: call init() of the optimizer with amsgrad={amsgrad}"
        )


def leaves_that_move(gradients: Any, mu: Any) -> list[bool]:
    """Returns whether each leaf has a gradient: not where the gradient is None.

    Raises:
        ValueError: if the gradients do not fit the state, naming the first bad leaf.
    """
    _check_names(gradients, mu)
    try:
        filled = _map_with_none(lambda g, m: m if g is None else g, gradients, mu)
        chex.assert_trees_all_equal_structs(filled, mu)
    except (ValueError, AssertionError) as error:  # the nodes alone differ
        raise ValueError(
            f"gradients do not match the optimizer state: {error}"
        ) from None
    for (path, g), m in zip(
        jax.tree_util.tree_leaves_with_path(filled), jax.tree.leaves(mu), strict=True
    ):
        _check_gradient(leaf_name(path), g, m)
    moves = _map_with_none(
        lambda g, m: jax.tree.map(lambda _: g is not None, m), gradients, mu
    )
    return list(jax.tree.leaves(moves))


def _map_with_none(f: Callable[[Any, Any], Any], gradients: Any, mu: Any) -> Any:
    return jax.tree.map(f, gradients, mu, is_leaf=lambda x: x is None)


def _check_names(gradients: Any, mu: Any) -> None:
    nodes = jax.tree_util.tree_leaves_with_path(gradients, is_leaf=lambda x: x is None)
    given = {path for path, _ in nodes}
    frozen = {path for path, g in nodes if g is None}
    known = [path for path, _ in jax.tree_util.tree_leaves_with_path(mu)]
    missing = (
        path
        for path in known
        if path not in given
        and frozen.isdisjoint(path[:i] for i in range(len(path) + 1))
    )
    surplus = (path for path, g in nodes if g is not None and path not in set(known))
    for kind, paths in (("no gradient for", missing), ("no state for", surplus)):
        for path in paths:
            raise ValueError(
                f"gradients do not match the optimizer state: {kind} leaf "
                f"'{leaf_name(path)}'"
            )


def _check_gradient(name: str, g: Any, m: Any) -> None:
    if jnp.shape(g) != jnp.shape(m):
        raise ValueError(
            f"gradient '{name}' must have shape {jnp.shape(m)}, that of its average in "
            f"the state, got {jnp.shape(g)}"
        )
    dtype, of_m = jnp.result_type(g), jnp.result_type(m)
    complex_for_real = jnp.iscomplexobj(g) and not jnp.iscomplexobj(m)
    if complex_for_real or not jnp.issubdtype(dtype, jnp.inexact):
        raise ValueError(
            f"gradient '{name}' has dtype {dtype}, but its average in the state has "
            f"{of_m}"
        )


def check_moments(
    state: Any, gradients: Any, live: list[bool], layers: list[Layers], belief: Any
) -> None:
    """Raises unless the moments are those that this optimizer makes.

    Args:
        state: with the fields of a belief state.
        gradients: of the leaves that move.
        live: which leaves of the state these are.
        layers: of the leaves that move.
        belief: the optimizer's arguments.
    """
    widest = jnp.result_type(float)
    for field in ("mu", "nu", "nu_max") if belief.amsgrad else ("mu", "nu"):
        moments = jax.tree.leaves(getattr(state, field))
        if len(moments) != len(live):
            _refuse_state(f"{field} must have {len(live)} leaves, got {len(moments)}")
        moments = [x for x, moves in zip(moments, live, strict=True) if moves]
        dtype_of, asked = {"mu": (mu_dtype_of, belief.mu_dtype)}.get(
            field, (nu_dtype_of, belief.nu_dtype)
        )
        leaves = jax.tree_util.tree_leaves_with_path(gradients)
        for (path, g), x, of_leaf in zip(leaves, moments, layers, strict=True):
            name, shape = f"{field} of leaf '{leaf_name(path)}'", jnp.shape(g)
            if field != "mu" and belief.processing == "pre":
                shape = of_leaf.shape(shape)
            if jnp.shape(x) != shape:
                _refuse_state(f"{name} must have shape {shape}, got {jnp.shape(x)}")
            allowed = _possible(dtype_of, jnp.result_type(g), asked, widest)
            if jnp.result_type(x) not in allowed:
                _refuse_dtype(name, x, allowed)


def _refuse_state(wrong: str) -> NoReturn:
    raise ValueError(
        f"the state does not belong to this optimizer: {wrong}; call init() of this "
        "optimizer with these parameters"
    )


def _refuse_dtype(name: str, x: Any, allowed: frozenset[Any]) -> NoReturn:
    alike = [
        str(jnp.dtype(dtype))
        for dtype in allowed
        if jnp.issubdtype(dtype, jnp.complexfloating) == jnp.iscomplexobj(x)
    ]
    raise ValueError(
        f"the state does not belong to this optimizer: {name} must have dtype "
        f"{' or '.join(sorted(alike))}, got {jnp.result_type(x)}; to go on with other "
        "dtypes of the moments, convert the state: jax.tree.map(lambda x, new: "
        "x.astype(new.dtype), state, jax.eval_shape(tx.init, params))"
    )


@functools.cache
def _possible(
    dtype_of: Callable[..., Any], dtype: Any, asked: Any, widest: Any
) -> frozenset[Any]:
    """Returns the dtypes that a moment can have, for a gradient of a dtype.

    The state does not say which dtype the parameters had, and the gradients may have
    another one. If no dtype is asked for, Optax takes that of the parameter.
    `widest`, which tells whether JAX has 64 bits now, is there for the cache.
    """
    del widest
    parameters = (jnp.bfloat16, jnp.float32, jnp.float64, jnp.complex64, jnp.complex128)
    canonical = map(jax.dtypes.canonicalize_dtype, parameters)
    own = frozenset(jnp.dtype(dtype_of(d, asked)) for d in canonical)
    return own | {dtype} if asked is None else own


def store_updates(u: list[jax.Array], gradients: Any, params: Any) -> Any:
    """Returns the updates in the dtypes of the parameters.

    Without parameters, or with some that do not fit the gradients, they have the dtypes
    of the gradients.
    """
    treedef: Any = jax.tree.structure(gradients)
    like = gradients
    try:
        found = _map_with_none(lambda g, p: None if g is None else p, gradients, params)
        like = found if jax.tree.structure(found) == treedef else gradients
    except ValueError:  # no parameters, or other ones
        pass
    return jax.tree.unflatten(treedef, map(store, u, jax.tree.leaves(like)))


def placed_like(x: jax.Array, like: Any) -> jax.Array:
    """Returns x; in explicit sharding, split over devices as `like` is."""
    here, there = jax.typeof(x).sharding, jax.typeof(like).sharding
    explicit = AxisType.Explicit in (there.mesh.axis_types or ())
    if not explicit or here == there or x.ndim != jnp.ndim(like):
        return x
    reshard: Callable[[jax.Array, Any], jax.Array] = jax.sharding.reshard
    return reshard(x, there)
