"""How many steps does each optimizer need on functions whose minimum is known?

The six functions of figure 3 of the AdaBelief paper, whose videos give no numbers. All
optimizers take the same learning rate, constant and untuned, and compute in float64;
b1 is also the momentum of SGD, summed (g + b1·m, the "heavy ball") or averaged, as the
public re-implementations of that figure have it; x and y are one layer. Their other
arguments are the defaults, printed below the table. Each number is the first step with
f < 0.001, where f need not stay; a run whose f is infinite at the end has diverged.

How soon one start arrives may be chance, above all on the uneven L1, whose betas of 0.3
let AdaBelief jump around the minimum. So a second table has ten starts, moved by up to
0.25 in each coordinate: the steps ÷ Adam's from the same start,
their geometric mean and its 95 % interval by Student's t. A start that does not arrive
counts as all steps, and how many do not is said in round brackets. A tuned learning
rate may change the order: `python -m benchmarks run` tunes it.
"""

import argparse
import time

import jax
import numpy as np

from benchmarks import cli
from benchmarks.intervals import interval, ratio
from benchmarks.optimizers import OPTIMIZERS, Optimizer
from benchmarks.toy.paths import (
    CASES,
    STARTS,
    follow,
    moved_starts,
    steps_to_target,
    values,
)

NAMES = (
    "sgd",
    "sgd-averaged",
    "adam",
    "optax.adabelief",
    "adam-plus",
    "adabelief",
    "aida-k1",
    "aida",
    "ladam",
    "ladabelief",
)


def describe(f: np.ndarray) -> str:
    """Returns the steps to the target for the table."""
    steps = steps_to_target(f)
    if np.isfinite(steps):
        return f"{steps:.0f}"
    return f"> {len(f) - 1}" if np.isfinite(f[-1]) else "diverged"


def print_rows(head: str, labels: list[str], rows: dict[str, list[str]]) -> None:
    """Prints a table: a column an optimizer."""
    cell = "{:>{}}".format
    columns = zip(labels, *rows.values(), strict=True)
    widths = [max(10, *(len(text) + 2 for text in column)) for column in columns]
    for name, row in {head: labels, **rows}.items():
        print(f"{name:<28}" + "".join(map(cell, row, widths)))


def ratios(chosen: list[Optimizer], rate: float, limit: int) -> dict[str, list[str]]:
    """Returns the steps ÷ those of the first, over ten starts, a row a function."""
    cases = moved_starts()
    steps = np.array(
        [
            [steps_to_target(values(*x)) for x in zip(cases, walks, strict=True)]
            for optimizer in chosen
            for walks in [follow(optimizer, cases, rate, limit)]
        ]
    ).reshape(len(chosen), -1, STARTS)
    logs = np.log(np.minimum(steps, limit))
    misses = np.isinf(steps).sum(-1)
    return {
        cases[STARTS * i].function.title: [
            ratio(interval(logs[k, i] - logs[0, i]))
            + (f" ({misses[k, i]})" if misses[k, i] else "")
            for k in range(len(chosen))
        ]
        for i in range(steps.shape[1])
    }


def print_table(chosen: list[Optimizer], walks: list[np.ndarray]) -> None:
    """Prints a row for each function and start, then what each optimizer got."""
    print()
    labels = [optimizer.label for optimizer in chosen]
    rows = {
        f"{case.function.title}, {case.start}": [
            describe(values(case, walk[i])) for walk in walks
        ]
        for i, case in enumerate(CASES)
    }
    print_rows("function, start", labels, rows)
    print("\noptimizer         arguments, beside the learning rate, b1 and b2")
    for optimizer in chosen:
        arguments = optimizer.arguments(optimizer.eps).items()
        words = [f"{name}={value:g}" for name, value in arguments]
        print(f"{optimizer.label:<18}{' '.join(words) or 'none'}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this benchmark."""
    add, words = parser.add_argument, cli.one_or_more(NAMES)
    steps, names = cli.integer(1), cli.names(NAMES)
    add("--learning-rate", type=cli.positive, default=1e-3, help="default %(default)s")
    add("--max-steps", type=steps, default=30_000, help="default %(default)s")
    add("--optimizers", type=names, default=",".join(NAMES), help=words)


def run(args: argparse.Namespace) -> None:
    """Walks with every optimizer, and prints the steps."""
    print(f"{__doc__}\nJAX {jax.__version__}, learning rate {args.learning_rate:g}")
    chosen, began = [OPTIMIZERS[name] for name in args.optimizers], time.perf_counter()
    walks = [follow(o, CASES, args.learning_rate, args.max_steps) for o in chosen]
    print_table(chosen, walks)
    print()
    first = max(chosen, key=lambda optimizer: optimizer.label == "Adam")
    beside = [first, *(x for x in chosen if x is not first)]
    found = ratios(beside, args.learning_rate, args.max_steps)
    head = f"{STARTS} starts, ÷ {first.label}"
    print_rows(head, [optimizer.label for optimizer in beside], found)
    print(f"\n{time.perf_counter() - began:.1f} seconds, compilation included")
