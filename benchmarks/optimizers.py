"""Which optimizers do the programs compare, and where does each one take its eps?

Every program chooses some of these by name, and says itself what it does with them.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import optax

from adabelief_optax import (
    adabelief,
    aida,
    ignore_prediction,
    ladabelief,
    ladam,
    scale_by_belief,
)

Arguments = dict[str, Any]


def sgd(rate: Any, b1: Any, b2: Any) -> optax.GradientTransformation:
    """Returns SGD, with b1 for its momentum."""
    del b2
    return optax.sgd(rate, b1)


def averaged_sgd(rate: Any, b1: Any, b2: Any) -> optax.GradientTransformation:
    """Returns SGD along the average m = b1·m + (1−b1)·g, as Adam's without its root.

    Its steps are those of `sgd` at 1−b1 times the learning rate.
    """
    del b2
    average = optax.trace(b1), optax.scale(1 - b1)
    return optax.chain(*average, optax.scale_by_learning_rate(rate))


def lion(rate: Any, b1: Any, b2: Any) -> optax.GradientTransformation:
    """Returns Lion, which keeps its own betas: they mean something else there."""
    del b1, b2
    return optax.lion(rate)


def adam_plus(
    rate: Any, b1: Any, b2: Any, eps: Any, eps_root: Any
) -> optax.GradientTransformation:
    """Returns Adam with AdaBelief's eps: eps_root in s, where it accumulates."""
    belief = scale_by_belief(b1, b2, eps, eps_root)
    return optax.chain(ignore_prediction(), belief, optax.scale_by_learning_rate(rate))


def nowhere(eps: Any) -> Arguments:
    """SGD and Lion have no eps."""
    del eps
    return {}


def beside_root(eps: Any) -> Arguments:
    """Adam and its kin add eps to √v̂."""
    return {"eps": eps, "eps_root": 0.0}


def in_both(eps: Any) -> Arguments:
    """AdaBelief adds eps to √d̂ and, as eps_root, to s."""
    return {"eps": eps, "eps_root": eps}


def in_average(eps: Any) -> Arguments:
    """Adam+, Aida and the layerwise ones have eps_root alone."""
    return {"eps": 0.0, "eps_root": eps}


class Optimizer(NamedTuple):
    """A rule of the learning rate, b1 and b2, and its other arguments."""

    label: str  # one of `looks.LOOKS`, and in their order
    rule: Callable[..., optax.GradientTransformation]
    arguments: Callable[[Any], Arguments] = nowhere  # of an eps
    eps: float = 0.0  # the default; for Adam+ that of Aida, whose authors named it

    def make(
        self, rate: Any, betas: tuple[float, float], eps: Any
    ) -> optax.GradientTransformation:
        """Returns the transformation."""
        return self.rule(rate, *betas, **self.arguments(eps))


OPTIMIZERS = {
    "sgd": Optimizer("SGD+momentum", sgd),
    "sgd-averaged": Optimizer("SGD, averaged", averaged_sgd),
    "adam": Optimizer("Adam", optax.adam, beside_root, 1e-8),
    "adamw": Optimizer("AdamW", optax.adamw, beside_root, 1e-8),
    "radam": Optimizer("RAdam", optax.radam, beside_root, 1e-8),
    "yogi": Optimizer("Yogi", optax.yogi, lambda eps: {"eps": eps}, 1e-3),
    "lion": Optimizer("Lion", lion),
    "optax.adabelief": Optimizer("optax.adabelief", optax.adabelief, in_both, 1e-16),
    "adam-plus": Optimizer("Adam+", adam_plus, in_average, 1e-8),
    "adabelief": Optimizer("AdaBelief", adabelief, in_both, 1e-16),
    "adabelief-rectified": Optimizer(
        "AdaBelief, rectified",
        adabelief,
        lambda eps: in_both(eps) | {"rectify": True},
        1e-16,
    ),
    "aida-k1": Optimizer(
        "Aida, K=1", aida, lambda eps: in_average(eps) | {"k": 1}, 1e-8
    ),
    "aida": Optimizer("Aida", aida, lambda eps: in_average(eps) | {"k": 2}, 1e-8),
    "ladam": Optimizer("LAdam", ladam, in_average, 1e-8),
    "ladabelief": Optimizer("LAdaBelief", ladabelief, in_average, 1e-8),
}
