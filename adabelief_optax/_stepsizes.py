"""The stepsizes 1/(√d̂ + eps) that an optimizer's state holds, and their statistics.

Neither learning rate nor gradients are used, so the stepsizes can be looked at between
any two steps.
"""

import functools
import itertools
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import chex
import jax
import jax.numpy as jnp
import optax

from adabelief_optax._boxes import children, without_boxes
from adabelief_optax._checks import check, leaf_name
from adabelief_optax._layers import Layers, layers_of
from adabelief_optax._moments import bias, correct, real_dtype, widen
from adabelief_optax._signature import readable
from adabelief_optax._states import ScaleByBeliefAmsgradState


@readable
def stepsizes(
    opt_state: optax.OptState,
    b2: chex.Numeric | None = None,
    eps: chex.Numeric | None = None,
) -> Any:
    """Returns the adaptive stepsizes that an optimizer's last step used.

    For each entry of the parameters, or each layer with `processing="pre"`,

        1 / (√d̂ₜ + ε),   d̂ₜ = dₜ/(1−β₂ᵗ)

    with dₜ the largest s so far with AMSGrad, else sₜ. The step is mₜ/(1−β₁ᵗ)
    times this, times the learning rate; with `processing="post"` it is times the
    layer's mean of these, and with `rectify` also times rₜ where that is usable.
    None of these factors is included. For a gradient that comes as predicted, a
    stepsize grows to √((1−β₂)/ε_root), or a little more if s is in bfloat16.

    The belief state may be anywhere in the state: in chains, `optax.masked`,
    `optax.partition`, `optax.MultiSteps`, `optax.inject_hyperparams`,
    `optax.apply_if_finite` and other wrappers, as well as in the state of a Flax
    `nnx.Optimizer`, whose variables are read. It may be one of
    `optax.adabelief`. Several belief states that share the parameters among them, as
    in `optax.partition`, make one tree. Everything is computed in at least float32.

    Args:
        opt_state: the state of an optimizer. Before the first step, t = 0, there
            are no stepsizes yet, and all are 0.
        b2: β₂ of the optimizer. The state does not hold it, unless it comes from
            `optax.inject_hyperparams`: None takes the value from there, and
            otherwise the default 0.999. It matters while β₂ᵗ is not small.
        eps: ε of the optimizer. None takes the injected value, and otherwise
            1e-16. This is also right for ε = 0: beside the default ε_root of any
            optimizer here, 1e-16 is too small to change a digit of float32.

    Returns:
        A tree like the parameters; with `processing="pre"` each leaf has one
        number per layer, in the shape of `nu`. Parameters without a belief state,
        which another optimizer of `optax.partition` moves, are
        `optax.MaskedNode()`.

    Raises:
        ValueError: if there is no belief state, if two of them are for the same
            parameters, for a batch of states, which needs `jax.vmap`, and if b2
            or eps is out of range.

    Example:
        >>> import jax.numpy as jnp
        >>> from adabelief_optax import adabelief, stepsizes
        >>> tx = adabelief(0.1, eps_root=1e-8)
        >>> state = tx.init(jnp.zeros(2))
        >>> for i in range(9):
        ...     _, state = tx.update(jnp.array([1.0, (-1.0) ** i]), state)
        >>> print(*(f"{x:.2f}" for x in stepsizes(state)))  # as predicted, and not
        1.58 1.06

    References:
        Zhang, Niwa, Kleijn, "A DNN Optimizer that Improves over AdaBelief by
        Suppression of the Adaptive Stepsize Range", arXiv 2203.13273, 2022
    """
    opt_state = without_boxes(opt_state)
    trees = [
        _stepsizes_of(
            state,
            _first(b2, hyperparams.get("b2"), 0.999),
            _first(eps, hyperparams.get("eps"), 1e-16),
        )
        for state, hyperparams in _belief_states(opt_state)
    ]
    if not trees:
        raise ValueError(
            "opt_state holds no state of scale_by_belief, "
            "scale_by_layerwise_belief or optax.scale_by_belief; found: "
            f"{_names_of_states(opt_state)}"
        )
    return functools.reduce(_merge, trees)


@readable
def stepsize_statistics(
    opt_state: Any,
    b2: chex.Numeric | None = None,
    eps: chex.Numeric | None = None,
    *,
    stacked_axes: Any = None,
    prefix: str = "stepsize",
) -> dict[str, jax.Array]:
    """Returns mean, std, min and max of the stepsizes of every layer.

    They are scalars under flat names, for a metrics writer, and may be computed
    inside `jax.jit`, so that only four numbers per layer leave the device. If
    `stacked_axes` says that an array holds several layers, the index of the layer
    follows the name of the array:

        stepsize/blocks/kernel/mean         a layer
        stepsize/blocks/kernel/2/mean       the third layer of several

    The standard deviation is that of the layer's entries (not of a sample), as
    the root of the mean squared distance from the mean. With
    `processing="post"` the mean is the stepsize that the layer has taken; with
    "pre" there is one stepsize per layer, and its std is 0.

    Args:
        opt_state: the state of an optimizer, or a tree from `stepsizes`.
        b2: as in `stepsizes`; for a state.
        eps: as in `stepsizes`; for a state.
        stacked_axes: which axes of an array count layers, as in
            `scale_by_layerwise_belief`; not traced, because names depend on it.
        prefix: the first part of each name; "" for none.

    Returns:
        A dict of scalars, in the order of the parameters. Empty layers, None
        leaves and masked parameters have no entries.

    Raises:
        ValueError: as `stepsizes`; for a leaf that is not a real floating-point
            array or has no such `stacked_axes`, and for two leaves of one name.

    Example:
        >>> import jax.numpy as jnp
        >>> from adabelief_optax import aida, stepsize_statistics
        >>> params = {"kernel": jnp.ones((2, 2)), "bias": jnp.zeros(2)}
        >>> g = {"kernel": jnp.array([[1.0, 2.0], [4.0, 8.0]]), "bias": jnp.ones(2)}
        >>> tx = aida(0.1)
        >>> _, state = tx.update(g, tx.init(params))
        >>> for name, x in stepsize_statistics(state).items():
        ...     print(name, f"{x:.2f}")
        stepsize/bias/mean 1.11
        stepsize/bias/std 0.00
        stepsize/bias/min 1.11
        stepsize/bias/max 1.11
        stepsize/kernel/mean 0.52
        stepsize/kernel/std 0.37
        stepsize/kernel/min 0.14
        stepsize/kernel/max 1.11

    References:
        Zhang, Niwa, Kleijn, "A DNN Optimizer that Improves over AdaBelief by
        Suppression of the Adaptive Stepsize Range", arXiv 2203.13273, 2022
    """
    check(stacked_axes=stacked_axes)
    tree = without_boxes(opt_state)
    if (b2, eps) != (None, None) or any(_belief_states(tree)):
        tree = stepsizes(tree, b2, eps)
    statistics: dict[str, jax.Array] = {}
    for (path, x), layers in zip(
        jax.tree_util.tree_leaves_with_path(tree),
        layers_of(tree, stacked_axes),
        strict=True,
    ):
        name = leaf_name(path)
        _check_stepsizes(name, x)
        new = _statistics_of(x, layers, [s for s in (prefix, name) if s])
        if not statistics.keys().isdisjoint(new):
            raise ValueError(f"two layers have the name '{name}'")
        statistics |= new
    return statistics


def _first(*choices: Any) -> Any:
    return next(x for x in choices if x is not None)


def _stepsizes_of(state: Any, b2: Any, eps: Any) -> Any:
    check(b2=b2, eps=eps)
    t = _on_device(jnp.asarray(state.count))
    if t.ndim:
        raise ValueError(
            f"opt_state is a batch of states (count has shape {t.shape}): use "
            "jax.vmap(stepsizes)"
        )
    started = t > 0

    def stepsize(d: jax.Array) -> jax.Array:
        d = widen(_on_device(d))
        c2 = bias(b2, jnp.maximum(t, 1), real_dtype(d))  # at t = 0 it is 0, as d is
        v = jnp.sqrt(correct(d, c2)) + eps
        return jnp.where(started, 1 / jnp.where(started, v, 1.0), 0.0)

    d = getattr(state, "nu_max", None)
    return jax.tree.map(stepsize, state.nu if d is None else d)


def _on_device(x: Any) -> Any:
    """Returns an array in its device's memory, also if it was kept in the host's."""
    space = getattr(jax.typeof(x), "memory_space", None)  # which older JAX lacks
    if space is None or space == jax.memory.Space.Device:
        return x
    return jax.device_put(x, jax.memory.Space.Device)


def _check_stepsizes(name: str, x: Any) -> None:
    if not jnp.issubdtype(jnp.result_type(x), jnp.floating):
        raise ValueError(
            f"leaf '{name}' has dtype {jnp.result_type(x)}; allowed is the state of "
            "an optimizer that holds a belief state, or a tree from stepsizes"
        )


def _statistics_of(
    x: jax.Array, layers: Layers, names: list[str]
) -> dict[str, jax.Array]:
    """Returns the statistics of the layers of one leaf by their full names."""
    x = widen(x)
    if not x.size:
        return {}
    axes = layers.summed(x.ndim)
    deviation = x - x.mean(axes, keepdims=True)
    by_name = {
        "mean": x.mean(axes),
        "std": jnp.sqrt(jnp.mean(deviation**2, axes)),
        "min": x.min(axes),
        "max": x.max(axes),
    }
    return {
        "/".join([*names, *map(str, index), statistic]): values[index]
        for index in itertools.product(*map(range, layers.shape(x.shape)))
        for statistic, values in by_name.items()
    }


_BELIEF = (optax.ScaleByBeliefState, ScaleByBeliefAmsgradState)
_INJECTED = optax.InjectStatefulHyperparamsState


def _belief_states(
    tree: Any, hyperparams: Mapping[str, Any] = MappingProxyType({})
) -> Iterator[tuple[Any, Mapping[str, Any]]]:
    """Yields belief states, each with the hyperparameters injected around it."""
    nodes = (*_BELIEF, _INJECTED)
    for node in jax.tree.leaves(tree, is_leaf=lambda x: isinstance(x, nodes)):
        if isinstance(node, _BELIEF):
            yield node, hyperparams
        elif isinstance(node, _INJECTED):
            yield from _belief_states(
                node.inner_state, {**hyperparams, **node.hyperparams}
            )


def _names_of_states(tree: Any) -> str:
    """Returns the classes of the states in a tree, for an error."""
    names = []

    def note(x: Any) -> bool:
        if hasattr(x, "_fields") and not isinstance(x, optax.MaskedNode):
            names.append(type(x).__name__)
        return False

    jax.tree.leaves(tree, is_leaf=note)
    return ", ".join(dict.fromkeys(names)) or f"no state, a {type(tree).__name__}"


def _merge(a: Any, b: Any, path: tuple[Any, ...] = ()) -> Any:
    """Returns a tree with the leaves of both: what one has masked, the other has.

    Raises:
        ValueError: for a leaf that both have, naming it, and for unlike trees.
    """
    if isinstance(a, optax.MaskedNode):
        return b
    if isinstance(b, optax.MaskedNode):
        return a
    nodes, treedef = children(a)
    others, other_treedef = children(b)
    is_leaf = any(child is a for _, child in nodes)
    if is_leaf or treedef != other_treedef:
        raise ValueError(
            "opt_state holds several belief states for the same parameters (at "
            f"'{leaf_name(path)}'): give them to stepsizes one by one"
        )
    return treedef.unflatten(
        _merge(x, y, path + key) for (key, x), (_, y) in zip(nodes, others, strict=True)
    )
