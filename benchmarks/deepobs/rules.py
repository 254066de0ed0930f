"""Which update rules did the Crowded Valley study train with?

Its result files name an optimizer and its hyperparameters. These are the rules under
those names, as TensorFlow 1 or the study's additions to it define them: from Optax
where it has the same, from `adabelief_optax`, or written here.
"""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from adabelief_optax import adabelief, ignore_prediction, scale_by_belief
from benchmarks.deepobs.training import Make

Rule = optax.GradientTransformation


class NoRule(Exception):
    """Says which optimizer, or which of its hyperparameters, is not known here."""


def adabelief_as_published(
    learning_rate: Any, beta1: float, beta2: float, epsilon: float
) -> Rule:
    """Rectified: the default of the authors' package for TensorFlow from 0.1.0 on."""
    return adabelief(learning_rate, beta1, beta2, epsilon, epsilon, rectify=True)


def adadelta(learning_rate: Any, rho: float, epsilon: float) -> Rule:
    """Optax's is TensorFlow's."""
    return optax.adadelta(learning_rate, rho, epsilon)


def adagrad(learning_rate: Any, initial_accumulator_value: float) -> Rule:
    """TensorFlow's has no eps."""
    return optax.adagrad(learning_rate, initial_accumulator_value, eps=0.0)


def adam(learning_rate: Any, beta1: float, beta2: float, epsilon: float) -> Rule:
    """The paper's; TensorFlow adds eps before it corrects the bias of √v."""
    return optax.adam(learning_rate, beta1, beta2, epsilon)


def amsgrad(learning_rate: Any, beta1: float, beta2: float, epsilon: float) -> Rule:
    """The maximum is of v before its bias is corrected, where Optax's is after."""
    belief = scale_by_belief(beta1, beta2, epsilon, 0.0, amsgrad=True)
    chain = ignore_prediction(), belief, optax.scale_by_learning_rate(learning_rate)
    return optax.chain(*chain)


def gradient_descent(learning_rate: Any) -> Rule:
    """No momentum."""
    return optax.sgd(learning_rate)


def momentum(learning_rate: Any, momentum: float, use_nesterov: bool) -> Rule:
    """The sum of the gradients, not their average."""
    return optax.sgd(learning_rate, momentum, use_nesterov)


def nadam(learning_rate: Any, beta1: float, beta2: float, epsilon: float) -> Rule:
    """Looks ahead with m and g alike, both divided by 1 − β₁ᵗ.

    Optax divides m by 1 − β₁ᵗ⁺¹.
    """
    adam = optax.scale_by_adam(beta1, beta2, epsilon)

    def update(g: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        _, state = adam.update(g, state, params)
        count = state.count
        root = (1 - beta2**count) ** 0.5

        def look_ahead(g: Any, m: Any, v: Any) -> Any:
            ahead = (beta1 * m + (1 - beta1) * g) / (1 - beta1**count)
            return ahead / (jnp.sqrt(v) / root + epsilon)

        return jax.tree.map(look_ahead, g, state.mu, state.nu), state

    rule = optax.GradientTransformation(adam.init, update)
    return optax.chain(rule, optax.scale_by_learning_rate(learning_rate))


def radam(learning_rate: Any, beta1: float, beta2: float, epsilon: float) -> Rule:
    """The threshold is 5, as in AdaBelief's rectification."""
    return optax.radam(learning_rate, beta1, beta2, epsilon, threshold=5.0)


def rmsprop(
    learning_rate: Any, decay: float, momentum: float, epsilon: float, centered: bool
) -> Rule:
    """The average of squares starts at 1, and eps is inside the root."""
    return optax.rmsprop(
        learning_rate,
        decay,
        epsilon,
        initial_scale=1.0,
        eps_in_sqrt=True,
        centered=centered,
        momentum=momentum,
    )


class LookaheadState(NamedTuple):
    """The slow parameters, and what the fast ones need."""

    count: jax.Array
    slow: Any
    fast: Any


def looking_ahead(rule: Rule, k: int, alpha: float) -> Rule:
    """Moves slow parameters every k steps to where the fast ones are, by a share.

    The fast ones go on from there (Zhang et al., arXiv 1907.08610, 2019).
    """

    def init(params: Any) -> LookaheadState:
        # A copy, since the parameters' own memory may be given to the next ones.
        slow = jax.tree.map(jnp.array, params)
        return LookaheadState(jnp.int32(0), slow, rule.init(params))

    def update(g: Any, state: Any, params: Any) -> tuple[Any, Any]:
        step, fast = rule.update(g, state.fast, params)
        count = state.count + 1

        def moved(slow: Any, p: Any, u: Any) -> Any:
            return jnp.where(count % k == 0, slow + alpha * (p + u - slow), slow)

        slow = jax.tree.map(moved, state.slow, params, step)
        step = jax.tree.map(
            lambda u, p, s: jnp.where(count % k == 0, s - p, u), step, params, slow
        )
        return step, LookaheadState(count, slow, fast)

    return optax.GradientTransformation(init, update)


def lookahead_momentum(
    learning_rate: Any, momentum: float, use_nesterov: bool, k: int, alpha: float
) -> Rule:
    """Lookahead over momentum."""
    return looking_ahead(optax.sgd(learning_rate, momentum, use_nesterov), k, alpha)


def lookahead_radam(
    learning_rate: Any, beta1: float, beta2: float, epsilon: float, k: int, alpha: float
) -> Rule:
    """Lookahead over RAdam."""
    return looking_ahead(radam(learning_rate, beta1, beta2, epsilon), k, alpha)


RULES: dict[str, Callable[..., Rule]] = {
    "AMSGrad": amsgrad,
    "AdaBeliefOptimizer": adabelief_as_published,
    "AdadeltaOptimizer": adadelta,
    "AdagradOptimizer": adagrad,
    "AdamOptimizer": adam,
    "GradientDescentOptimizer": gradient_descent,
    "LookaheadOptimizerMBGDMomentum": lookahead_momentum,
    "LookaheadOptimizerRAdam": lookahead_radam,
    "MomentumOptimizer": momentum,
    "NAGOptimizer": momentum,
    "NadamOptimizer": nadam,
    "RAdamOptimizer": radam,
    "RMSPropOptimizer": rmsprop,
}


def published(optimizer: str, hyperparameters: dict[str, Any]) -> Make:
    """Returns the rule of a training of the study.

    Raises:
        NoRule: if there is none of this name, or none of these hyperparameters.
    """
    # How TensorFlow guards a variable against other threads changes no number.
    given = {k: v for k, v in hyperparameters.items() if k != "use_locking"}
    name = optimizer if optimizer in RULES else f"{optimizer}Optimizer"
    if name not in RULES:
        raise NoRule(f"no rule for {optimizer}; there are {', '.join(RULES)}")
    wanted = set(inspect.signature(RULES[name]).parameters)
    if wanted != set(given):
        raise NoRule(
            f"no rule for {optimizer} of {', '.join(sorted(given)) or 'nothing'}; "
            f"there is one of {', '.join(sorted(wanted))}"
        )
    del given["learning_rate"]
    return lambda rate: RULES[name](rate, **given)
