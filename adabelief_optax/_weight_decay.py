"""Rule, weight decay, learning rate: the form of decay is its position in the chain.

decoupled    rule, decay, rate      p − η(u + λp)     AdamW
coupled      decay, rule, rate      g + λp            L2, seen by the moments
fixed        rule, rate, decay      p − ηu − λp       not times the rate
"""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax

from adabelief_optax._checks import check, leaf_name
from adabelief_optax._marks import unmark
from adabelief_optax._states import store_updates

Decay = Literal["decoupled", "coupled", "fixed"]
Mask = Any | Callable[[optax.Params], Any] | None


def chain_optimizer(
    rule: tuple[optax.GradientTransformation, ...],
    learning_rate: optax.ScalarOrSchedule,
    weight_decay: optax.ScalarOrSchedule | None,
    weight_decay_mask: Mask,
    decay: Decay,
) -> optax.GradientTransformationExtraArgs:
    """Returns rule, learning rate and, in its position, the decay."""
    check(learning_rate=learning_rate, weight_decay=weight_decay)
    check(weight_decay_mask=weight_decay_mask, decay=decay)
    rate = optax.scale_by_learning_rate(learning_rate)
    if weight_decay is None:
        return _in_parameter_dtype(optax.chain(*rule, rate))
    signed = _times(-1 if decay == "fixed" else 1, weight_decay)
    mask = None if weight_decay_mask is None else _checked(weight_decay_mask)
    link = _needs_params(optax.add_decayed_weights(signed, mask))
    links = {
        "decoupled": (*rule, link, rate),
        "coupled": (link, *rule, rate),
        "fixed": (*rule, rate, link),
    }[decay]
    return _in_parameter_dtype(optax.chain(*links))


def _times(sign: int, x: optax.ScalarOrSchedule) -> optax.ScalarOrSchedule:
    return (lambda count: sign * x(count)) if callable(x) else sign * x


def _checked(mask: Any) -> Callable[[Any], Any]:
    """Returns a function that takes a tree and returns its mask, checked.

    Raises:
        ValueError: for a mask that does not fit the tree, or has leaves other than
            bools.
    """
    allowed = (
        "weight_decay_mask must be, or return, a tree of bools like the parameters"
    )

    def mask_of(tree: Any) -> Any:
        try:
            found = mask(tree) if callable(mask) else mask
        except Exception as error:
            raise ValueError(
                f"{allowed}: called with the whole tree of parameters, not with one "
                f"leaf, it raised {type(error).__name__}: {error}"
            ) from error
        for path, x in jax.tree_util.tree_leaves_with_path(found):
            if not isinstance(x, bool | jnp.bool_.dtype.type):
                at = f" at '{leaf_name(path)}'" if path else ""
                raise ValueError(f"{allowed}, got {_shown(x)}{at}")
        try:
            jax.tree.map(lambda m, p: m, found, tree)
        except ValueError as error:
            raise ValueError(f"{allowed}, got {found}: {error}") from None
        return found

    return mask_of


def _shown(x: Any) -> str:
    return f"{x.dtype}{list(x.shape)}" if hasattr(x, "dtype") else repr(x)


def _needs_params(
    link: optax.GradientTransformation,
) -> optax.GradientTransformationExtraArgs:
    """Returns the decay, with an error that names it where parameters are missing."""

    def update_fn(
        updates: optax.Updates,
        state: optax.OptState,
        params: optax.Params | None = None,
        **extra_args: Any,
    ) -> tuple[optax.Updates, optax.OptState]:
        del extra_args
        if params is None:
            raise ValueError(
                "weight_decay needs the parameters: call "
                "update(gradients, state, params)"
            )
        decayed: tuple[Any, Any] = link.update(updates, state, params)
        return decayed

    return optax.GradientTransformationExtraArgs(link.init, update_fn)


def _in_parameter_dtype(
    tx: optax.GradientTransformationExtraArgs,
) -> optax.GradientTransformationExtraArgs:
    """Returns tx with updates in the dtypes of the parameters, as `scale_by_belief`.

    Optax multiplies a bfloat16 update by a float32 array in float32.
    """

    def update_fn(
        updates: optax.Updates,
        state: optax.OptState,
        params: optax.Params | None = None,
        **extra_args: Any,
    ) -> tuple[optax.Updates, optax.OptState]:
        gradients, _ = unmark(updates)
        updates, state = tx.update(updates, state, params, **extra_args)
        return store_updates(jax.tree.leaves(updates), gradients, params), state

    return optax.GradientTransformationExtraArgs(tx.init, update_fn)
