"""How are compilations, steps and copies timed?"""

import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.contenders import Runner, Step, jitted_step

WARM_UP = 2  # rounds
# On an accelerator the next steps are issued while one runs, which hides the cost of
# the calls. JAX lets up to 32 wait.
STEPS_AT_ONCE = 20
COPIES = 30
Samples = dict[str, np.ndarray]  # by name, one number a round


def on_cpu() -> bool:
    """Whether JAX computes on the CPU."""
    return jax.default_backend() == "cpu"


def compile_steps(
    txs: dict[str, optax.GradientTransformation], shapes: Any, rounds: int
) -> tuple[Samples, dict[str, Step]]:
    """Compiles every step once a round, each time from empty caches.

    Returns:
        The seconds of tracing, lowering and compiling, and the last round's steps.
    """
    history, steps = [], {}
    for _ in range(rounds):
        seconds = {}
        for name, tx in txs.items():
            arguments = shapes, jax.eval_shape(tx.init, shapes), shapes
            jax.clear_caches()
            began = time.perf_counter()
            steps[name] = jitted_step(tx).lower(*arguments).compile()
            seconds[name] = time.perf_counter() - began
        history.append(seconds)
    samples = {name: np.array([seconds[name] for seconds in history]) for name in txs}
    return samples, steps


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
    """Times all optimizers in every round, each round in another order.

    Returns:
        The seconds of a step, and the share of them in which it was issued.
    """
    rng, history = np.random.default_rng(0), []
    for _ in range(WARM_UP + rounds):
        order = rng.permutation(list(runners))
        history.append({name: timed_step(runners[name]) for name in order})
    samples = {
        name: np.array([timed[name] for timed in history[WARM_UP:]]) for name in runners
    }
    return (
        {name: sample[:, 0] for name, sample in samples.items()},
        {name: sample[:, 1] for name, sample in samples.items()},
    )


def copy_bandwidth(count: int = 2**28) -> float:
    """Returns the bytes per second, read and written, of copies of a large array."""
    copy = jax.jit(jnp.copy)
    x = jax.block_until_ready(copy(jnp.ones(count, jnp.float32)))
    began = time.perf_counter()
    for _ in range(COPIES):
        x = copy(x)
    jax.block_until_ready(x)
    return 2 * x.nbytes * COPIES / (time.perf_counter() - began)


def summary(samples: Samples, name: str, reference: str) -> dict[str, Any]:
    """Returns seconds and, within each round, their ratio to the reference's."""
    return {
        "seconds": quartiles(samples[name]),
        "ratio": quartiles(samples[name] / samples[reference]),
    }


def quartiles(samples: np.ndarray) -> dict[str, float]:
    """Returns the median and the quartiles."""
    lower, median, upper = np.percentile(samples, (25, 50, 75)).tolist()
    return {"lower": lower, "median": median, "upper": upper}
