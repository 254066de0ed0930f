"""Rule, weight decay, learning rate: the decay is a position in the chain.

decoupled    rule, decay, rate      p − η(u + λp)     AdamW
coupled      decay, rule, rate      g + λp            L2, seen by the moments
fixed        rule, rate, decay      p − ηu − λp       not times the rate
"""

from collections.abc import Callable
from typing import Any, Literal

import jax
import optax

from adabelief_optax._checks import check_choice, check_mask, check_schedule
from adabelief_optax._marks import unmark
from adabelief_optax._moments import store

Decay = Literal["decoupled", "coupled", "fixed"]
Mask = Any | Callable[[optax.Params], Any] | None


def chain_optimizer(
    rule: tuple[optax.GradientTransformation, ...],
    learning_rate: optax.ScalarOrSchedule,
    weight_decay: optax.ScalarOrSchedule,
    weight_decay_mask: Mask,
    decay: Decay,
) -> optax.GradientTransformationExtraArgs:
    """Returns rule, learning rate and, in its position, the decay."""
    check_schedule("learning_rate", learning_rate)
    check_schedule("weight_decay", weight_decay)
    check_mask("weight_decay_mask", weight_decay_mask)
    check_choice("decay", decay, ("decoupled", "coupled", "fixed"))
    rate = optax.scale_by_learning_rate(learning_rate)
    if isinstance(weight_decay, int | float) and weight_decay == 0:
        return _finish((*rule, rate), needs_params=False)
    sign = -1 if decay == "fixed" else 1
    decay_link = optax.add_decayed_weights(
        _times(sign, weight_decay), weight_decay_mask
    )
    if callable(weight_decay):
        links = {
            "decoupled": (*rule, decay_link, rate),
            "coupled": (decay_link, *rule, rate),
            "fixed": (*rule, rate, decay_link),
        }[decay]
    else:
        links = {
            "decoupled": (*rule, _absorb(decay_link, rate)),
            "coupled": (_absorb(decay_link, rule[0]), *rule[1:], rate),
            "fixed": (*rule, _absorb(decay_link, rate, after=True)),
        }[decay]
    return _finish(links, needs_params=True)


def _times(sign: int, x: optax.ScalarOrSchedule) -> optax.ScalarOrSchedule:
    return (lambda count: sign * x(count)) if callable(x) else sign * x


def _absorb(
    decay: optax.GradientTransformation,
    link: optax.GradientTransformation,
    *,
    after: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """Decays before or after `link`, in its place of the chain's state.

    A decay without a schedule has no state. Without a place either, the state
    of an optimizer has one structure whether its decay is 0, a number or an
    array, and is that of `optax.adabelief`.
    """
    link = optax.with_extra_args_support(link)

    def decayed(updates: optax.Updates, params: optax.Params) -> optax.Updates:
        return decay.update(updates, decay.init(params), params)[0]

    def update_fn(
        updates: optax.Updates,
        state: optax.OptState,
        params: optax.Params | None = None,
        **extra_args: Any,
    ) -> tuple[optax.Updates, optax.OptState]:
        if not after:
            updates = decayed(updates, params)
        updates, state = link.update(updates, state, params, **extra_args)
        if after:
            updates = decayed(updates, params)
        return updates, state

    return optax.GradientTransformationExtraArgs(link.init, update_fn)


def _finish(
    links: tuple[optax.GradientTransformation, ...], *, needs_params: bool
) -> optax.GradientTransformationExtraArgs:
    """Chains the links and returns updates in the gradient's dtype.

    Optax multiplies a bfloat16 update by a float32 array in float32.
    """
    tx = optax.chain(*links)

    def update_fn(
        updates: optax.Updates,
        state: optax.OptState,
        params: optax.Params | None = None,
        **extra_args: Any,
    ) -> tuple[optax.Updates, optax.OptState]:
        if needs_params and params is None:
            raise ValueError(
                "weight_decay needs the parameters: call "
                "update(gradients, state, params)"
            )
        new_updates, state = tx.update(updates, state, params, **extra_args)
        gradients, _ = unmark(updates)
        return jax.tree.map(store, new_updates, gradients), state

    return optax.GradientTransformationExtraArgs(tx.init, update_fn)
