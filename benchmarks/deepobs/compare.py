"""DeepOBS's protocol: tune the learning rate, then train ten seeds with the best.

The best last validation metric chooses. While the best rate is the least or the largest
that was tried, the grid goes on in this direction, as far as DeepOBS's own grid goes.
"""

import argparse
from functools import partial

import numpy as np

from benchmarks import cli
from benchmarks.data import Splits
from benchmarks.deepobs.problem import Problem
from benchmarks.deepobs.runs import Run, Runs, complete
from benchmarks.deepobs.training import Program
from benchmarks.optimizers import OPTIMIZERS
from benchmarks.store import Record

BETAS = (0.9, 0.999)
RATES = [float(f"{rate:.3g}") for rate in np.geomspace(1e-5, 1e2, 36)]
RATES_HELP = "learning rates, with commas; default DeepOBS's 36 from 1e-5 to 1e2"
rates = partial(
    cli.allowed,
    RATES_HELP,
    lambda text: [float(part) for part in text.split(",")],
    lambda found: all(0 < rate < np.inf for rate in found),
)
TUNING_SEED = 1000  # the seeds of the best are 0, 1, 2, …
SEEDS = 10


def tune_and_train(
    problem: Problem, splits: Splits, name: str, args: argparse.Namespace
) -> None:
    """Completes the records of one optimizer on one problem."""
    optimizer = OPTIMIZERS[name]
    program = Program(
        problem,
        lambda rate: optimizer.make(rate, BETAS, optimizer.eps),
        splits,
        args.schedule,
    )
    b1, b2 = BETAS
    given = {"b1": b1, "b2": b2} | optimizer.arguments(optimizer.eps)
    epochs = args.epochs or problem.epochs
    finals = Runs(program, name, given, epochs, args.results)
    length = args.tuning_epochs or epochs
    rate = tuned(finals._replace(epochs=length, with_curves=False), args.rates)
    complete(finals, [Run(rate, seed) for seed in range(args.seeds or SEEDS)])


def tuned(tuning: Runs, more: list[float]) -> float:
    """Returns the best learning rate, which has a worse one on either side."""
    tried: list[float] = []
    while more:
        tried = sorted({*tried, *more})
        records = complete(tuning, [Run(rate, TUNING_SEED) for rate in tried])
        rate = best(tuning.program.problem, records)
        more = beyond(tried, rate)
    return rate


def beyond(rates: list[float], rate: float) -> list[float]:
    """Returns the rate to try next, if this one is the first or the last of several."""
    if len(rates) == 1 or rates[0] < rate < rates[-1]:
        return []
    neighbour = rates[1] if rate == rates[0] else rates[-2]
    following = float(f"{rate**2 / neighbour:.3g}")
    return [following] if RATES[0] <= following <= RATES[-1] else []


def best(problem: Problem, records: list[Record]) -> float:
    """Returns the best learning rate; one that does not end finite is worst."""
    ends = {x: problem.sign * y for x, y in ends_by_rate(problem, records).items()}
    return max(ends, key=lambda rate: np.nan_to_num(ends[rate], nan=-np.inf))


def ends_by_rate(problem: Problem, records: list[Record]) -> dict[float, float]:
    """Returns the last validation metric at each learning rate."""
    name = f"valid_{problem.metric}"
    ends = {r["rate"]: np.array(r["last"][name], float) for r in records}
    return {rate: float(ends[rate]) for rate in sorted(ends)}
