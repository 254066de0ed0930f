"""The optimizers: a rule of the family, weight decay and a learning rate.

Each argument is explained in a few words here, and in full where the rule is defined:
in `scale_by_belief`, `scale_by_layerwise_belief` and `layerwise_projection`.
"""

from typing import Any, Literal

import chex
import optax
from jax.typing import DTypeLike

from adabelief_optax._checks import check_prediction
from adabelief_optax._signature import readable
from adabelief_optax._transforms import (
    ignore_prediction,
    layerwise_projection,
    scale_by_belief,
    scale_by_layerwise_belief,
)
from adabelief_optax._weight_decay import Decay, Mask, chain_optimizer


@readable
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
    """AdaBelief: long steps where gradients come as predicted, short ones elsewhere.

    Adam divides each step by how large the gradient has been. AdaBelief divides it
    by how far the gradient was from its running average, which predicts it.
    `scale_by_belief` has the equations of its step u. `decay` says how weight decay
    and the learning rate follow:

        decoupled    pₜ = pₜ₋₁ − ηₜ (uₜ + λ pₜ₋₁)
        coupled      gₜ ← gₜ + λ pₜ₋₁ before everything else
        fixed        pₜ = pₜ₋₁ − ηₜ uₜ − λ pₜ₋₁

    It is a drop-in replacement for `optax.adabelief`. The defaults are those of
    `adabelief-pytorch` 0.2.1, except that `rectify` is off, as in Optax. The
    authors' values by task are in `RECOMMENDED`.

    Args:
        learning_rate: η ≥ 0, by which every step is multiplied: a number, an array or
            a schedule. 0 leaves the parameters as they are.
        b1: β₁ in [0, 1), how slowly the running average m follows the gradients. At 0
            the gradient would predict itself, which is refused except in `ladam`; for
            steps without momentum use `momentum=False`.
        b2: β₂ in [0, 1), how slowly the second moment s follows the squared residuals.
            It averages over about 1/(1−β₂) steps.
        eps: ε ≥ 0, added to √ŝ, as in Adam. At the default it does not matter.
        eps_root: ε_root ≥ 0, added to s at every step. It decides the longest step:
            no stepsize 1/(√ŝ + ε) exceeds √((1−β₂)/ε_root), except by the rounding of a
            bfloat16 s.
            In Adam an ε of √(ε_root/(1−β₂)) sets the same limit: 3e-7 for 1e-16, and
            3e-3 for the 1e-8 with which AdaBelief's authors trained image classifiers.
            Keep the default, unless you repeat their runs.
        weight_decay: λ ≥ 0, how strongly parameters are pulled to 0: a number, an array
            or a schedule. `update` then needs the parameters. None: no decay.
        weight_decay_mask: which parameters decay: a tree of bools with their names, or
            a function of the parameters that returns one. None: all.
        decay: where the decay stands: "decoupled" (added to the step, as AdamW does),
            "coupled" (added to the gradient, as L2 regularization does) or "fixed"
            (not multiplied by the learning rate; λ = 1 erases the parameters).
        momentum: if False, step along the gradient, not its running average, which
            still predicts. For `optax.contrib.schedule_free`.
        nesterov: True looks one step ahead, as Nesterov's momentum does.
        amsgrad: True divides by the largest s so far, which takes one more array of
            state.
        rectify: True shortens early steps, as RAdam does, while s rests on few steps.
        degenerate_to_sgd: with `rectify`, what to do while s rests on too few steps:
            True takes steps of gradient descent with momentum, False takes none.
        mu_dtype: dtype of m in the state. "bfloat16" halves its memory. None: the
            parameter's, at least float32.
        nu_dtype: dtype of s in the state, likewise.

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


@readable
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
    """Aida: AdaBelief with stepsizes that are more alike within each layer.

    Aida shrinks AdaBelief's residual, and shrinks it more the closer the layer's
    gradient comes to being perpendicular to its running average. So the stepsizes of
    the layer grow, and those that were small grow most.

    It chains `layerwise_projection` and `scale_by_belief`, which have the equations,
    with weight decay and the learning rate as in `adabelief`. The authors' code has
    other defaults: eps 0, eps_root 1e-8 and coupled weight decay.

    Args:
        learning_rate: η ≥ 0, by which every step is multiplied: a number, an array or
            a schedule. 0 leaves the parameters as they are.
        b1: β₁ in [0, 1), how slowly the running average m follows the gradients. At 0
            the gradient would predict itself, which is refused except in `ladam`; for
            steps without momentum use `momentum=False`.
        b2: β₂ in [0, 1), how slowly the second moment s follows the squared residuals.
            It averages over about 1/(1−β₂) steps.
        eps: ε ≥ 0, added to √ŝ, as in Adam. At the default it does not matter.
        eps_root: ε_root ≥ 0, added to s at every step. It decides the longest step:
            no stepsize 1/(√ŝ + ε) exceeds √((1−β₂)/ε_root), except by the rounding of a
            bfloat16 s.
            In Adam an ε of √(ε_root/(1−β₂)) sets the same limit: 3e-7 for 1e-16, and
            3e-3 for the 1e-8 with which AdaBelief's authors trained image classifiers.
            Keep the default, unless you repeat their runs.
        weight_decay: λ ≥ 0, how strongly parameters are pulled to 0: a number, an array
            or a schedule. `update` then needs the parameters. None: no decay.
        weight_decay_mask: which parameters decay: a tree of bools with their names, or
            a function of the parameters that returns one. None: all.
        k: K, how often gradient and running average are projected onto each other.
            0 is AdaBelief. A step takes about as long for every K; compiling takes
            longer for a larger K.
        xi: ξ ≥ 0, added to squared lengths in the projections, against division by 0.
        decay: where the decay stands: "decoupled" (added to the step, as AdamW does),
            "coupled" (added to the gradient, as L2 regularization does) or "fixed"
            (not multiplied by the learning rate; λ = 1 erases the parameters).
        stacked_axes: which axes count layers, in scanned models, where one array holds
            many layers. An int n stands for the first n axes, a frozenset for the axes
            at these positions. Give one for all arrays, or one by name, as
            {"blocks": 1}: names that are left out have no such axes. A function of the
            parameters may return either.
        axis_name: inside `jax.shard_map` or `jax.pmap`, the mapped axis over which
            layers are split, or a tuple of several; for all arrays or by name, as
            `stacked_axes`.
        momentum: if False, step along the gradient, not its running average, which
            still predicts. For `optax.contrib.schedule_free`.
        nesterov: True looks one step ahead, as Nesterov's momentum does.
        amsgrad: True divides by the largest s so far, which takes one more array of
            state.
        rectify: True shortens early steps, as RAdam does, while s rests on few steps.
        degenerate_to_sgd: with `rectify`, what to do while s rests on too few steps:
            True takes steps of gradient descent with momentum, False takes none.
        mu_dtype: dtype of m in the state. "bfloat16" halves its memory. None: the
            parameter's, at least float32.
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


@readable
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
    """LAdam: Adam with one stepsize per layer, and half of Adam's state.

    It chains `ignore_prediction` and `scale_by_layerwise_belief`, which has the
    equations, with weight decay and the learning rate as in `adabelief`. With
    `processing="post"` the state is as large as Adam's. The authors' code has eps 0 and
    eps_root 1e-8.

    Args:
        learning_rate: η ≥ 0, by which every step is multiplied: a number, an array or
            a schedule. 0 leaves the parameters as they are.
        b1: β₁ in [0, 1), how slowly the running average m follows the gradients. At 0
            the gradient would predict itself, which is refused except in `ladam`; for
            steps without momentum use `momentum=False`.
        b2: β₂ in [0, 1), how slowly the second moment s follows the squared residuals.
            It averages over about 1/(1−β₂) steps.
        eps: ε ≥ 0, added to √ŝ, as in Adam. At the default it does not matter.
        eps_root: ε_root ≥ 0, added to s at every step. It decides the longest step:
            no stepsize 1/(√ŝ + ε) exceeds √((1−β₂)/ε_root), except by the rounding of a
            bfloat16 s.
            In Adam an ε of √(ε_root/(1−β₂)) sets the same limit: 3e-7 for 1e-16, and
            3e-3 for the 1e-8 with which AdaBelief's authors trained image classifiers.
            Keep the default, unless you repeat their runs.
        weight_decay: λ ≥ 0, how strongly parameters are pulled to 0: a number, an array
            or a schedule. `update` then needs the parameters. None: no decay.
        weight_decay_mask: which parameters decay: a tree of bools with their names, or
            a function of the parameters that returns one. None: all.
        processing: "pre" averages the squared residuals of a layer and keeps one
            number of s for it; "post" keeps s for each entry and averages the
            stepsizes of the layer (then take a larger eps_root, such as 1e-8).
        decay: where the decay stands: "decoupled" (added to the step, as AdamW does),
            "coupled" (added to the gradient, as L2 regularization does) or "fixed"
            (not multiplied by the learning rate; λ = 1 erases the parameters).
        stacked_axes: which axes count layers, in scanned models, where one array holds
            many layers. An int n stands for the first n axes, a frozenset for the axes
            at these positions. Give one for all arrays, or one by name, as
            {"blocks": 1}: names that are left out have no such axes. A function of the
            parameters may return either.
        axis_name: inside `jax.shard_map` or `jax.pmap`, the mapped axis over which
            layers are split, or a tuple of several; for all arrays or by name, as
            `stacked_axes`.
        momentum: if False, step along the gradient, not its running average, which
            still predicts. For `optax.contrib.schedule_free`.
        nesterov: True looks one step ahead, as Nesterov's momentum does.
        amsgrad: True divides by the largest s so far, which takes one more array of
            state.
        rectify: True shortens early steps, as RAdam does, while s rests on few steps.
        degenerate_to_sgd: with `rectify`, what to do while s rests on too few steps:
            True takes steps of gradient descent with momentum, False takes none.
        mu_dtype: dtype of m in the state. "bfloat16" halves its memory. None: the
            parameter's, at least float32.
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


@readable
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
    """LAdaBelief: AdaBelief with one stepsize per layer, and half of its state.

    It chains `scale_by_layerwise_belief`, which has the equations, with weight decay
    and the learning rate as in `adabelief`. With `processing="post"` the state is as
    large as AdaBelief's. The authors' code has eps 0 and eps_root 1e-8.

    Args:
        learning_rate: η ≥ 0, by which every step is multiplied: a number, an array or
            a schedule. 0 leaves the parameters as they are.
        b1: β₁ in [0, 1), how slowly the running average m follows the gradients. At 0
            the gradient would predict itself, which is refused except in `ladam`; for
            steps without momentum use `momentum=False`.
        b2: β₂ in [0, 1), how slowly the second moment s follows the squared residuals.
            It averages over about 1/(1−β₂) steps.
        eps: ε ≥ 0, added to √ŝ, as in Adam. At the default it does not matter.
        eps_root: ε_root ≥ 0, added to s at every step. It decides the longest step:
            no stepsize 1/(√ŝ + ε) exceeds √((1−β₂)/ε_root), except by the rounding of a
            bfloat16 s.
            In Adam an ε of √(ε_root/(1−β₂)) sets the same limit: 3e-7 for 1e-16, and
            3e-3 for the 1e-8 with which AdaBelief's authors trained image classifiers.
            Keep the default, unless you repeat their runs.
        weight_decay: λ ≥ 0, how strongly parameters are pulled to 0: a number, an array
            or a schedule. `update` then needs the parameters. None: no decay.
        weight_decay_mask: which parameters decay: a tree of bools with their names, or
            a function of the parameters that returns one. None: all.
        processing: "pre" averages the squared residuals of a layer and keeps one
            number of s for it; "post" keeps s for each entry and averages the
            stepsizes of the layer (then take a larger eps_root, such as 1e-8).
        decay: where the decay stands: "decoupled" (added to the step, as AdamW does),
            "coupled" (added to the gradient, as L2 regularization does) or "fixed"
            (not multiplied by the learning rate; λ = 1 erases the parameters).
        stacked_axes: which axes count layers, in scanned models, where one array holds
            many layers. An int n stands for the first n axes, a frozenset for the axes
            at these positions. Give one for all arrays, or one by name, as
            {"blocks": 1}: names that are left out have no such axes. A function of the
            parameters may return either.
        axis_name: inside `jax.shard_map` or `jax.pmap`, the mapped axis over which
            layers are split, or a tuple of several; for all arrays or by name, as
            `stacked_axes`.
        momentum: if False, step along the gradient, not its running average, which
            still predicts. For `optax.contrib.schedule_free`.
        nesterov: True looks one step ahead, as Nesterov's momentum does.
        amsgrad: True divides by the largest s so far, which takes one more array of
            state.
        rectify: True shortens early steps, as RAdam does, while s rests on few steps.
        degenerate_to_sgd: with `rectify`, what to do while s rests on too few steps:
            True takes steps of gradient descent with momentum, False takes none.
        mu_dtype: dtype of m in the state. "bfloat16" halves its memory. None: the
            parameter's, at least float32.
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
