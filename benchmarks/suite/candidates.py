"""Which optimizers does the suite compare, and which settings does each try first?

All try the same seven learning rates, spaced by √10, from a tenth to a hundred times
the default; where the literature says that eps decides, with two eps each. The search
goes on from there until the best is bracketed (`protocol.py`). The betas are the
problem's, all else is the optimizer's default.
"""

from typing import NamedTuple

from benchmarks.optimizers import OPTIMIZERS, Optimizer

FIRST = range(-2, 5)  # half powers of ten, from the default rate


class Candidate(NamedTuple):
    """An optimizer, and what is tried."""

    optimizer: Optimizer
    epses: tuple[float, ...] = (0.0,)  # the default first; 0 where eps does not decide
    default: int = -6  # the default rate is 1e-3, that is 10^(-6/2)
    warmup: float = 0.0  # the share of the steps in which the rate rises from 0

    @property
    def label(self) -> str:
        """The name for people."""
        return f"{self.optimizer.label}{', warm-up' if self.warmup else ''}"


ADAM, BELIEF = (1e-8, 1e-4), (1e-16, 1e-8)  # AdaBelief's is about the square of Adam's
CANDIDATES = {
    "sgd": Candidate(OPTIMIZERS["sgd"], default=-4),
    "adam": Candidate(OPTIMIZERS["adam"], ADAM),
    "adam-warmup": Candidate(OPTIMIZERS["adam"], ADAM, warmup=0.1),
    "adamw": Candidate(OPTIMIZERS["adamw"], ADAM),
    # The same update as AdaBelief, in another order of rounding: what differs is noise.
    "optax.adabelief": Candidate(OPTIMIZERS["optax.adabelief"], BELIEF),
    "adabelief": Candidate(OPTIMIZERS["adabelief"], BELIEF),
    "adabelief-warmup": Candidate(OPTIMIZERS["adabelief"], BELIEF, warmup=0.1),
    "adabelief-rectified": Candidate(OPTIMIZERS["adabelief-rectified"], BELIEF),
    "aida": Candidate(OPTIMIZERS["aida"], BELIEF),
    "ladabelief": Candidate(OPTIMIZERS["ladabelief"], BELIEF),
}


def rate_of(exponent: int) -> float:
    """Returns a learning rate of the grid, a half power of ten, to three digits."""
    return float(f"{10 ** (exponent / 2):.3g}")
