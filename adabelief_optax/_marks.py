"""The mark that a gradient leaf carries: the rule by which its residual is measured.

A transformation that chooses the rule keeps no state and touches no numbers. It wraps
each gradient leaf in a `MarkedGradient`, a pytree node that carries the rule of
`_residual.py`, and `scale_by_belief` applies the rule once it has gradient and
prediction both. So the momentum is stored once, and `optax.masked` and
`optax.partition` choose which layers follow which rule. Whatever else tries to compute
with such a node gets an error that says so.
"""

from collections.abc import Callable
from typing import Any, NoReturn

import jax
import optax

from adabelief_optax._residual import Rule

_MISUSE = (
    "a gradient marked by layerwise_projection(), ignore_prediction() or "
    "weigh_prediction(), which only scale_by_belief() and scale_by_layerwise_belief() "
    "can read. Put one of them after the mark. Move weight decay, momentum and other "
    "optimizers before the mark or after scale_by_belief(). If an optax.masked follows "
    "a mark, give it a tree of bools, not a function"
)


class _Explains(type):
    # JAX prints the type of a node that does not fit the other trees.
    def __repr__(cls) -> str:
        return f"<{_MISUSE}>"


@jax.tree_util.register_pytree_with_keys_class
class MarkedGradient(metaclass=_Explains):
    """A gradient leaf and the rule by which its residual is measured."""

    def __init__(self, gradient: Any, rule: Rule) -> None:
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


def unmark(updates: optax.Updates) -> tuple[optax.Updates, list[Rule]]:
    """Splits updates into the plain gradients and the rule of each leaf."""
    nodes, treedef = jax.tree.flatten(updates, is_leaf=_is_marked)
    gradients = jax.tree.unflatten(
        treedef, (x.gradient if _is_marked(x) else x for x in nodes)
    )
    rules = [
        rule
        for x in nodes
        # A masked-out gradient is a mark around a node without leaves.
        for rule in (
            [x.rule] * len(jax.tree.leaves(x.gradient)) if _is_marked(x) else [Rule()]
        )
    ]
    return gradients, rules


def mark(
    change: Callable[[Rule, Any], Rule], layers: Callable[[Any], list[Any]]
) -> optax.GradientTransformationExtraArgs:
    """Replaces the rule of each leaf by change(rule, layers of the leaf).

    Args:
        change: returns the new rule.
        layers: takes the gradients, returns what `change` is told of each leaf.
    """

    def init_fn(params: optax.Params) -> optax.EmptyState:
        del params
        return optax.EmptyState()

    def update_fn(
        updates: optax.Updates,
        state: optax.OptState,
        params: optax.Params | None = None,
        **extra_args: Any,
    ) -> tuple[optax.Updates, optax.OptState]:
        del params, extra_args
        gradients, rules = unmark(updates)
        leaves, treedef = jax.tree.flatten(gradients)
        marked = (
            MarkedGradient(g, change(rule, of_leaf))
            for g, rule, of_leaf in zip(leaves, rules, layers(gradients), strict=True)
        )
        return jax.tree.unflatten(treedef, marked), state

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)
