"""How many steps does each optimizer need on functions whose minimum is known?

The six functions of figure 3 of the AdaBelief paper, whose videos give no numbers. All
optimizers take the same learning rate, constant and untuned, and compute in float64;
b1 is also the momentum of SGD, summed (g + b1·m, the "heavy ball") or averaged, as the
public re-implementations of that figure have it; x and y are one layer. Their other
arguments are the defaults, printed below the table. Each number is the first step with
f < 0.001, where f need not stay; a run whose f is infinite at the end has diverged.

The uneven L1 has betas of 0.3, with which the large steps of AdaBelief and its kin jump
around the minimum: there, how soon one meets it is chance. Elsewhere too, a tuned
learning rate may change the order: `python -m benchmarks run` tunes it.
"""

import argparse
import time

import jax
import numpy as np

from benchmarks import cli
from benchmarks.optimizers import OPTIMIZERS, Optimizer
from benchmarks.toy.paths import CASES, follow, steps_to_target, values
from benchmarks.toy.pictures import save_pictures

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
FRAMES = 40
SMOKE_STEPS, SMOKE_FRAMES = 300, 2


def describe(f: np.ndarray) -> str:
    """Returns the steps to the target for the table."""
    steps = steps_to_target(f)
    if np.isfinite(steps):
        return f"{steps:.0f}"
    return f"> {len(f) - 1}" if np.isfinite(f[-1]) else "diverged"


def print_table(chosen: list[Optimizer], walks: list[np.ndarray]) -> None:
    """Prints a row for each function and start, then what each optimizer got."""
    labels = [optimizer.label for optimizer in chosen]
    cell = "{:>{}}".format
    widths = [max(10, len(label) + 2) for label in labels]
    print(f"\n{'function, start':<28}" + "".join(map(cell, labels, widths)))
    for i, case in enumerate(CASES):
        steps = [describe(values(case, walk[i])) for walk in walks]
        name = f"{case.function.title}, {case.start}"
        print(f"{name:<28}" + "".join(map(cell, steps, widths)))
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
    add(
        "--draw",
        type=cli.folder,
        metavar="FOLDER",
        help="where to put pictures of paths",
    )
    add("--animate", action="store_true", help="with --draw: a moving picture, too")
    add("--smoke", action="store_true", help="few steps and frames, for a test")
    parser.set_defaults(error=parser.error)


def draw(
    chosen: list[Optimizer], walks: list[np.ndarray], args: argparse.Namespace
) -> None:
    """Writes the pictures and says where they are."""
    by_label = {o.label: walk for o, walk in zip(chosen, walks, strict=True)}
    frames = (SMOKE_FRAMES if args.smoke else FRAMES) if args.animate else 0
    for path in save_pictures(by_label, args.draw, frames):
        print(f"saved {path}")


def run(args: argparse.Namespace) -> None:
    """Walks with every optimizer, prints the steps and draws the paths."""
    if args.animate and not args.draw:
        args.error("--animate needs --draw FOLDER")
    if args.smoke:
        args.max_steps = SMOKE_STEPS
    print(f"{__doc__}\nJAX {jax.__version__}, learning rate {args.learning_rate:g}")
    chosen, began = [OPTIMIZERS[name] for name in args.optimizers], time.perf_counter()
    walks = [follow(o, CASES, args.learning_rate, args.max_steps) for o in chosen]
    print_table(chosen, walks)
    print(f"\n{time.perf_counter() - began:.1f} seconds, compilation included")
    if args.draw:
        draw(chosen, walks, args)
