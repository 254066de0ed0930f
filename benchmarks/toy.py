"""How many steps does each optimizer need on functions whose minimum is known?

The six functions of figure 3 of the AdaBelief paper, whose videos give no numbers. All
optimizers take the same learning rate, constant and untuned, and compute in float64;
b1 is also the momentum of SGD, and x and y are one layer. Their other arguments are the
defaults, printed below the table. Each number is the first step with f < 0.001, where f
need not stay; a run whose f is infinite at the end has diverged.

The uneven L1 has betas of 0.3, with which the large steps of AdaBelief and its kin jump
around the minimum: there, how soon one meets it is chance. Elsewhere too, a tuned
learning rate may change the order: `python -m benchmarks run` tunes it.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from adabelief_optax import adabelief, aida, ladabelief, ladam
from benchmarks.demo import allowed
from benchmarks.optimizers import adam_plus
from benchmarks.problem import double_precision
from benchmarks.problems.toy import FUNCTIONS, Point, Toy

TARGET = 1e-3
FRAMES = 40
SMOKE_STEPS, SMOKE_FRAMES = 300, 2


class Optimizer(NamedTuple):
    """A rule of a learning rate, b1 and b2, and its other arguments."""

    label: str  # one of `style.LOOKS`, and in their order
    rule: Callable[..., optax.GradientTransformation]
    fixed: dict[str, float]


def sgd(rate: Any, b1: Any, b2: Any) -> optax.GradientTransformation:
    """SGD, with b1 for its momentum."""
    del b2
    return optax.sgd(rate, momentum=b1)


# Every eps is the default, for Adam+ that of Aida, whose authors named it.
BELIEF = {"eps": 1e-16, "eps_root": 1e-16}
LAYERWISE = {"eps": 0.0, "eps_root": 1e-8}
OPTIMIZERS = {
    "sgd": Optimizer("SGD+momentum", sgd, {}),
    "adam": Optimizer("Adam", optax.adam, {"eps": 1e-8, "eps_root": 0.0}),
    "optax.adabelief": Optimizer("optax.adabelief", optax.adabelief, BELIEF),
    "adam-plus": Optimizer("Adam+", adam_plus, LAYERWISE),
    "adabelief": Optimizer("AdaBelief", adabelief, BELIEF),
    "aida-k1": Optimizer("Aida, K=1", aida, LAYERWISE | {"k": 1}),
    "aida": Optimizer("Aida", aida, LAYERWISE | {"k": 2}),
    "ladam": Optimizer("LAdam", ladam, LAYERWISE),
    "ladabelief": Optimizer("LAdaBelief", ladabelief, LAYERWISE),
}


class Case(NamedTuple):
    """A function and a start."""

    toy: Toy
    start: Point


CASES = tuple(Case(toy, start) for toy in FUNCTIONS.values() for start in toy.starts)


def paths(
    optimizer: Optimizer, cases: Sequence[Case], learning_rate: float, steps: int
) -> np.ndarray:
    """Returns x and y before and after every step: [case, steps + 1, 2]."""
    gradients = [jax.grad(lambda p, f=case.toy.f: f(*p)) for case in cases]

    def walk(index: jax.Array, start: jax.Array, betas: jax.Array) -> jax.Array:
        tx = optimizer.rule(learning_rate, *betas, **optimizer.fixed)

        def step(carry: tuple, _: None) -> tuple[tuple, jax.Array]:
            params, state = carry
            gradient = jax.lax.switch(index, gradients, params)
            updates, state = tx.update(gradient, state, params)
            return (optax.apply_updates(params, updates), state), params

        carry = start, tx.init(start)
        (end, _), before = jax.lax.scan(step, carry, length=steps)
        return jax.numpy.concatenate([before, end[None]])

    # All cases at once, so that an optimizer is compiled once.
    with double_precision():
        starts = np.array([case.start for case in cases], float)
        betas = np.array([case.toy.betas for case in cases])
        return np.asarray(jax.jit(jax.vmap(walk))(np.arange(len(cases)), starts, betas))


def values(case: Case, path: np.ndarray) -> np.ndarray:
    """Returns f along a path."""
    with np.errstate(all="ignore"):  # SGD leaves some functions for infinity
        return case.toy.f(*path.T)


def steps_to_target(f: np.ndarray) -> float:
    """Returns the first step with f below the target, or infinity."""
    reached = f < TARGET
    return float(reached.argmax()) if reached.any() else np.inf


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
        name = f"{case.toy.title}, {case.start}"
        print(f"{name:<28}" + "".join(map(cell, steps, widths)))
    print("\noptimizer         arguments, beside the learning rate, b1 and b2")
    for label, _, fixed in chosen:
        words = [f"{name}={value:g}" for name, value in fixed.items()]
        print(f"{label:<18}{' '.join(words) or 'none'}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this benchmark."""
    add, known = parser.add_argument, OPTIMIZERS.keys()
    rate = partial(allowed, "a number > 0", float, lambda x: 0 < x < np.inf)
    steps = partial(allowed, "an integer >= 1", int, lambda n: n >= 1)
    words = f"one or more of {','.join(OPTIMIZERS)}, with commas"
    names = partial(allowed, words, lambda t: t.split(","), lambda t: known >= set(t))
    folder = partial(allowed, "a folder, not a file", Path, lambda p: not p.is_file())
    add("--learning-rate", type=rate, default=1e-3, help="default %(default)s")
    add("--max-steps", type=steps, default=30_000, help="default %(default)s")
    add("--optimizers", type=names, default=",".join(OPTIMIZERS), help=words)
    add("--draw", type=folder, metavar="FOLDER", help="where to put pictures of paths")
    add("--animate", action="store_true", help="with --draw: a moving picture, too")
    add("--smoke", action="store_true", help="few steps and frames, for a test")
    parser.set_defaults(error=parser.error)


def draw(
    chosen: list[Optimizer], walks: list[np.ndarray], args: argparse.Namespace
) -> None:
    """Writes the pictures and says where they are."""
    from benchmarks.toy_pictures import save_pictures  # it imports this module

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
    walks = [paths(o, CASES, args.learning_rate, args.max_steps) for o in chosen]
    print_table(chosen, walks)
    print(f"\n{time.perf_counter() - began:.1f} seconds, compilation included")
    if args.draw:
        draw(chosen, walks, args)
