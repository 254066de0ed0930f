"""The two transformations that scale by the belief: by entry and by layer."""

from typing import Any, Literal

import chex
import optax

from adabelief_optax._checks import check_choice, check_stacked_axes
from adabelief_optax._engine import (
    ELEMENTWISE,
    belief,
    post_processing,
    pre_processing,
)
from adabelief_optax._layer import NOT_STACKED, AxisName


def scale_by_belief(
    b1: chex.Numeric = 0.9,
    b2: chex.Numeric = 0.999,
    eps: chex.Numeric = 1e-16,
    eps_root: chex.Numeric = 1e-16,
    *,
    nesterov: bool = False,
    amsgrad: bool = False,
    rectify: bool = False,
    degenerate_to_sgd: bool = True,
    mu_dtype: chex.ArrayDType | str | None = None,
    nu_dtype: chex.ArrayDType | str | None = None,
) -> optax.GradientTransformationExtraArgs:
    """Scales by the belief in the gradient: AdaBelief.

    A running average m predicts the gradient g. The running average s of the
    squared error of that prediction says how far to trust it: with g as
    predicted the step is long, with g far off it is short. At step t, for each
    entry,

        mₜ = β₁ mₜ₋₁ + (1−β₁) gₜ
        eₜ = gₜ − mₜ
        sₜ = β₂ sₜ₋₁ + (1−β₂) |eₜ|² + ε_root
        dₜ = max(dₜ₋₁, sₜ) with `amsgrad`, else sₜ
        uₜ = mₜ/(1−β₁ᵗ) / (√(dₜ/(1−β₂ᵗ)) + ε)

    with m₀ = s₀ = d₀ = 0. `layerwise_projection` or `ignore_prediction` in
    front of it in a chain measure eₜ in another way. The update is not yet
    multiplied by a learning rate, nor negated.

    The gradients may be a tree of real or complex arrays of any shape, scalars
    and empty arrays included, in float16 or more; None leaves and masked nodes
    pass through. All is computed in at least float32; the update has the
    gradient's dtype, and is limited to ±65504 in float16. An Array may stand for
    any number.

    Args:
        b1: β₁ in [0, 1), decay rate of the prediction. At 0, m = g, and e and s
            vanish but for ε_root: gradient descent with a tiny denominator.
        b2: β₂ in [0, 1), decay rate of s. At 0, s is the last square alone.
        eps: ε ≥ 0, added to the root.
        eps_root: ε_root ≥ 0, added to s at each step, so that it accumulates to
            ε_root/(1−β₂): no stepsize exceeds √((1−β₂)/ε_root). It is the
            argument that decides most. It must be above 0 to differentiate
            through the update; at eps = eps_root = 0 an entry whose residuals
            were all zero gives 0/0.
        nesterov: replace the corrected average by
            β₁ mₜ/(1−β₁ᵗ⁺¹) + (1−β₁) gₜ/(1−β₁ᵗ), as Optax does.
        amsgrad: divide by the largest s so far; one more array of state.
        rectify: multiply by RAdam's rₜ, and do not adapt while it is unusable
            (the first five steps at β₂ = 0.999; every step if β₂ ≤ 2/3). The
            update is then rₜ √(1−β₂ᵗ) · mₜ/(1−β₁ᵗ) / (√dₜ + ε), as in the
            authors' code. Unlike theirs it uses dₜ.
        degenerate_to_sgd: in those steps, take mₜ/(1−β₁ᵗ) (True) or stand still.
        mu_dtype: dtype of m in the state, by default the parameter's, at least
            float32. A complex parameter's m stays complex. In bfloat16 or float16
            it takes half the memory and is rounded stochastically: up with the
            probability of how far up it is between its two neighbours, so that
            small changes add up. The random bits are a hash of the old moments
            and of t. They need no key, and are the same however arrays are
            sharded. Nothing is computed for it where the dtype has 32 bits.
        nu_dtype: dtype of s (and d), likewise, and real. With both in bfloat16
            the state takes 4 bytes a parameter. After 5,000 steps of stationary
            noise the means of m², s and |u| were within 0.2 % of float32's; a
            single entry of s jitters by about 5 %. float16 rounds to nearest
            below 6e-5, where s often is, and holds at most 65504.

    Returns:
        An `optax.GradientTransformationExtraArgs` with `ScaleByBeliefState`, or
        with `amsgrad` `ScaleByBeliefAmsgradState`.

    Raises:
        ValueError: if an argument is out of range; in `init`, for a parameter
            that is not floating-point.
        AssertionError: in `update`, for gradients that do not fit the state,
            naming the first leaf.

    Example:
        >>> import jax.numpy as jnp
        >>> from adabelief_optax import scale_by_belief
        >>> tx = scale_by_belief()
        >>> state = tx.init(jnp.zeros(2))
        >>> for g in (jnp.array([1.0, 1.0]), jnp.array([1.0, -1.0])):
        ...     updates, state = tx.update(g, state)
        >>> print(*(f"{u:.2f}" for u in updates))  # as predicted, and not
        1.17 -0.06

    References:
        Zhuang et al., "AdaBelief Optimizer: Adapting Stepsizes by the Belief in
        Observed Gradients", arXiv 2010.07468, 2020
    """
    return belief(
        b1,
        b2,
        eps,
        eps_root,
        ELEMENTWISE,
        nesterov=nesterov,
        amsgrad=amsgrad,
        rectify=rectify,
        degenerate_to_sgd=degenerate_to_sgd,
        mu_dtype=mu_dtype,
        nu_dtype=nu_dtype,
    )


def scale_by_layerwise_belief(
    b1: chex.Numeric = 0.9,
    b2: chex.Numeric = 0.999,
    eps: chex.Numeric = 0.0,
    eps_root: chex.Numeric = 1e-8,
    *,
    processing: Literal["pre", "post"] = "pre",
    stacked_axes: Any = NOT_STACKED,
    axis_name: AxisName = None,
    nesterov: bool = False,
    amsgrad: bool = False,
    rectify: bool = False,
    degenerate_to_sgd: bool = True,
    mu_dtype: chex.ArrayDType | str | None = None,
    nu_dtype: chex.ArrayDType | str | None = None,
) -> optax.GradientTransformationExtraArgs:
    """Scales by the belief in each layer as a whole: one stepsize a layer.

    As `scale_by_belief`, but the stepsize is shared by the entries of a layer
    (a leaf, or an index into its stacked axes). With `processing="pre"` the
    squares are averaged before they enter s, of which there is then one number
    a layer,

        sₜ = β₂ sₜ₋₁ + (1−β₂) mean |eₜ|² + ε_root

    and with "post" s is kept for each entry and the stepsizes 1/(√d̂ + ε) are
    averaged over the layer:

        uₜ = m̂ₜ · mean 1/(√d̂ₜ + ε)

    "pre" is the authors' published code. For "post" there is none; this is our
    reading of the abstract's "averaging over the stepsizes of each layer".
    Behind `ignore_prediction` it is LAdam, alone LAdaBelief.

    Args:
        b1: as in `scale_by_belief`.
        b2: as in `scale_by_belief`.
        eps: as in `scale_by_belief`.
        eps_root: as in `scale_by_belief`.
        processing: "pre" or "post".
        stacked_axes: how many leading axes of a leaf index layers: an int, or a
            tree of ints that is a prefix of the parameters. Where it is all of
            a leaf's axes each entry is a layer, which is `scale_by_belief`.
        axis_name: mapped axis (or axes) over which layers are split, when
            called inside `jax.shard_map` or `jax.pmap`.
        nesterov: as in `scale_by_belief`.
        amsgrad: as in `scale_by_belief`.
        rectify: as in `scale_by_belief`.
        degenerate_to_sgd: as in `scale_by_belief`.
        mu_dtype: as in `scale_by_belief`.
        nu_dtype: as in `scale_by_belief`.

    Returns:
        An `optax.GradientTransformationExtraArgs` with states as
        `scale_by_belief`; with "pre" `nu` has the shape of the stacked axes.

    Raises:
        ValueError: as `scale_by_belief`, for an unknown `processing`, and in
            `init` for a leaf with fewer than `stacked_axes` axes.
        AssertionError: as `scale_by_belief`.

    Example:
        >>> import jax.numpy as jnp
        >>> from adabelief_optax import scale_by_layerwise_belief
        >>> tx = scale_by_layerwise_belief()
        >>> updates, state = tx.update(jnp.array([3.0, 4.0]), tx.init(jnp.zeros(2)))
        >>> print(*(f"{u:.3f}" for u in updates), f"{state.nu:.6f}")
        0.943 1.257 0.010125

    References:
        Zhang, Niwa, Kleijn, "A DNN Optimizer that Improves over AdaBelief by
        Suppression of the Adaptive Stepsize Range", arXiv 2203.13273, 2022
        (versions 1 to 3)
    """
    check_choice("processing", processing, ("pre", "post"))
    check_stacked_axes(stacked_axes)
    layerwise = pre_processing if processing == "pre" else post_processing
    return belief(
        b1,
        b2,
        eps,
        eps_root,
        layerwise(stacked_axes, axis_name),
        nesterov=nesterov,
        amsgrad=amsgrad,
        rectify=rectify,
        degenerate_to_sgd=degenerate_to_sgd,
        mu_dtype=mu_dtype,
        nu_dtype=nu_dtype,
    )
