"""The optimizers: a rule of the family, weight decay and a learning rate.

What each argument does to the update is said where the rule is defined.
"""

from typing import Any, Literal

import chex
import optax

from adabelief_optax._belief import scale_by_belief, scale_by_layerwise_belief
from adabelief_optax._chain import Decay, Mask, chain_optimizer
from adabelief_optax._layer import NOT_STACKED, AxisName
from adabelief_optax._marks import ignore_prediction, layerwise_projection


def adabelief(
    learning_rate: optax.ScalarOrSchedule,
    b1: chex.Numeric = 0.9,
    b2: chex.Numeric = 0.999,
    eps: chex.Numeric = 1e-16,
    eps_root: chex.Numeric = 1e-16,
    weight_decay: optax.ScalarOrSchedule = 0.0,
    weight_decay_mask: Mask = None,
    *,
    decay: Decay = "decoupled",
    nesterov: bool = False,
    amsgrad: bool = False,
    rectify: bool = False,
    degenerate_to_sgd: bool = True,
    mu_dtype: chex.ArrayDType | str | None = None,
    nu_dtype: chex.ArrayDType | str | None = None,
) -> optax.GradientTransformationExtraArgs:
    """The AdaBelief optimizer, a drop-in for `optax.adabelief`.

    `scale_by_belief`, then weight decay, then the learning rate:

        decoupled    pₜ = pₜ₋₁ − ηₜ (uₜ + λ pₜ₋₁)
        coupled      gₜ ← gₜ + λ pₜ₋₁ before everything else
        fixed        pₜ = pₜ₋₁ − ηₜ uₜ − λ pₜ₋₁

    The defaults are those of `adabelief-pytorch` 0.2.1 and of Optax, except
    that `rectify` is off as in Optax, where the authors' code has it on. (The
    paper's own are eps 1e-8 in the root and none outside.) See `RECOMMENDED`
    for the authors' values by task.

    Args:
        learning_rate: η ≥ 0, a number, an array or a schedule.
        b1: as in `scale_by_belief`.
        b2: as in `scale_by_belief`.
        eps: as in `scale_by_belief`.
        eps_root: as in `scale_by_belief`.
        weight_decay: λ ≥ 0, a number, an array or a schedule. Unless it is the
            number 0, `update` needs the parameters.
        weight_decay_mask: a tree of bools that is a prefix of the parameters,
            or a function from the parameters to one: which leaves to decay.
        decay: "decoupled", "coupled" or "fixed". With "fixed" λ is not
            multiplied by the learning rate: 1 erases the parameters.
        nesterov: as in `scale_by_belief`.
        amsgrad: as in `scale_by_belief`.
        rectify: as in `scale_by_belief`.
        degenerate_to_sgd: as in `scale_by_belief`.
        mu_dtype: as in `scale_by_belief`.
        nu_dtype: as in `scale_by_belief`.

    Returns:
        An `optax.GradientTransformationExtraArgs`.

    Raises:
        ValueError: if an argument is out of range, and in `update` for weight
            decay without parameters; otherwise as `scale_by_belief`.

    Example:
        >>> import jax, jax.numpy as jnp, optax
        >>> from adabelief_optax import adabelief
        >>> f = lambda x: jnp.sum(x**2)
        >>> tx, x = adabelief(0.1), jnp.array([1.0, -2.0])
        >>> state = tx.init(x)
        >>> for _ in range(20):
        ...     updates, state = tx.update(jax.grad(f)(x), state, x)
        ...     x = optax.apply_updates(x, updates)
        >>> print(f"{f(x):.2f}")
        0.14

    References:
        Zhuang et al., "AdaBelief Optimizer: Adapting Stepsizes by the Belief in
        Observed Gradients", arXiv 2010.07468, 2020
    """
    belief = scale_by_belief(
        b1,
        b2,
        eps,
        eps_root,
        nesterov=nesterov,
        amsgrad=amsgrad,
        rectify=rectify,
        degenerate_to_sgd=degenerate_to_sgd,
        mu_dtype=mu_dtype,
        nu_dtype=nu_dtype,
    )
    return chain_optimizer(
        (belief,), learning_rate, weight_decay, weight_decay_mask, decay
    )


def aida(
    learning_rate: optax.ScalarOrSchedule,
    b1: chex.Numeric = 0.9,
    b2: chex.Numeric = 0.999,
    eps: chex.Numeric = 0.0,
    eps_root: chex.Numeric = 1e-8,
    weight_decay: optax.ScalarOrSchedule = 0.0,
    weight_decay_mask: Mask = None,
    *,
    k: chex.Numeric = 2,
    xi: chex.Numeric = 1e-20,
    decay: Decay = "decoupled",
    stacked_axes: Any = NOT_STACKED,
    axis_name: AxisName = None,
    nesterov: bool = False,
    amsgrad: bool = False,
    rectify: bool = False,
    degenerate_to_sgd: bool = True,
    mu_dtype: chex.ArrayDType | str | None = None,
    nu_dtype: chex.ArrayDType | str | None = None,
) -> optax.GradientTransformationExtraArgs:
    """The Aida optimizer: AdaBelief with layerwise projected residuals.

    `layerwise_projection`, `scale_by_belief`, weight decay as in `adabelief`,
    learning rate. The defaults are those of the authors' code, except that
    weight decay is decoupled, where theirs is coupled.

    Args:
        learning_rate: as in `adabelief`.
        b1: as in `scale_by_belief`.
        b2: as in `scale_by_belief`.
        eps: as in `scale_by_belief`.
        eps_root: as in `scale_by_belief`; the authors' `eps`.
        weight_decay: as in `adabelief`.
        weight_decay_mask: as in `adabelief`.
        k: as in `layerwise_projection`; 0 gives AdaBelief.
        xi: as in `layerwise_projection`.
        decay: as in `adabelief`.
        stacked_axes: as in `layerwise_projection`.
        axis_name: as in `layerwise_projection`.
        nesterov: as in `scale_by_belief`.
        amsgrad: as in `scale_by_belief`.
        rectify: as in `scale_by_belief`.
        degenerate_to_sgd: as in `scale_by_belief`.
        mu_dtype: as in `scale_by_belief`.
        nu_dtype: as in `scale_by_belief`.

    Returns:
        An `optax.GradientTransformationExtraArgs`.

    Raises:
        ValueError: as `adabelief` and `layerwise_projection`.

    Example:
        >>> import jax, jax.numpy as jnp, optax
        >>> from adabelief_optax import aida
        >>> f = lambda x: jnp.sum(x**2)
        >>> tx, x = aida(0.1), jnp.array([1.0, -2.0])
        >>> state = tx.init(x)
        >>> for _ in range(20):
        ...     updates, state = tx.update(jax.grad(f)(x), state, x)
        ...     x = optax.apply_updates(x, updates)
        >>> print(f"{f(x):.2f}")
        0.15

    References:
        Zhang, Niwa, Kleijn, "A DNN Optimizer that Improves over AdaBelief by
        Suppression of the Adaptive Stepsize Range", arXiv 2203.13273, 2022
    """
    projection = layerwise_projection(
        k, xi, stacked_axes=stacked_axes, axis_name=axis_name
    )
    belief = scale_by_belief(
        b1,
        b2,
        eps,
        eps_root,
        nesterov=nesterov,
        amsgrad=amsgrad,
        rectify=rectify,
        degenerate_to_sgd=degenerate_to_sgd,
        mu_dtype=mu_dtype,
        nu_dtype=nu_dtype,
    )
    return chain_optimizer(
        (projection, belief), learning_rate, weight_decay, weight_decay_mask, decay
    )


def ladam(
    learning_rate: optax.ScalarOrSchedule,
    b1: chex.Numeric = 0.9,
    b2: chex.Numeric = 0.999,
    eps: chex.Numeric = 0.0,
    eps_root: chex.Numeric = 1e-8,
    weight_decay: optax.ScalarOrSchedule = 0.0,
    weight_decay_mask: Mask = None,
    *,
    processing: Literal["pre", "post"] = "pre",
    decay: Decay = "decoupled",
    stacked_axes: Any = NOT_STACKED,
    axis_name: AxisName = None,
    nesterov: bool = False,
    amsgrad: bool = False,
    rectify: bool = False,
    degenerate_to_sgd: bool = True,
    mu_dtype: chex.ArrayDType | str | None = None,
    nu_dtype: chex.ArrayDType | str | None = None,
) -> optax.GradientTransformationExtraArgs:
    """The LAdam optimizer: Adam with one stepsize a layer.

    `ignore_prediction`, `scale_by_layerwise_belief`, weight decay as in
    `adabelief`, learning rate. With `processing="pre"` its state is half of
    Adam's. The defaults are those of the authors' code.

    Args:
        learning_rate: as in `adabelief`.
        b1: as in `scale_by_belief`.
        b2: as in `scale_by_belief`.
        eps: as in `scale_by_belief`.
        eps_root: as in `scale_by_belief`; the authors' `eps`.
        weight_decay: as in `adabelief`.
        weight_decay_mask: as in `adabelief`.
        processing: as in `scale_by_layerwise_belief`.
        decay: as in `adabelief`.
        stacked_axes: as in `scale_by_layerwise_belief`.
        axis_name: as in `scale_by_layerwise_belief`.
        nesterov: as in `scale_by_belief`.
        amsgrad: as in `scale_by_belief`.
        rectify: as in `scale_by_belief`.
        degenerate_to_sgd: as in `scale_by_belief`.
        mu_dtype: as in `scale_by_belief`.
        nu_dtype: as in `scale_by_belief`.

    Returns:
        An `optax.GradientTransformationExtraArgs`.

    Raises:
        ValueError: as `adabelief` and `scale_by_layerwise_belief`.

    Example:
        >>> import jax.numpy as jnp
        >>> from adabelief_optax import ladam
        >>> tx = ladam(0.1)
        >>> updates, _ = tx.update(jnp.array([3.0, 4.0]), tx.init(jnp.zeros(2)))
        >>> print(*(f"{u:.3f}" for u in updates))
        -0.085 -0.113

    References:
        Zhang, Niwa, Kleijn, "A DNN Optimizer that Improves over AdaBelief by
        Suppression of the Adaptive Stepsize Range", arXiv 2203.13273, 2022
        (versions 1 to 3)
    """
    belief = scale_by_layerwise_belief(
        b1,
        b2,
        eps,
        eps_root,
        processing=processing,
        stacked_axes=stacked_axes,
        axis_name=axis_name,
        nesterov=nesterov,
        amsgrad=amsgrad,
        rectify=rectify,
        degenerate_to_sgd=degenerate_to_sgd,
        mu_dtype=mu_dtype,
        nu_dtype=nu_dtype,
    )
    return chain_optimizer(
        (ignore_prediction(), belief),
        learning_rate,
        weight_decay,
        weight_decay_mask,
        decay,
    )


def ladabelief(
    learning_rate: optax.ScalarOrSchedule,
    b1: chex.Numeric = 0.9,
    b2: chex.Numeric = 0.999,
    eps: chex.Numeric = 0.0,
    eps_root: chex.Numeric = 1e-8,
    weight_decay: optax.ScalarOrSchedule = 0.0,
    weight_decay_mask: Mask = None,
    *,
    processing: Literal["pre", "post"] = "pre",
    decay: Decay = "decoupled",
    stacked_axes: Any = NOT_STACKED,
    axis_name: AxisName = None,
    nesterov: bool = False,
    amsgrad: bool = False,
    rectify: bool = False,
    degenerate_to_sgd: bool = True,
    mu_dtype: chex.ArrayDType | str | None = None,
    nu_dtype: chex.ArrayDType | str | None = None,
) -> optax.GradientTransformationExtraArgs:
    """The LAdaBelief optimizer: AdaBelief with one stepsize a layer.

    `scale_by_layerwise_belief`, weight decay as in `adabelief`, learning rate.
    With `processing="pre"` its state is half of AdaBelief's. The defaults are
    those of the authors' code.

    Args:
        learning_rate: as in `adabelief`.
        b1: as in `scale_by_belief`.
        b2: as in `scale_by_belief`.
        eps: as in `scale_by_belief`.
        eps_root: as in `scale_by_belief`; the authors' `eps`.
        weight_decay: as in `adabelief`.
        weight_decay_mask: as in `adabelief`.
        processing: as in `scale_by_layerwise_belief`.
        decay: as in `adabelief`.
        stacked_axes: as in `scale_by_layerwise_belief`.
        axis_name: as in `scale_by_layerwise_belief`.
        nesterov: as in `scale_by_belief`.
        amsgrad: as in `scale_by_belief`.
        rectify: as in `scale_by_belief`.
        degenerate_to_sgd: as in `scale_by_belief`.
        mu_dtype: as in `scale_by_belief`.
        nu_dtype: as in `scale_by_belief`.

    Returns:
        An `optax.GradientTransformationExtraArgs`.

    Raises:
        ValueError: as `adabelief` and `scale_by_layerwise_belief`.

    Example:
        >>> import jax.numpy as jnp
        >>> from adabelief_optax import ladabelief
        >>> tx = ladabelief(0.1)
        >>> updates, _ = tx.update(jnp.array([3.0, 4.0]), tx.init(jnp.zeros(2)))
        >>> print(*(f"{u:.3f}" for u in updates))
        -0.094 -0.126

    References:
        Zhang, Niwa, Kleijn, "A DNN Optimizer that Improves over AdaBelief by
        Suppression of the Adaptive Stepsize Range", arXiv 2203.13273, 2022
        (versions 1 to 3)
    """
    belief = scale_by_layerwise_belief(
        b1,
        b2,
        eps,
        eps_root,
        processing=processing,
        stacked_axes=stacked_axes,
        axis_name=axis_name,
        nesterov=nesterov,
        amsgrad=amsgrad,
        rectify=rectify,
        degenerate_to_sgd=degenerate_to_sgd,
        mu_dtype=mu_dtype,
        nu_dtype=nu_dtype,
    )
    return chain_optimizer(
        (belief,), learning_rate, weight_decay, weight_decay_mask, decay
    )
