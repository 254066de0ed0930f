"""DeepOBS's protocol: tune the learning rate, then train ten seeds with the best.

The best last validation metric chooses. While the best rate is the least or the largest
that was tried, the grid goes on in this direction, as far as DeepOBS's own grid goes.
"""

import argparse
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from tqdm import tqdm

from benchmarks.data import Splits
from benchmarks.deepobs.problem import Problem
from benchmarks.deepobs.runs import Run, Runs, complete
from benchmarks.deepobs.training import Program
from benchmarks.optimizers import OPTIMIZERS
from benchmarks.store import Record

BETAS = (0.9, 0.999)
RATES = [float(f"{rate:.3g}") for rate in np.geomspace(1e-5, 1e2, 36)]
RATES_HELP = "learning rates, with commas; default DeepOBS's 36 from 1e-5 to 1e2"
TUNING_SEED = 1000  # the first; the seeds of the best are 0, 1, 2, …
SEEDS = 10


class Size(NamedTuple):
    """How much is trained, and how."""

    rates: list[float]
    tuning_seeds: int
    seeds: int
    tuning_epochs: int
    epochs: int
    schedule: str = "constant"


def rates(text: str) -> list[float]:
    """Returns learning rates, or says what is allowed."""
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = [0.0]
    if not all(0 < rate < np.inf for rate in found):
        raise argparse.ArgumentTypeError(f"{text!r}; allowed are {RATES_HELP}")
    return found


def steps(problem: Problem, splits: Splits, size: Size) -> int:
    """Returns the steps of all trainings by one optimizer."""
    tuning = len(size.rates) * size.tuning_seeds * size.tuning_epochs
    batches = len(problem.order(len(jax.tree.leaves(splits.train)[0])))
    return (tuning + size.seeds * size.epochs) * batches


def tune_and_train(
    problem: Problem, splits: Splits, name: str, size: Size, folder: Path, bar: tqdm
) -> None:
    """Completes the records of one optimizer on one problem."""
    optimizer = OPTIMIZERS[name]
    program = Program(
        problem,
        lambda rate: optimizer.make(rate, BETAS, optimizer.eps),
        splits,
        size.schedule,
    )
    b1, b2 = BETAS
    given = {"b1": b1, "b2": b2} | optimizer.arguments(optimizer.eps)
    finals = Runs(program, name, given, size.epochs, folder)
    tuning = finals._replace(epochs=size.tuning_epochs, with_curves=False)
    rate = tuned(tuning, size, bar)
    complete(finals, [Run(rate, seed) for seed in range(size.seeds)], bar)


def tuned(tuning: Runs, size: Size, bar: tqdm) -> float:
    """Returns the best learning rate, which has a worse one on either side."""
    rates, more = [], sorted(size.rates)
    while more:
        rates = sorted({*rates, *more})
        seeds = [TUNING_SEED + i for i in range(size.tuning_seeds)]
        trials = [Run(rate, seed) for rate in rates for seed in seeds]
        rate = best(tuning.problem, complete(tuning, trials, bar))
        more = beyond(rates, rate)
        bar.total += tuning.steps * len(more) * len(seeds)
    return rate


def beyond(rates: list[float], rate: float) -> list[float]:
    """Returns the rate to try next, if this one is the first or the last of several."""
    if len(rates) == 1 or rates[0] < rate < rates[-1]:
        return []
    neighbour = rates[1] if rate == rates[0] else rates[-2]
    following = float(f"{rate**2 / neighbour:.3g}")
    return [following] if RATES[0] <= following <= RATES[-1] else []


def best(problem: Problem, records: list[Record]) -> float:
    """Returns the rate with the best mean; one that is not finite is worst."""
    means = means_by_rate(problem, records, "valid")
    pick = max if problem.larger_is_better else min
    finite = {rate: mean for rate, mean in means.items() if np.isfinite(mean)}
    return pick(finite or means, key=lambda rate: means[rate])


def means_by_rate(
    problem: Problem, records: list[Record], split: str
) -> dict[float, float]:
    """Returns the mean of the last metric over the seeds, at each learning rate."""
    last: dict[float, list[float]] = {}
    for record in records:
        value = record["last"][f"{split}_{problem.metric}"]
        last.setdefault(record["rate"], []).append(np.nan if value is None else value)
    return {rate: float(np.mean(values)) for rate, values in sorted(last.items())}
