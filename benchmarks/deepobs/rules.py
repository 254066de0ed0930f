"""Which update rules did the Crowded Valley study train with?

Its result files name an optimizer and its hyperparameters. These are the rules under
those names, as TensorFlow 1 or the study's additions to it define them: from Optax
where it has the same, from `adabelief_optax`, or written here.
"""

import inspect
from collections.abc import Callable
from typing import Any

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


def adam(learning_rate: Any, beta1: float, beta2: float, epsilon: float) -> Rule:
    """The paper's; TensorFlow adds eps before it corrects the bias of √v."""
    return optax.adam(learning_rate, beta1, beta2, epsilon)


def amsgrad(learning_rate: Any, beta1: float, beta2: float, epsilon: float) -> Rule:
    """The maximum is of v before its bias is corrected, where Optax's is after."""
    belief = scale_by_belief(beta1, beta2, epsilon, 0.0, amsgrad=True)
    chain = ignore_prediction(), belief, optax.scale_by_learning_rate(learning_rate)
    return optax.chain(*chain)


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


RULES: dict[str, Callable[..., Rule]] = {
    "AMSGrad": amsgrad,
    "AdaBeliefOptimizer": adabelief_as_published,
    "AdamOptimizer": adam,
    "GradientDescentOptimizer": optax.sgd,
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
    try:
        inspect.signature(RULES[optimizer]).bind(**given)
    except (KeyError, TypeError):
        raise NoRule(f"no rule for {optimizer} of {', '.join(given)}") from None
    del given["learning_rate"]
    return lambda rate: RULES[optimizer](rate, **given)
