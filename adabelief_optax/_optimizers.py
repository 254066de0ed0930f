"""The optimizers: a rule of the family, weight decay and a learning rate.

Each argument is said in a few words here, and in full where the rule is defined, in
`scale_by_belief`, `scale_by_layerwise_belief` and `layerwise_projection`.
"""

from typing import Any, Literal

import chex
import optax
from jax.typing import DTypeLike

from adabelief_optax._checks import check_prediction
from adabelief_optax._transforms import (
    ignore_prediction,
    layerwise_projection,
    scale_by_belief,
    scale_by_layerwise_belief,
)
from adabelief_optax._weight_decay import Decay, Mask, chain_optimizer


def adabelief(
    learning_rate: optax.ScalarOrSchedule,
    b1: chex.Numeric = 0.9,
    b2: chex.Numeric = 0.999,
    eps: chex.Numeric = 1e-16,
    eps_root: chex.Numeric = 1e-16,
    weight_decay: optax.ScalarOrSchedule | None = None,
    weight_decay_mask: Mask = None,
    *,
    decay: Decay = "decoupled",
    momentum: bool = True,
    nesterov: bool = False,
    amsgrad: bool = False,
    rectify: bool = False,
    degenerate_to_sgd: bool = True,
    mu_dtype: DTypeLike | None = None,
    nu_dtype: DTypeLike | None = None,
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
        learning_rate: η ≥ 0, what every step is multiplied by: a number, an array or a
            schedule. 0 leaves the parameters as they are.
        b1: β₁ in [0, 1), how slowly the prediction m follows the gradients. 0 leaves
            no residual: use `momentum=False` for steps without momentum.
        b2: β₂ in [0, 1), how slowly the average s of the squared residuals follows
            them: it averages over about 1/(1−β₂) steps.
        eps: ε ≥ 0, added to the denominator √ŝ.
        eps_root: ε_root ≥ 0, added to s at every step. It decides the longest step:
            no stepsize exceeds √((1−β₂)/ε_root), as with an ε of √(ε_root/(1−β₂)) in
            Adam, which is 3e-7 for 1e-16. Keep that, unless you train image
            classifiers as the authors did, who took 1e-8 (with the same ε).
        weight_decay: λ ≥ 0, how strongly parameters are pulled to 0: a number, an array
            or a schedule; None is 0. Unless it is 0, `update` needs the parameters.
        weight_decay_mask: which leaves decay: a tree of bools that is a prefix of the
            parameters, or a function from the parameters to one. None: all.
        decay: where the decay stands: "decoupled" (added to the step, as AdamW does),
            "coupled" (added to the gradient, as L2 regularization does) or "fixed"
            (not multiplied by the learning rate; λ = 1 erases the parameters).
        momentum: False takes the gradient for the step in place of its average, which
            still predicts (for `optax.contrib.schedule_free`).
        nesterov: True looks one step ahead, as Nesterov's momentum does.
        amsgrad: True divides by the largest s so far; one more array of state.
        rectify: True shortens early steps, as RAdam does, while s rests on few steps.
        degenerate_to_sgd: with `rectify`, what is done while s is of no use: True
            takes steps of gradient descent with momentum, False none.
        mu_dtype: dtype of m in the state. "bfloat16" halves its memory; None is at
            least float32.
        nu_dtype: dtype of s in the state, likewise.

    Returns:
        An `optax.GradientTransformationExtraArgs`.

    Raises:
        ValueError: if an argument is out of range, and in `update` for weight
            decay without parameters; otherwise as `scale_by_belief`. A traced decay
            other than 0 makes the updates NaN where the parameters are missing.

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
        momentum=momentum,
        nesterov=nesterov,
        amsgrad=amsgrad,
        rectify=rectify,
        degenerate_to_sgd=degenerate_to_sgd,
        mu_dtype=mu_dtype,
        nu_dtype=nu_dtype,
    )
    check_prediction(b1)
    return chain_optimizer(
        (belief,), learning_rate, weight_decay, weight_decay_mask, decay
    )


def aida(
    learning_rate: optax.ScalarOrSchedule,
    b1: chex.Numeric = 0.9,
    b2: chex.Numeric = 0.999,
    eps: chex.Numeric = 1e-16,
    eps_root: chex.Numeric = 1e-16,
    weight_decay: optax.ScalarOrSchedule | None = None,
    weight_decay_mask: Mask = None,
    *,
    k: chex.Numeric = 2,
    xi: chex.Numeric = 1e-20,
    decay: Decay = "decoupled",
    stacked_axes: Any = None,
    axis_name: Any = None,
    momentum: bool = True,
    nesterov: bool = False,
    amsgrad: bool = False,
    rectify: bool = False,
    degenerate_to_sgd: bool = True,
    mu_dtype: DTypeLike | None = None,
    nu_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    """The Aida optimizer: AdaBelief with layerwise projected residuals.

    `layerwise_projection`, `scale_by_belief`, weight decay as in `adabelief`,
    learning rate. The defaults are those of the authors' code, except that
    weight decay is decoupled, where theirs is coupled.

    Args:
        learning_rate: η ≥ 0, what every step is multiplied by: a number, an array or a
            schedule. 0 leaves the parameters as they are.
        b1: β₁ in [0, 1), how slowly the prediction m follows the gradients. 0 leaves
            no residual: use `momentum=False` for steps without momentum.
        b2: β₂ in [0, 1), how slowly the average s of the squared residuals follows
            them: it averages over about 1/(1−β₂) steps.
        eps: ε ≥ 0, added to the denominator √ŝ.
        eps_root: ε_root ≥ 0, added to s at every step. It decides the longest step:
            no stepsize exceeds √((1−β₂)/ε_root), as with an ε of √(ε_root/(1−β₂)) in
            Adam, which is 3e-3 for the authors' 1e-8. For text take 1e-16.
        weight_decay: λ ≥ 0, how strongly parameters are pulled to 0: a number, an array
            or a schedule; None is 0. Unless it is 0, `update` needs the parameters.
        weight_decay_mask: which leaves decay: a tree of bools that is a prefix of the
            parameters, or a function from the parameters to one. None: all.
        k: K, how often gradient and prediction are projected onto each other. 0 gives
            AdaBelief; the cost is the same for every K.
        xi: ξ ≥ 0, added to squared lengths in the projections, against division by 0.
        decay: where the decay stands: "decoupled" (added to the step, as AdamW does),
            "coupled" (added to the gradient, as L2 regularization does) or "fixed"
            (not multiplied by the learning rate; λ = 1 erases the parameters).
        stacked_axes: which axes of a leaf index layers, for models that keep a stack of
            layers in one array: an int n for the first n axes, a frozenset of axis
            positions, or a tree of such that is a prefix of the parameters.
        axis_name: mapped axis (or axes) over which layers are split, when called inside
            `jax.shard_map` or `jax.pmap`.
        momentum: False takes the gradient for the step in place of its average, which
            still predicts (for `optax.contrib.schedule_free`).
        nesterov: True looks one step ahead, as Nesterov's momentum does.
        amsgrad: True divides by the largest s so far; one more array of state.
        rectify: True shortens early steps, as RAdam does, while s rests on few steps.
        degenerate_to_sgd: with `rectify`, what is done while s is of no use: True
            takes steps of gradient descent with momentum, False none.
        mu_dtype: dtype of m in the state. "bfloat16" halves its memory; None is at
            least float32.
        nu_dtype: dtype of s in the state, likewise.

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
        momentum=momentum,
        nesterov=nesterov,
        amsgrad=amsgrad,
        rectify=rectify,
        degenerate_to_sgd=degenerate_to_sgd,
        mu_dtype=mu_dtype,
        nu_dtype=nu_dtype,
    )
    check_prediction(b1)
    return chain_optimizer(
        (projection, belief), learning_rate, weight_decay, weight_decay_mask, decay
    )


def ladam(
    learning_rate: optax.ScalarOrSchedule,
    b1: chex.Numeric = 0.9,
    b2: chex.Numeric = 0.999,
    eps: chex.Numeric = 1e-16,
    eps_root: chex.Numeric = 1e-16,
    weight_decay: optax.ScalarOrSchedule | None = None,
    weight_decay_mask: Mask = None,
    *,
    processing: Literal["pre", "post"] = "pre",
    decay: Decay = "decoupled",
    stacked_axes: Any = None,
    axis_name: Any = None,
    momentum: bool = True,
    nesterov: bool = False,
    amsgrad: bool = False,
    rectify: bool = False,
    degenerate_to_sgd: bool = True,
    mu_dtype: DTypeLike | None = None,
    nu_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    """The LAdam optimizer: Adam with one stepsize a layer.

    `ignore_prediction`, `scale_by_layerwise_belief`, weight decay as in
    `adabelief`, learning rate. With `processing="pre"` its state is half of
    Adam's. The defaults are those of the authors' code.

    Args:
        learning_rate: η ≥ 0, what every step is multiplied by: a number, an array or a
            schedule. 0 leaves the parameters as they are.
        b1: β₁ in [0, 1), how slowly the prediction m follows the gradients. 0 leaves
            no residual: use `momentum=False` for steps without momentum.
        b2: β₂ in [0, 1), how slowly the average s of the squared residuals follows
            them: it averages over about 1/(1−β₂) steps.
        eps: ε ≥ 0, added to the denominator √ŝ.
        eps_root: ε_root ≥ 0, added to s at every step. It decides the longest step:
            no stepsize exceeds √((1−β₂)/ε_root), as with an ε of √(ε_root/(1−β₂)) in
            Adam, which is 3e-3 for the authors' 1e-8. For text take 1e-16.
        weight_decay: λ ≥ 0, how strongly parameters are pulled to 0: a number, an array
            or a schedule; None is 0. Unless it is 0, `update` needs the parameters.
        weight_decay_mask: which leaves decay: a tree of bools that is a prefix of the
            parameters, or a function from the parameters to one. None: all.
        processing: "pre" averages the squared residuals of a layer and keeps one
            number of s for it; "post" keeps s for each entry and averages the
            stepsizes of the layer.
        decay: where the decay stands: "decoupled" (added to the step, as AdamW does),
            "coupled" (added to the gradient, as L2 regularization does) or "fixed"
            (not multiplied by the learning rate; λ = 1 erases the parameters).
        stacked_axes: which axes of a leaf index layers, for models that keep a stack of
            layers in one array: an int n for the first n axes, a frozenset of axis
            positions, or a tree of such that is a prefix of the parameters.
        axis_name: mapped axis (or axes) over which layers are split, when called inside
            `jax.shard_map` or `jax.pmap`.
        momentum: False takes the gradient for the step in place of its average, which
            still predicts (for `optax.contrib.schedule_free`).
        nesterov: True looks one step ahead, as Nesterov's momentum does.
        amsgrad: True divides by the largest s so far; one more array of state.
        rectify: True shortens early steps, as RAdam does, while s rests on few steps.
        degenerate_to_sgd: with `rectify`, what is done while s is of no use: True
            takes steps of gradient descent with momentum, False none.
        mu_dtype: dtype of m in the state. "bfloat16" halves its memory; None is at
            least float32.
        nu_dtype: dtype of s in the state, likewise.

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
        momentum=momentum,
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
    eps: chex.Numeric = 1e-16,
    eps_root: chex.Numeric = 1e-16,
    weight_decay: optax.ScalarOrSchedule | None = None,
    weight_decay_mask: Mask = None,
    *,
    processing: Literal["pre", "post"] = "pre",
    decay: Decay = "decoupled",
    stacked_axes: Any = None,
    axis_name: Any = None,
    momentum: bool = True,
    nesterov: bool = False,
    amsgrad: bool = False,
    rectify: bool = False,
    degenerate_to_sgd: bool = True,
    mu_dtype: DTypeLike | None = None,
    nu_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    """The LAdaBelief optimizer: AdaBelief with one stepsize a layer.

    `scale_by_layerwise_belief`, weight decay as in `adabelief`, learning rate.
    With `processing="pre"` its state is half of AdaBelief's. The defaults are
    those of the authors' code.

    Args:
        learning_rate: η ≥ 0, what every step is multiplied by: a number, an array or a
            schedule. 0 leaves the parameters as they are.
        b1: β₁ in [0, 1), how slowly the prediction m follows the gradients. 0 leaves
            no residual: use `momentum=False` for steps without momentum.
        b2: β₂ in [0, 1), how slowly the average s of the squared residuals follows
            them: it averages over about 1/(1−β₂) steps.
        eps: ε ≥ 0, added to the denominator √ŝ.
        eps_root: ε_root ≥ 0, added to s at every step. It decides the longest step:
            no stepsize exceeds √((1−β₂)/ε_root), as with an ε of √(ε_root/(1−β₂)) in
            Adam, which is 3e-3 for the authors' 1e-8. For text take 1e-16.
        weight_decay: λ ≥ 0, how strongly parameters are pulled to 0: a number, an array
            or a schedule; None is 0. Unless it is 0, `update` needs the parameters.
        weight_decay_mask: which leaves decay: a tree of bools that is a prefix of the
            parameters, or a function from the parameters to one. None: all.
        processing: "pre" averages the squared residuals of a layer and keeps one
            number of s for it; "post" keeps s for each entry and averages the
            stepsizes of the layer.
        decay: where the decay stands: "decoupled" (added to the step, as AdamW does),
            "coupled" (added to the gradient, as L2 regularization does) or "fixed"
            (not multiplied by the learning rate; λ = 1 erases the parameters).
        stacked_axes: which axes of a leaf index layers, for models that keep a stack of
            layers in one array: an int n for the first n axes, a frozenset of axis
            positions, or a tree of such that is a prefix of the parameters.
        axis_name: mapped axis (or axes) over which layers are split, when called inside
            `jax.shard_map` or `jax.pmap`.
        momentum: False takes the gradient for the step in place of its average, which
            still predicts (for `optax.contrib.schedule_free`).
        nesterov: True looks one step ahead, as Nesterov's momentum does.
        amsgrad: True divides by the largest s so far; one more array of state.
        rectify: True shortens early steps, as RAdam does, while s rests on few steps.
        degenerate_to_sgd: with `rectify`, what is done while s is of no use: True
            takes steps of gradient descent with momentum, False none.
        mu_dtype: dtype of m in the state. "bfloat16" halves its memory; None is at
            least float32.
        nu_dtype: dtype of s in the state, likewise.

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
        momentum=momentum,
        nesterov=nesterov,
        amsgrad=amsgrad,
        rectify=rectify,
        degenerate_to_sgd=degenerate_to_sgd,
        mu_dtype=mu_dtype,
        nu_dtype=nu_dtype,
    )
    check_prediction(b1)
    return chain_optimizer(
        (belief,), learning_rate, weight_decay, weight_decay_mask, decay
    )
