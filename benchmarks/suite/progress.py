"""How many trainings are done, and how long will the rest take?

A training of a network takes a hundred times as long as one of a toy function. So the
rest is estimated from the seconds of a step that the published results give for each
problem, and from how much longer than that the trainings so far have taken.
"""

import time
from functools import cache

import numpy as np
from tqdm import tqdm

from benchmarks import store
from benchmarks.suite.problem import Network, Problem
from benchmarks.suite.problems import problems

FORMAT = "{desc}{percentage:3.0f}%|{bar}| {n:.0f} of {total:.0f} trainings{postfix}"


@cache
def seconds_of_step(name: str) -> float:
    """Returns the published seconds of a step; of an unknown problem, the others'."""
    rows = store.read(store.path_of(store.RESULTS, "seconds", name))
    if rows:
        return float(np.median([row["median"] for row in rows]))
    return float(np.median([seconds_of_step(x) for x in problems() if x != name]))


def compile_seconds(problem: Problem) -> float:
    """Returns about how long trainings that run together wait before they begin."""
    return 8.0 if isinstance(problem, Network) else 2.0


def expected_seconds(problem: Problem, trainings: int, steps: int) -> float:
    """Returns about how long so many trainings take that run together."""
    seconds = trainings * steps * seconds_of_step(problem.name)
    return compile_seconds(problem) + seconds


class Progress:
    """A bar that counts trainings, with the time that is left."""

    def __init__(self, trainings: int, seconds: float) -> None:
        """Takes how many trainings there are, and what they may take."""
        self.bar = tqdm(total=trainings, bar_format=FORMAT)
        self.rest, self.done, self.began = seconds, 0.0, time.perf_counter()

    def skip(self, trainings: float, seconds: float) -> None:
        """Counts trainings that have a record, or that nothing was expected of."""
        self.rest -= seconds
        self.bar.update(trainings)

    def trained(self, trainings: float, seconds: float) -> None:
        """Counts trainings, and the seconds that were expected of them."""
        self.done += seconds
        self.skip(trainings, seconds)
        spent = time.perf_counter() - self.began
        left = tqdm.format_interval(max(0.0, self.rest) * spent / self.done)
        self.bar.set_postfix_str(f"about {left} left")

    def leave_out(self, trainings: int, seconds: float) -> None:
        """Takes trainings out of the total."""
        self.rest -= seconds
        self.bar.total -= trainings
        self.bar.refresh()
