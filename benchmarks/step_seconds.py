"""What does a step of one training alone cost, with each optimizer?

All optimizers are timed in turn, in every round, so that other load meets all alike.
"""

from contextlib import nullcontext
from typing import Any

import jax

from benchmarks import records
from benchmarks.contenders import Runner
from benchmarks.optimizers import OPTIMIZERS
from benchmarks.problem import Problem, Splits, double_precision
from benchmarks.records import Record
from benchmarks.timing import quartiles, step_seconds
from benchmarks.training import transformation

ROUNDS, STEPS = 15, 20  # of each round as many steps, in one call


def time_steps(problem: Problem, names: list[str], splits: Splits) -> list[Record]:
    """Returns a record for each optimizer: quartiles of the seconds of a step."""
    with double_precision() if problem.float64 else nullcontext():
        runners = {name: start(problem, name, splits) for name in names}
        seconds, _ = step_seconds(runners, ROUNDS)
    return [
        {"problem": problem.name, "optimizer": name, "machine": records.machine()}
        | {key: records.rounded(x / STEPS) for key, x in quartiles(times).items()}
        for name, times in seconds.items()
    ]


def start(problem: Problem, name: str, splits: Splits) -> Runner:
    """Returns one training, which a call advances by STEPS steps."""
    optimizer = OPTIMIZERS[name]
    tx = transformation(problem, optimizer, problem.steps, *optimizer.default)
    params = problem.init(jax.random.key(0))
    carry = params, problem.start(tx, params), jax.random.key(1)

    def step(carry: Any, _: None) -> tuple[Any, Any]:
        params, state, key = carry
        key, now = jax.random.split(key)
        params, state, loss = problem.step(tx, params, state, splits.train, now)
        return (params, state, key), loss

    steps = jax.jit(lambda carry: jax.lax.scan(step, carry, length=STEPS))

    def advance() -> None:
        nonlocal carry
        carry, _ = steps(carry)

    return Runner(advance, lambda: jax.block_until_ready(carry), 0)
