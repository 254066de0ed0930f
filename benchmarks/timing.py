"""How are the steps of several programs timed fairly?

All of them in turn in every round, so that whatever else the machine does meets all
alike.
"""

import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

WARM_UP = 2  # rounds
# On an accelerator the next steps are issued while one runs, which hides the cost of
# the calls. JAX lets up to 32 wait.
STEPS_AT_ONCE = 20
Samples = dict[str, np.ndarray]  # by name, one number a round


class Runner(NamedTuple):
    """Something that holds its own arrays, ready to be timed."""

    step: Callable[[], object]  # may return before the step is done
    wait: Callable[[], object]  # returns when all steps are done
    state_bytes: int = 0  # of an optimizer, without the step count


def on_cpu() -> bool:
    """Whether JAX computes on the CPU."""
    return jax.default_backend() == "cpu"


def timed_step(runner: Runner) -> tuple[float, float]:
    """Returns a step's seconds, and the share of them in which it was issued."""
    steps = 1 if on_cpu() else STEPS_AT_ONCE
    # A step outside the clock: it meets the caches of another optimizer, and on CPU
    # threads of PyTorch and XLA that still spin.
    runner.step()
    runner.wait()
    began = time.perf_counter()
    for _ in range(steps):
        runner.step()
    issued = time.perf_counter()
    runner.wait()
    seconds = time.perf_counter() - began
    return seconds / steps, (issued - began) / seconds


def step_seconds(runners: dict[str, Runner], rounds: int) -> tuple[Samples, Samples]:
    """Times all runners in every round, each round in another order.

    Returns:
        The seconds of a step, and the share of them in which it was issued.
    """
    rng, history = np.random.default_rng(0), {name: [] for name in runners}
    for _ in range(WARM_UP + rounds):
        for name in rng.permutation(list(runners)):
            history[name].append(timed_step(runners[name]))
    seconds, issued = (
        {name: np.array(timed)[WARM_UP:, i] for name, timed in history.items()}
        for i in (0, 1)
    )
    return seconds, issued


def quartiles(samples: np.ndarray) -> dict[str, float]:
    """Returns the median and the quartiles."""
    lower, median, upper = np.percentile(samples, (25, 50, 75)).tolist()
    return {"lower": lower, "median": median, "upper": upper}
