"""How far may a mean be off?"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from scipy import stats


class Estimate(NamedTuple):
    """A mean and its 95 % interval."""

    middle: float
    lower: float
    upper: float


def interval(values: Iterable[float]) -> Estimate:
    """Returns the mean and its 95 % interval by Student's t, infinite for one value."""
    x = np.asarray(list(values), float)
    if len(x) < 2:
        return Estimate(float(x.mean()), -np.inf, np.inf)
    reach = stats.t.ppf(0.975, len(x) - 1) * x.std(ddof=1) / np.sqrt(len(x))
    return Estimate(float(x.mean()), float(x.mean() - reach), float(x.mean() + reach))


def in_words(estimate: Estimate, form: str = "+.1f") -> str:
    """Returns "middle [lower, upper]", or the middle alone of a single value."""
    middle, lower, upper = (format(x + 0.0, form) for x in estimate)
    return f"{middle} [{lower}, {upper}]" if np.isfinite(estimate.lower) else middle


def ratio(logs: Estimate) -> str:
    """Returns the ratio of a mean logarithm, with its interval."""
    return in_words(Estimate(*np.exp(logs)), ".2f")
