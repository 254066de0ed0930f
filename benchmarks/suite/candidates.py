"""Which optimizers does the suite compare, and which settings may each try?

Every optimizer gets the same number of trials. Where the literature says that eps
decides, half of them go to each of two values, else all to a finer grid of learning
rates. The betas are the problem's, all else the optimizer's default.
"""

from typing import NamedTuple

import numpy as np

from benchmarks.optimizers import OPTIMIZERS, Optimizer

RATES = (9.49e-4, 9.49e-2)  # half a decade apart with five rates


class Candidate(NamedTuple):
    """An optimizer, and what is tried."""

    optimizer: Optimizer
    other_eps: float | None = None  # beside the default; none where eps does not decide
    rate: float = 1e-3  # without tuning
    rates: tuple[float, float] = RATES  # from, to

    @property
    def label(self) -> str:
        """The name for people."""
        return self.optimizer.label

    @property
    def epses(self) -> tuple[float, ...]:
        """The values of eps, the default first; none where eps does not decide."""
        return () if self.other_eps is None else (self.optimizer.eps, self.other_eps)

    @property
    def default(self) -> tuple[float, float]:
        """The learning rate and eps without tuning."""
        return self.rate, self.optimizer.eps

    def grid(self, trials: int, scale: float = 1.0) -> list[tuple[float, float]]:
        """Returns so many pairs of learning rate and eps, log-uniform in the rate.

        The ends of the rates are the optimizer's, times the problem's scale.
        """
        epses = self.epses or (0.0,)
        rates = scale * np.geomspace(*self.rates, trials // len(epses))
        return [(float(f"{rate:.3g}"), eps) for eps in epses for rate in rates]


# AdaBelief's eps is about the square of Adam's.
CANDIDATES = {
    "sgd": Candidate(OPTIMIZERS["sgd"], rate=1e-2, rates=(1e-3, 1.0)),
    "adam": Candidate(OPTIMIZERS["adam"], 1e-4),
    "adamw": Candidate(OPTIMIZERS["adamw"], 1e-4),
    "radam": Candidate(OPTIMIZERS["radam"], 1e-4),
    "yogi": Candidate(OPTIMIZERS["yogi"], 1e-8, rate=1e-2),
    "lion": Candidate(OPTIMIZERS["lion"], rate=1e-4, rates=(3e-5, 1e-2)),
    "optax.adabelief": Candidate(OPTIMIZERS["optax.adabelief"], 1e-8),
    "adam-plus": Candidate(OPTIMIZERS["adam-plus"], 1e-16),
    "adabelief": Candidate(OPTIMIZERS["adabelief"], 1e-8),
    "adabelief-rectified": Candidate(OPTIMIZERS["adabelief-rectified"], 1e-8),
    "aida": Candidate(OPTIMIZERS["aida"], 1e-16),
    "ladam": Candidate(OPTIMIZERS["ladam"], 1e-16),
    "ladabelief": Candidate(OPTIMIZERS["ladabelief"], 1e-16),
}
