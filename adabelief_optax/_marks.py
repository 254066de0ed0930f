"""Transformations that choose the residual of each layer.

They keep no state and touch no numbers. Each wraps the gradient leaves in a
`MarkedGradient`, a pytree node that carries the rule of `_residual.py`, and
`scale_by_belief` applies the rule once it has gradient and prediction both. So
the momentum is stored once, and `optax.masked` and `optax.partition` choose
which layers follow which rule. A node that anything else tries to compute with
ends in an error that says so.
"""

from collections.abc import Callable
from typing import Any, NoReturn

import chex
import jax
import optax

from adabelief_optax._checks import (
    check_count,
    check_non_negative,
    check_stacked_axes,
)
from adabelief_optax._layer import NOT_STACKED, AxisName, map_layers
from adabelief_optax._residual import (
    ProjectedDifference,
    Rule,
    difference,
    gradient_alone,
)

_MISUSE = (
    "a gradient marked by layerwise_projection() or ignore_prediction(), with "
    "which only scale_by_belief() and scale_by_layerwise_belief() can compute: "
    "chain one of them behind it, put weight decay, momentum and other optimizers "
    "before the mark or after scale_by_belief(), and give optax.masked behind a "
    "mark a tree of bools, not a function"
)


class _Explains(type):
    # JAX prints the type of a node that does not fit the other trees.
    def __repr__(cls) -> str:
        return f"<{_MISUSE}>"


@jax.tree_util.register_pytree_with_keys_class
class MarkedGradient(metaclass=_Explains):
    """A gradient leaf and the rule by which its residual is measured."""

    def __init__(self, gradient: Any, rule: Rule):
        self.gradient = gradient
        self.rule = rule

    def tree_flatten_with_keys(self) -> tuple[Any, Rule]:
        """Flattens to the gradient; the rule is structure, not data."""
        return ((jax.tree_util.GetAttrKey("gradient"), self.gradient),), self.rule

    @classmethod
    def tree_unflatten(cls, rule: Rule, children: tuple[Any]) -> "MarkedGradient":
        """Restores the node."""
        return cls(children[0], rule)

    def __getattr__(self, name: str) -> NoReturn:
        """Refuses to be taken for an array."""
        raise AttributeError(f"no attribute '{name}' on {_MISUSE}")

    def _refuse(self, *args: Any, **kwargs: Any) -> NoReturn:
        del args, kwargs
        raise TypeError(f"got {_MISUSE}")

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = _refuse
    __truediv__ = __rtruediv__ = __neg__ = __abs__ = __array__ = _refuse
    __jax_array__ = _refuse


def _is_marked(x: Any) -> bool:
    return isinstance(x, MarkedGradient)


def unmark(updates: optax.Updates) -> tuple[optax.Updates, Any]:
    """Splits updates into the plain gradients and a like tree of rules."""
    gradients = jax.tree.map(
        lambda x: x.gradient if _is_marked(x) else x, updates, is_leaf=_is_marked
    )
    rules = jax.tree.map(
        # A masked-out gradient is a mark around a node without leaves.
        lambda x: (
            jax.tree.map(lambda _: x.rule, x.gradient) if _is_marked(x) else difference
        ),
        updates,
        is_leaf=_is_marked,
    )
    return gradients, rules


def _no_state(params: optax.Params) -> optax.EmptyState:
    del params
    return optax.EmptyState()


def _marks(
    rule_of: Callable[[Rule, Any], Rule], stacked_axes: Any
) -> optax.GradientTransformationExtraArgs:
    """Replaces the rule of each leaf by rule_of(rule, number of stacked axes)."""

    def update_fn(
        updates: optax.Updates,
        state: optax.OptState,
        params: optax.Params | None = None,
        **extra_args: Any,
    ) -> tuple[optax.Updates, optax.OptState]:
        del params, extra_args
        gradients, rules = unmark(updates)
        axes = map_layers(lambda n, _: n, stacked_axes, gradients)
        marked = jax.tree.map(
            lambda g, rule, n: MarkedGradient(g, rule_of(rule, n)),
            gradients,
            rules,
            axes,
        )
        return marked, state

    return optax.GradientTransformationExtraArgs(_no_state, update_fn)


def layerwise_projection(
    k: chex.Numeric = 2,
    xi: chex.Numeric = 1e-20,
    *,
    stacked_axes: Any = NOT_STACKED,
    axis_name: AxisName = None,
) -> optax.GradientTransformationExtraArgs:
    """Measures residuals after projecting gradient and prediction on each other.

    In front of `scale_by_belief` in a chain it turns AdaBelief into Aida. The
    residual of a layer becomes e = g⁽ᴷ⁾ − m⁽ᴷ⁾, where, from g⁽⁰⁾ = g, m⁽⁰⁾ = m,

        g⁽ⁱ⁺¹⁾ = ⟨g⁽ⁱ⁾,m⁽ⁱ⁾⟩ / (|g⁽ⁱ⁾|² + ξ) · g⁽ⁱ⁾
        m⁽ⁱ⁺¹⁾ = ⟨g⁽ⁱ⁾,m⁽ⁱ⁾⟩ / (|m⁽ⁱ⁾|² + ξ) · m⁽ⁱ⁾

    with norms and inner products over the layer. It costs three sums over each
    layer, whatever K is. For even K and ξ → 0, e = cosᴷ∠(g,m) (g − m). Two
    projections in a row act as one with the sum of their k. It has no state and
    changes no gradient; it marks the leaves, which nothing but
    `scale_by_belief` and `scale_by_layerwise_belief` can then compute with.
    Linear maps of single leaves, such as clipping by norm, may stand between.

    Args:
        k: K, the number of rounds, an integer of at least 0, static or traced.
            0 is AdaBelief's g − m; for large K the residual tends to 0 unless
            gradient and prediction are parallel.
        xi: ξ ≥ 0, added to the square of each length. 0 projects exactly, and
            a zero vector onto zero. As it grows the residual tends to 0.
        stacked_axes: how many leading axes of a leaf index layers: an int, or a
            tree of ints that is a prefix of the parameters.
        axis_name: mapped axis (or axes) over which layers are split, when
            called inside `jax.shard_map` or `jax.pmap`.

    Returns:
        An `optax.GradientTransformationExtraArgs` without state.

    Raises:
        ValueError: if an argument is out of range; in `update`, if a leaf has
            fewer than `stacked_axes` axes or is marked in a way that does not
            combine with this.

    Example:
        >>> import jax.numpy as jnp, optax
        >>> from adabelief_optax import layerwise_projection, scale_by_belief
        >>> for k in (0, 2):
        ...     tx = optax.chain(layerwise_projection(k=k), scale_by_belief())
        ...     state = tx.init(jnp.zeros(2))
        ...     for g in (jnp.array([1.0, 2.0]), jnp.array([2.0, 1.0])):
        ...         updates, state = tx.update(g, state)
        ...     print(*(f"{u:.3f}" for u in updates))
        1.117 1.075
        1.200 1.088

    References:
        Zhang, Niwa, Kleijn, "A DNN Optimizer that Improves over AdaBelief by
        Suppression of the Adaptive Stepsize Range", arXiv 2203.13273, 2022
    """
    check_count("k", k)
    check_non_negative("xi", xi)
    check_stacked_axes(stacked_axes)

    def project(rule: Rule, axes: Any) -> Rule:
        if rule is difference:
            return ProjectedDifference(((k, xi),), axes, axis_name)
        if not isinstance(rule, ProjectedDifference):
            raise ValueError(
                "layerwise_projection() got a gradient marked by "
                "ignore_prediction(), which leaves nothing to project: use one "
                "of the two for each leaf"
            )
        if rule.stacked_axes is not axes and rule.stacked_axes != axes:
            raise ValueError(
                f"stacked_axes is {axes} here and {rule.stacked_axes} in the "
                "layerwise_projection() before: they must agree"
            )
        if rule.axis_name != axis_name:
            raise ValueError(
                f"axis_name is {axis_name!r} here and {rule.axis_name!r} in the "
                "layerwise_projection() before: they must agree"
            )
        return ProjectedDifference((*rule.stages, (k, xi)), axes, axis_name)

    return _marks(project, stacked_axes)


def ignore_prediction() -> optax.GradientTransformationExtraArgs:
    """Takes the gradient itself for the residual, as Adam does.

    In front of `scale_by_belief` it gives e = g, hence Adam with `eps_root`
    accumulated in the second moment (Adam+ in the Aida authors' figures), and
    in front of `scale_by_layerwise_belief` LAdam. It has no state and changes
    no gradient; see `layerwise_projection` for what a marked gradient is.

    Returns:
        An `optax.GradientTransformationExtraArgs` without state. Its `update`
        raises `ValueError` for gradients that `layerwise_projection` marked.

    Example:
        >>> import jax.numpy as jnp, optax
        >>> from adabelief_optax import ignore_prediction, scale_by_belief
        >>> tx = optax.chain(ignore_prediction(), scale_by_belief())
        >>> updates, _ = tx.update(jnp.array([0.5, -4.0]), tx.init(jnp.zeros(2)))
        >>> print(*(f"{u:.3f}" for u in updates))
        1.000 -1.000

    References:
        Zhang, Niwa, Kleijn, "A DNN Optimizer that Improves over AdaBelief by
        Suppression of the Adaptive Stepsize Range", arXiv 2203.13273, 2022
    """

    def ignore(rule: Rule, axes: Any) -> Rule:
        del axes
        if isinstance(rule, ProjectedDifference):
            raise ValueError(
                "ignore_prediction() got a gradient marked by "
                "layerwise_projection(), which needs the prediction: use one of "
                "the two for each leaf"
            )
        return gradient_alone

    return _marks(ignore, NOT_STACKED)
