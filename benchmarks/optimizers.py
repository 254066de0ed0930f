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


class Optimizer(NamedTuple):
    """A rule of the learning rate, b1 and b2, and its other arguments."""

    label: str  # one of `looks.LOOKS`, and in their order
    rule: Callable[..., optax.GradientTransformation]
    takes: tuple[str, ...] = ()  # which arguments are eps; SGD and Lion have none
    eps: float = 0.0  # the default; for Adam+ that of Aida, whose authors named it
    others: tuple[tuple[str, Any], ...] = ()

    def arguments(self, eps: Any) -> dict[str, Any]:
        """Returns the arguments beside the learning rate, b1 and b2, by their names."""
        return dict(sorted([*dict.fromkeys(self.takes, eps).items(), *self.others]))

    def make(
        self, rate: Any, betas: tuple[float, float], eps: Any
    ) -> optax.GradientTransformation:
        """Returns the transformation."""
        return self.rule(rate, *betas, **self.arguments(eps))


# Adam and its kin add eps to √v̂. AdaBelief adds eps to √d̂ and, as eps_root, to s.
# Adam+, Aida and the layerwise ones have eps_root alone.
ADAM = (("eps",), 1e-8, (("eps_root", 0.0),))
BOTH, ROOT, NO_EPS = ("eps", "eps_root"), ("eps_root",), ("eps", 0.0)
OPTIMIZERS = {
    "sgd": Optimizer("SGD+momentum", sgd),
    "sgd-averaged": Optimizer("SGD, averaged", averaged_sgd),
    "adam": Optimizer("Adam", optax.adam, *ADAM),
    "adamw": Optimizer("AdamW", optax.adamw, *ADAM),
    "radam": Optimizer("RAdam", optax.radam, *ADAM),
    "yogi": Optimizer("Yogi", optax.yogi, ("eps",), 1e-3),
    "lion": Optimizer("Lion", lion),
    "optax.adabelief": Optimizer("optax.adabelief", optax.adabelief, BOTH, 1e-16),
    "adam-plus": Optimizer("Adam+", adam_plus, ROOT, 1e-8, (NO_EPS,)),
    "adabelief": Optimizer("AdaBelief", adabelief, BOTH, 1e-16),
    "adabelief-rectified": Optimizer(
        "AdaBelief, rectified", adabelief, BOTH, 1e-16, (("rectify", True),)
    ),
    "aida-k1": Optimizer("Aida, K=1", aida, ROOT, 1e-8, (NO_EPS, ("k", 1))),
    "aida": Optimizer("Aida", aida, ROOT, 1e-8, (NO_EPS, ("k", 2))),
    "ladam": Optimizer("LAdam", ladam, ROOT, 1e-8, (NO_EPS,)),
    "ladabelief": Optimizer("LAdaBelief", ladabelief, ROOT, 1e-8, (NO_EPS,)),
}
