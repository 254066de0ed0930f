"""What does a step of one training alone cost, with each optimizer?

All optimizers are timed in turn, in every round, so that other load meets all alike.
"""

import jax

from benchmarks import machine
from benchmarks.data import Splits
from benchmarks.store import Record, rounded
from benchmarks.suite.candidates import CANDIDATES
from benchmarks.suite.problem import Problem
from benchmarks.suite.trials import scanned_step, transformation
from benchmarks.timing import Runner, quartiles, step_seconds

ROUNDS, STEPS = 15, 20  # of each round as many steps, in one call


def time_steps(problem: Problem, names: list[str], splits: Splits) -> list[Record]:
    """Returns a record for each optimizer: quartiles of the seconds of a step."""
    with problem.precision():
        runners = {name: start(problem, name, splits) for name in names}
        seconds, _ = step_seconds(runners, ROUNDS)
    return [
        {"problem": problem.name, "optimizer": name, "machine": machine.summary()}
        | {key: rounded(x / STEPS) for key, x in quartiles(times).items()}
        for name, times in seconds.items()
    ]


def start(problem: Problem, name: str, splits: Splits) -> Runner:
    """Returns one training, which a call advances by STEPS steps."""
    candidate = CANDIDATES[name]
    tx = transformation(problem, candidate.optimizer, problem.steps, *candidate.default)
    params = problem.init(jax.random.key(0))
    carry = params, problem.start(tx, params), jax.random.key(1)

    step = scanned_step(problem, tx, splits.train)
    steps = jax.jit(lambda carry: jax.lax.scan(step, carry, length=STEPS))

    def advance() -> None:
        nonlocal carry
        carry, _ = steps(carry)

    return Runner(advance, lambda: jax.block_until_ready(carry))
