"""Rule, weight decay, learning rate: the decay is a position in the chain.

decoupled    rule, decay, rate      p − η(u + λp)     AdamW
coupled      decay, rule, rate      g + λp            L2, seen by the moments
fixed        rule, rate, decay      p − ηu − λp       not times the rate
"""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax

from adabelief_optax._checks import check_choice, check_mask, check_schedule, is_traced
from adabelief_optax._marks import unmark
from adabelief_optax._moments import store_updates

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
    weight_decay = 0.0 if weight_decay is None else weight_decay
    check_schedule("learning_rate", learning_rate)
    check_schedule("weight_decay", weight_decay)
    check_mask("weight_decay_mask", weight_decay_mask)
    check_choice("decay", decay, ("decoupled", "coupled", "fixed"))
    rate = optax.scale_by_learning_rate(learning_rate)
    if isinstance(weight_decay, int | float) and weight_decay == 0:
        return _in_parameter_dtype(optax.chain(*rule, rate))
    link = _decay_link(weight_decay, weight_decay_mask, -1 if decay == "fixed" else 1)
    links = {
        "decoupled": (*rule, link, rate),
        "coupled": (link, *rule, rate),
        "fixed": (*rule, rate, link),
    }[decay]
    if callable(weight_decay) or isinstance(weight_decay, int | float):
        return _in_parameter_dtype(optax.chain(*links))
    return _in_parameter_dtype(_without_state_of(links, links.index(link)))


def _without_state_of(
    links: tuple[optax.GradientTransformation, ...], i: int
) -> optax.GradientTransformationExtraArgs:
    """Returns the chain, in whose state link i, which keeps nothing, has no place.

    `optax.inject_hyperparams` turns a decay of 0 into an array. The state then has the
    structure that it has without injection.
    """
    tx = optax.chain(*links)

    def init_fn(params: optax.Params) -> optax.OptState:
        state: Any = tx.init(params)
        return (*state[:i], *state[i + 1 :])

    def update_fn(
        updates: optax.Updates,
        state: Any,
        params: optax.Params | None = None,
        **extra_args: Any,
    ) -> tuple[optax.Updates, optax.OptState]:
        nothing = optax.EmptyState() if params is None else links[i].init(params)
        whole: Any = (*state[:i], nothing, *state[i:])
        updates, whole = tx.update(updates, whole, params, **extra_args)
        return updates, (*whole[:i], *whole[i + 1 :])

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def _decay_link(
    weight_decay: optax.ScalarOrSchedule, mask: Mask, sign: int
) -> optax.GradientTransformationExtraArgs:
    """Returns `optax.add_decayed_weights`, which needs no parameters to add nothing."""
    link = optax.with_extra_args_support(
        optax.add_decayed_weights(_times(sign, weight_decay), mask)
    )

    def update_fn(
        updates: optax.Updates,
        state: optax.OptState,
        params: optax.Params | None = None,
        **extra_args: Any,
    ) -> tuple[optax.Updates, optax.OptState]:
        if params is not None:
            updates, state = link.update(updates, state, params, **extra_args)
            return updates, state
        if is_traced(weight_decay):
            # Its value is not known yet, so the updates themselves must say it.
            missing = jnp.where(weight_decay == 0, 0.0, jnp.nan)
            return jax.tree.map(lambda u: u + missing.astype(u.dtype), updates), state
        if callable(weight_decay) or float(weight_decay) != 0:
            raise ValueError(
                "weight_decay needs the parameters: call "
                "update(gradients, state, params)"
            )
        return updates, state

    return optax.GradientTransformationExtraArgs(link.init, update_fn)


def _times(sign: int, x: optax.ScalarOrSchedule) -> optax.ScalarOrSchedule:
    return (lambda count: sign * x(count)) if callable(x) else sign * x


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
