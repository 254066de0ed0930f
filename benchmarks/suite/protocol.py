"""Which trainings does an optimizer get on a problem, given those that it has had?

Pure functions of the records, so that an interrupted search goes on where it was:

1. Every setting of the first grid trains with three seeds. While the best learning rate
   lies at an end of what was tried, the next one beyond it is tried too, up to a
   thousand times the default or a thousandth of it.
2. Every setting within two standard errors of the best trains with seven more seeds.
   Three seeds tell the spread of one setting badly, so that of the best five is pooled.
3. The best mean over ten seeds is chosen, and trains with twenty fresh seeds.

All this is done by two criteria: by the last validation metric, for what is said of
where trainings end; and by the steps to the target, for what is said of speed.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from benchmarks.suite.candidates import FIRST, Candidate, rate_of
from benchmarks.suite.problem import Problem

CRITERIA = ("end", "speed")
LIMIT = 6  # half powers of ten, from the default rate up and down


class Seeds(NamedTuple):
    """The seeds of each stage."""

    first: tuple[int, ...] = tuple(range(1000, 1003))
    second: tuple[int, ...] = tuple(range(1003, 1010))
    fresh: tuple[int, ...] = tuple(range(100, 120))


SEEDS = Seeds()


class Setting(NamedTuple):
    """A learning rate, as a half power of ten, and an eps."""

    exponent: int
    eps: float

    @property
    def rate(self) -> float:
        """The learning rate."""
        return rate_of(self.exponent)


class Outcome(NamedTuple):
    """What a training came to, as numbers to make small."""

    end: float  # infinite where it is not a number
    speed: float  # the logarithm of the steps to the target, or of all steps
    reached: bool  # whether it got to the target


Found = dict[Setting, dict[int, Outcome]]  # by setting and seed
Wanted = dict[Setting, tuple[int, ...]]  # the seeds that are missing


class Choice(NamedTuple):
    """What one criterion chooses, and whether the rates on both sides were tried."""

    setting: Setting
    bracketed: bool


def criteria(problem: Problem, found: Found, seeds: Seeds = SEEDS) -> tuple[str, ...]:
    """Returns by what is chosen: not by speed where no setting gets to the target.

    That is, in half of the seeds. On a toy function nothing but speed is asked.
    """
    shares = [
        np.mean([mine[x].reached for x in seeds.first])
        for mine in found.values()
        if set(seeds.first) <= set(mine)
    ]
    known = ("speed",) if max(shares, default=0.0) >= 0.5 else ()
    return known if known and problem.chosen_by_speed else ("end", *known)


def tried(candidate: Candidate, found: Found) -> range:
    """Returns the exponents of the grid so far."""
    exponents = {candidate.default + x for x in FIRST} | {x.exponent for x in found}
    return range(min(exponents), max(exponents) + 1)


def mean(found: Found, setting: Setting, seeds: Iterable[int], criterion: str) -> float:
    """Returns the mean over seeds."""
    return float(np.mean([getattr(found[setting][x], criterion) for x in seeds]))


def close(found: Found, criterion: str, seeds: Seeds = SEEDS) -> list[Setting]:
    """Returns the settings within two standard errors of the best, the best first."""
    values = {
        setting: [getattr(mine[x], criterion) for x in seeds.first]
        for setting, mine in found.items()
        if set(seeds.first) <= set(mine)
    }
    ranked = sorted(values, key=lambda x: np.mean(values[x]))
    finite = [x for x in ranked[:5] if np.isfinite(values[x]).all()]
    spreads = [np.var(values[x], ddof=min(1, len(values[x]) - 1)) for x in finite]
    allowed = 2 * np.sqrt(2 * np.mean(spreads or [0.0]) / len(seeds.first))
    best = np.mean(values[ranked[0]])
    group = [x for x in ranked[1:] if np.mean(values[x]) <= best + allowed < np.inf]
    return [ranked[0], *group]


def choose(
    candidate: Candidate, found: Found, criterion: str, seeds: Seeds = SEEDS
) -> Choice | None:
    """Returns the best of the close settings, or None while they have too few seeds."""
    several, group = seeds.first + seeds.second, close(found, criterion, seeds)
    if any(not set(several) <= set(found[x]) for x in group):
        return None
    best = min(group, key=lambda x: mean(found, x, several, criterion))
    return Choice(best, not beyond(candidate, found, best))


def beyond(candidate: Candidate, found: Found, best: Setting) -> list[int]:
    """Returns the exponents next to the best one that were not tried."""
    known = tried(candidate, found)
    return [x for x in (best.exponent - 1, best.exponent + 1) if x not in known]


def allowed(candidate: Candidate, exponents: Iterable[int]) -> list[int]:
    """Returns those that are within the limit."""
    return [x for x in exponents if abs(x - candidate.default) <= LIMIT]


def lacking(found: Found, settings: Iterable[Setting], seeds: tuple) -> Wanted:
    """Returns the seeds that settings do not have yet."""
    missing = {
        x: tuple(s for s in seeds if s not in found.get(x, ())) for x in settings
    }
    return {x: some for x, some in missing.items() if some}


def missing(
    problem: Problem, candidate: Candidate, found: Found, seeds: Seeds = SEEDS
) -> Wanted:
    """Returns what must be trained next; nothing when all is done."""

    def of_grid(exponents: Iterable[int]) -> list[Setting]:
        return [Setting(x, eps) for eps in candidate.epses for x in exponents]

    if want := lacking(found, of_grid(tried(candidate, found)), seeds.first):
        return want
    by = criteria(problem, found, seeds)
    groups = {x: close(found, x, seeds) for x in by}
    further = {y for x in by for y in beyond(candidate, found, groups[x][0])}
    if want := lacking(found, of_grid(allowed(candidate, further)), seeds.first):
        return want
    several = {setting for group in groups.values() for setting in group}
    if want := lacking(found, sorted(several), seeds.second):
        return want
    chosen = {choose(candidate, found, x, seeds).setting for x in by}
    further = {y for x in chosen for y in beyond(candidate, found, x)}
    if want := lacking(found, of_grid(allowed(candidate, further)), seeds.first):
        return want
    return lacking(found, sorted(chosen), seeds.fresh)
