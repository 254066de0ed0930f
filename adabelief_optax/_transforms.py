"""The transformations: two that scale by the belief, and the marks to put before."""

from functools import partial
from typing import Any, Literal

import chex
import jax
import optax
from jax.typing import DTypeLike

from adabelief_optax._checks import check, is_traced
from adabelief_optax._engine import Belief
from adabelief_optax._layers import Layers, layers_of
from adabelief_optax._marks import mark
from adabelief_optax._residual import Rule
from adabelief_optax._signature import readable


@readable
def scale_by_belief(
    b1: chex.Numeric = 0.9,
    b2: chex.Numeric = 0.999,
    eps: chex.Numeric = 1e-16,
    eps_root: chex.Numeric = 1e-16,
    *,
    momentum: bool = True,
    nesterov: bool = False,
    amsgrad: bool = False,
    rectify: bool = False,
    degenerate_to_sgd: bool = True,
    mu_dtype: DTypeLike | None = None,
    nu_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    """AdaBelief's step: long where gradients come as predicted, short elsewhere.

    The running average m of the gradient g predicts it. The second moment s is the
    running average of the squared error of this prediction, and says how far to
    trust it. At step t, for each entry,

        mₜ = β₁ mₜ₋₁ + (1−β₁) gₜ
        eₜ = gₜ − mₜ
        sₜ = β₂ sₜ₋₁ + (1−β₂) |eₜ|² + ε_root
        dₜ = max(dₜ₋₁, sₜ) with `amsgrad`, else sₜ
        uₜ = mₜ/(1−β₁ᵗ) / (√(dₜ/(1−β₂ᵗ)) + ε)

    with m₀ = s₀ = d₀ = 0. `layerwise_projection`, `ignore_prediction` or
    `weigh_prediction`, put before it in a chain, change how eₜ is computed. The
    update is not yet multiplied by a learning rate, nor negated.

    The gradients may be a tree of real or complex arrays of any shape, scalars
    and empty arrays included, in float16 or more. A gradient of None leaves the
    moments of its leaf as they are, and the update is None. Masked nodes pass
    through. Everything is computed in at least float32. The update has the parameter's
    dtype where `update` is given parameters, else the gradient's, and is limited to
    ±65504 in float16. Any number may be given as an array. The squares of gradients
    must be finite: in float32 gradients must stay below 1.8e19. Beyond that, s is
    infinite and the entry never moves again.

    Args:
        b1: β₁ in [0, 1), decay rate of the prediction. At 0, m = g and no residual
            g − m is left, so `update` refuses it, unless `ignore_prediction` stands
            before. For steps without momentum use `momentum=False`.
        b2: β₂ in [0, 1), decay rate of s. At 0, s is the last square alone.
        eps: ε ≥ 0, added to the root.
        eps_root: ε_root ≥ 0, added to s at each step, so that it accumulates to
            ε_root/(1−β₂). No stepsize 1/(√ŝ + ε) exceeds √((1−β₂)/ε_root), except by
            the rounding of a bfloat16 s. To differentiate through the update it must be
            above 0. At eps = eps_root = 0 an entry whose residuals were all zero gives
            0/0.
        momentum: if False, step along the gradient, uₜ = gₜ / (√(dₜ/(1−β₂ᵗ)) + ε),
            not along its running average, which still predicts. For wrappers that
            bring their own momentum, such as `optax.contrib.schedule_free`.
        nesterov: replace the corrected average by
            β₁ mₜ/(1−β₁ᵗ⁺¹) + (1−β₁) gₜ/(1−β₁ᵗ), as Optax does.
        amsgrad: divide by the largest s so far; one more array of state.
        rectify: multiply by RAdam's rₜ: the update is
            rₜ √(1−β₂ᵗ) · mₜ/(1−β₁ᵗ) / (√dₜ + ε), as in the authors' code. Unlike
            theirs it uses dₜ. While rₜ is unusable, do not adapt (in the first five
            steps at β₂ = 0.999; in every step if β₂ ≤ 2/3).
        degenerate_to_sgd: while rₜ is unusable, take mₜ/(1−β₁ᵗ) (True) or stand still.
        mu_dtype: dtype of m in the state, by default the parameter's, at least
            float32. A complex parameter's m stays complex. In bfloat16 or float16
            it takes half the memory and is rounded stochastically: three quarters of
            the way up to its upper neighbour it goes up with probability 3/4, so that
            small changes add up. The random bits are a hash of t, of the entry's
            position in its array and of its old moments. They need no key, and are
            the same however `jax.jit` shards the arrays. With 32 bits none of this is
            computed. float16 holds at most 65504; below 6e-5 it has steps of 6e-8.
        nu_dtype: dtype of s (and d), likewise, and real, but not float16, in which
            the squares of small gradients are 0. With both in bfloat16 the state
            takes 4 bytes per parameter. After 5,000 steps of stationary noise the means
            of m², s and |u| were within 0.5 % of float32's; a single entry of s
            jitters by about 5 %. With `amsgrad` d collects the upward jitter: its mean
            was 2 % above float32's after 5,000 steps, 4 % after 20,000.

    Returns:
        An `optax.GradientTransformationExtraArgs`. Its state is Optax's own,
        `optax.ScaleByBeliefState`, or with `amsgrad` a `ScaleByBeliefAmsgradState`.

    Raises:
        ValueError: if an argument is out of range; in `init`, for a parameter
            that is not floating-point; in `update`, for a state that is not this
            transformation's own, and for gradients that do not fit the state, naming
            the first leaf.

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
    belief = Belief(
        b1=b1,
        b2=b2,
        eps=eps,
        eps_root=eps_root,
        processing=None,
        stacked_axes=None,
        axis_name=None,
        momentum=momentum,
        nesterov=nesterov,
        amsgrad=amsgrad,
        rectify=rectify,
        degenerate_to_sgd=degenerate_to_sgd,
        mu_dtype=mu_dtype,
        nu_dtype=nu_dtype,
    )
    return _transformation(belief)


@readable
def scale_by_layerwise_belief(
    b1: chex.Numeric = 0.9,
    b2: chex.Numeric = 0.999,
    eps: chex.Numeric = 1e-16,
    eps_root: chex.Numeric = 1e-16,
    *,
    processing: Literal["pre", "post"] = "pre",
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
    """LAdaBelief's step: AdaBelief's, with one stepsize per layer.

    A layer is a parameter array, unless `stacked_axes` says that the array holds
    several. With `processing="pre"` the squared residuals of a layer are averaged
    before they enter s, which is then one number per layer,

        sₜ = β₂ sₜ₋₁ + (1−β₂) mean |eₜ|² + ε_root

    With "post" every entry keeps its own s, and the stepsizes 1/(√d̂ + ε) are
    averaged over the layer:

        uₜ = m̂ₜ · mean 1/(√d̂ₜ + ε)

    "pre" is what the authors' published code does. For "post" they published none; it
    is our reading of the abstract's "averaging over the stepsizes of each layer". If
    a layer's sum of squares is too large for its dtype, the largest number stands in
    for it, so that s survives one huge gradient. Put `ignore_prediction` before it,
    and it is LAdam's step.

    Args:
        b1: as in `scale_by_belief`.
        b2: as in `scale_by_belief`.
        eps: as in `scale_by_belief`.
        eps_root: as in `scale_by_belief`.
        processing: "pre" or "post". With "post" give a larger eps_root, such as 1e-8:
            an entry without gradients has the largest stepsize, 3e6 at the default, and
            the mean passes it on to the layer.
        stacked_axes: which axes of an array count layers. None: an array is one layer.
            An int n: the first n axes. A frozenset: the axes at these positions;
            negative ones count from the end. Any of these holds for all arrays. In a
            tree with names, such as {"blocks": 1}, it holds for the arrays below its
            name, and all others have none. A function of the parameters may return any
            of these. If all axes of an array count layers, each entry is a layer, as in
            `scale_by_belief`. Shapes depend on it, so a traced value is refused.
        axis_name: inside `jax.shard_map` or `jax.pmap`, the mapped axis over which
            layers are split, or a tuple of several. For all arrays or by name, as
            `stacked_axes`: if one mesh axis divides one array between its layers, and
            another array inside its layers, name it for the second array alone.
        momentum: as in `scale_by_belief`.
        nesterov: as in `scale_by_belief`.
        amsgrad: as in `scale_by_belief`.
        rectify: as in `scale_by_belief`.
        degenerate_to_sgd: as in `scale_by_belief`.
        mu_dtype: as in `scale_by_belief`.
        nu_dtype: as in `scale_by_belief`.

    Returns:
        An `optax.GradientTransformationExtraArgs` with states as
        `scale_by_belief`; with "pre" `nu` has the shape of the layer axes alone.

    Raises:
        ValueError: as `scale_by_belief`, for an unknown `processing`, and in
            `init` for a leaf that has no such `stacked_axes`.

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
    check(processing=processing)
    belief = Belief(
        b1=b1,
        b2=b2,
        eps=eps,
        eps_root=eps_root,
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
    return _transformation(belief)


def _transformation(belief: Belief) -> optax.GradientTransformationExtraArgs:
    arguments = belief._asdict()
    del arguments["processing"]  # which is None where no argument chooses it
    check(**arguments)
    return optax.GradientTransformationExtraArgs(belief.init, belief.update)


@readable
def layerwise_projection(
    k: chex.Numeric = 2,
    xi: chex.Numeric = 1e-20,
    *,
    stacked_axes: Any = None,
    axis_name: Any = None,
) -> optax.GradientTransformationExtraArgs:
    """Turns AdaBelief into Aida: projects gradient and prediction onto each other.

    Put it before `scale_by_belief` in a chain. It does not change the gradient. It
    marks it, so that `scale_by_belief` computes the residual of each layer as
    e = g⁽ᴷ⁾ − m⁽ᴷ⁾, where, from g⁽⁰⁾ = g and m⁽⁰⁾ = m,

        g⁽ⁱ⁺¹⁾ = ⟨g⁽ⁱ⁾,m⁽ⁱ⁾⟩ / (|g⁽ⁱ⁾|² + ξ) · g⁽ⁱ⁾
        m⁽ⁱ⁺¹⁾ = ⟨g⁽ⁱ⁾,m⁽ⁱ⁾⟩ / (|m⁽ⁱ⁾|² + ξ) · m⁽ⁱ⁾

    with norms and inner products over the layer. A step takes three sums over each
    layer, whatever K is. For even K and ξ → 0, e = cosᴷ∠(g,m) (g − m). Two
    projections in a row act as one with the sum of their k. Only `scale_by_belief`
    and `scale_by_layerwise_belief` can read a marked gradient, so put one of them
    next.

    Args:
        k: K, the number of rounds, an integer of at least 0, static or traced.
            0 is AdaBelief's g − m; for large K the residual tends to 0 unless
            gradient and prediction are parallel.
        xi: ξ ≥ 0, added to the square of each length. 0 projects exactly, and a
            zero vector onto zero. As ξ grows the residual tends to 0.
        stacked_axes: which axes of an array count layers, as in
            `scale_by_layerwise_belief`. By default an array is one layer.
        axis_name: as in `scale_by_layerwise_belief`.

    Returns:
        An `optax.GradientTransformationExtraArgs` without state.

    Raises:
        ValueError: if an argument is out of range; in `update`, if a leaf has
            no such `stacked_axes` or is marked in a way that does not combine with
            this.

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
    check(k=k, xi=xi, stacked_axes=stacked_axes, axis_name=axis_name)
    rounds = ((k if is_traced(k) else int(k), xi),)

    def project(rule: Rule, layers: Layers) -> Rule:
        if not rule.rounds and not rule.is_default:
            raise ValueError(
                "layerwise_projection() got a gradient marked by ignore_prediction() "
                "or weigh_prediction(): use one mark for each leaf"
            )
        if not rule.rounds:
            return Rule(rounds=rounds, layers=layers)
        for argument, before, here in zip(
            ("stacked_axes", "axis_name"), rule.layers, layers, strict=True
        ):
            if before != here:
                raise ValueError(
                    f"two layerwise_projection() must agree in {argument}, got "
                    f"{before!r} and {here!r}"
                )
        return rule._replace(rounds=rule.rounds + rounds)

    return mark(
        project, partial(layers_of, stacked_axes=stacked_axes, axis_name=axis_name)
    )


@readable
def ignore_prediction() -> optax.GradientTransformationExtraArgs:
    """Takes the gradient itself for the residual, as Adam does.

    Put before `scale_by_belief` in a chain, it gives e = g, so that s is Adam's
    second moment, with `eps_root` added at every step (Adam+ in the Aida authors'
    figures). Before `scale_by_layerwise_belief` it gives LAdam. It has no state and
    does not change the gradient, but marks it, as `layerwise_projection` does.

    Returns:
        An `optax.GradientTransformationExtraArgs` without state. Its `update`
        raises `ValueError` for gradients that are marked already.

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
    return _weighed(1, 0)


@readable
def weigh_prediction(mu: chex.Numeric = 0.5) -> optax.GradientTransformationExtraArgs:
    """Weighs gradient and prediction in the residual: AdaFamily.

    Put before `scale_by_belief` in a chain, it makes the residual

        e = c((1−μ) g − μ m),   c = 2(1 − |μ − ½|)

    This is Adam's residual at μ = 0, AdaBelief's at ½ and AdaMomentum's at 1. It has
    no state and does not change the gradient, but marks it, as
    `layerwise_projection` does.

    Args:
        mu: μ in [0, 1], a number or an array. At 0, e = g, as by
            `ignore_prediction`; at 1, e = −m.

    Returns:
        An `optax.GradientTransformationExtraArgs` without state. Its `update` raises
        `ValueError` for gradients that are marked already.

    Raises:
        ValueError: if μ is not in [0, 1].

    Example:
        >>> import jax.numpy as jnp, optax
        >>> from adabelief_optax import scale_by_belief, weigh_prediction
        >>> for mu in (0.0, 0.5, 1.0):
        ...     tx = optax.chain(weigh_prediction(mu), scale_by_belief())
        ...     updates, _ = tx.update(jnp.array(4.0), tx.init(jnp.zeros([])))
        ...     print(f"{updates:.3f}")
        1.000
        1.111
        10.000

    References:
        Fassold, "AdaFamily: A family of Adam-like adaptive gradient methods", arXiv
        2203.01603, 2022
    """
    check(mu=mu)
    c = 2 * (1 - abs(mu - 0.5))
    return _weighed(c * (1 - mu), c * mu)


def _weighed(a: chex.Numeric, b: chex.Numeric) -> optax.GradientTransformationExtraArgs:
    """Marks leaves with fixed scales a and b."""

    def weigh(rule: Rule, leaf: Any) -> Rule:
        del leaf
        if not rule.is_default:
            raise ValueError(
                "ignore_prediction() or weigh_prediction() got a gradient that is "
                "marked already: use one mark for each leaf, or several "
                "layerwise_projection()"
            )
        return Rule(weights=(a, b))

    return mark(weigh, jax.tree.leaves)
