"""Which optimizers does the suite compare, and which settings may each try?

Every optimizer gets the same number of trials. Where the literature says that eps
decides, half of them go to each of two values, else all to a finer grid of learning
rates. The betas are the problem's, all else the optimizer's default.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import optax

from adabelief_optax import (
    adabelief,
    aida,
    ignore_prediction,
    ladabelief,
    ladam,
    scale_by_belief,
)

RATES = (9.49e-4, 9.49e-2)  # half a decade apart with five rates
# The default comes first. AdaBelief adds eps to √d̂ and, as eps_root, to s; Adam+, Aida
# and the layerwise ones have eps_root alone. Adam's eps squared is AdaBelief's.
ADAM, YOGI = (1e-8, 1e-4), (1e-3, 1e-8)
BELIEF, AIDA = (1e-16, 1e-8), (1e-8, 1e-16)


class Optimizer(NamedTuple):
    """How it is made of learning rate, eps and betas, and what is tried."""

    label: str
    make: Callable[[Any, Any, tuple[float, float]], optax.GradientTransformation]
    epses: tuple[float, ...] = ()
    rate: float = 1e-3  # without tuning
    rates: tuple[float, float] = RATES  # from, to

    @property
    def default(self) -> tuple[float, float]:
        """The learning rate and eps without tuning."""
        return self.rate, (*self.epses, 0.0)[0]

    def grid(self, trials: int) -> list[tuple[float, float]]:
        """Returns so many pairs of learning rate and eps, log-uniform in the rate."""
        epses = self.epses or (0.0,)
        rates = np.geomspace(*self.rates, trials // len(epses))
        return [(float(f"{rate:.3g}"), eps) for eps in epses for rate in rates]


def adam_plus(
    rate: Any, b1: Any, b2: Any, eps: Any, eps_root: Any
) -> optax.GradientTransformation:
    """Returns Adam with AdaBelief's eps: eps_root in s, where it accumulates."""
    belief = scale_by_belief(b1, b2, eps, eps_root)
    return optax.chain(ignore_prediction(), belief, optax.scale_by_learning_rate(rate))


OPTIMIZERS = {
    "sgd": Optimizer(
        "SGD+momentum", lambda r, _, b: optax.sgd(r, b[0]), (), 1e-2, (1e-3, 1.0)
    ),
    "adam": Optimizer("Adam", lambda r, e, b: optax.adam(r, *b, e), ADAM),
    "adamw": Optimizer("AdamW", lambda r, e, b: optax.adamw(r, *b, e), ADAM),
    "radam": Optimizer("RAdam", lambda r, e, b: optax.radam(r, *b, e), ADAM),
    "yogi": Optimizer("Yogi", lambda r, e, b: optax.yogi(r, *b, e), YOGI, 1e-2),
    "lion": Optimizer("Lion", lambda r, _, b: optax.lion(r), (), 1e-4, (3e-5, 1e-2)),
    "optax-adabelief": Optimizer(
        "optax.adabelief", lambda r, e, b: optax.adabelief(r, *b, e, e), BELIEF
    ),
    "adam-plus": Optimizer("Adam+", lambda r, e, b: adam_plus(r, *b, 0.0, e), AIDA),
    "adabelief": Optimizer("AdaBelief", lambda r, e, b: adabelief(r, *b, e, e), BELIEF),
    "adabelief-rectified": Optimizer(
        "AdaBelief, rectified",
        lambda r, e, b: adabelief(r, *b, e, e, rectify=True),
        BELIEF,
    ),
    "aida": Optimizer("Aida", lambda r, e, b: aida(r, *b, 0.0, e), AIDA),
    "ladam": Optimizer("LAdam", lambda r, e, b: ladam(r, *b, 0.0, e), AIDA),
    "ladabelief": Optimizer(
        "LAdaBelief", lambda r, e, b: ladabelief(r, *b, 0.0, e), AIDA
    ),
}
