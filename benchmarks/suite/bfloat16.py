"""Do parameters in bfloat16 train as well as in float32, and what does it take?

Each setting trains at every learning rate, decaying to 0 by a cosine, from the same
seeds:

float32             parameters, gradients and state
plain               parameters and gradients in bfloat16, state in float32, and
                    `optax.apply_updates`, which rounds to nearest
link                the same, with `stochastic_rounding` at the end of the chain
link, state         the same, with the state in bfloat16 too

bytes     a parameter, of parameters and state
lost      the share of the updates that rounding to nearest throws away: p + u is p
          though u is not 0. The link saves them, so that there it is what it saves.

Every finished row goes to the folder of results, and the same command goes on where it
was stopped.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from tqdm import tqdm

from adabelief_optax import stochastic_rounding
from benchmarks import cli, machine, store
from benchmarks.data import Splits
from benchmarks.optimizers import OPTIMIZERS, Optimizer
from benchmarks.suite.problem import Problem
from benchmarks.suite.problems import problems

PROBLEMS = ("digits", "char-transformer")
RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
EPS = 1e-16  # the choice of the suite's tuning for both problems
PERIODS = 25
SMOKE_RESULTS = Path("smoke-output")


class Setting(NamedTuple):
    """In which dtypes is trained, and how the parameters are rounded."""

    dtype: str = "bfloat16"
    link: bool = True
    arguments: dict[str, str] = {}  # noqa: RUF012

    def chain(
        self, problem: Problem, optimizer: Optimizer, steps: int, rate: Any
    ) -> tuple[optax.GradientTransformation, optax.GradientTransformation]:
        """Returns the optimizer and the last link, which may do nothing."""
        schedule = optax.cosine_decay_schedule(rate, steps)
        arguments = optimizer.arguments(EPS) | self.arguments
        tx = optimizer.rule(schedule, *problem.betas, **arguments)
        return tx, stochastic_rounding() if self.link else optax.identity()


SETTINGS = {
    "float32": Setting("float32", link=False),
    "plain": Setting(link=False),
    "link": Setting(),
    "link, state": Setting(arguments={"mu_dtype": "bfloat16", "nu_dtype": "bfloat16"}),
}


def share_lost(params: Any, updates: Any) -> jax.Array:
    """Returns the share of updates that are not 0 but move nothing."""
    new, old, u = (
        jnp.concatenate([x.ravel() for x in jax.tree.leaves(tree)])
        for tree in (optax.apply_updates(params, updates), params, updates)
    )
    return jnp.sum((new == old) & (u != 0)) / jnp.maximum(jnp.sum(u != 0), 1)


def trainer(
    problem: Problem, optimizer: Optimizer, setting: Setting, steps: int
) -> tuple[Callable, Callable]:
    """Returns the start of a training from a seed, and the training itself."""

    def start(seed: Any) -> Any:
        draw, follow = jax.random.split(jax.random.key(seed))
        cast = optax.tree.cast(problem.init(draw), setting.dtype)
        links = setting.chain(problem, optimizer, steps, 0.0)
        return cast, [link.init(cast) for link in links], follow

    def train(rate: Any, carry: Any, splits: Splits) -> tuple[jax.Array, ...]:
        tx, link = setting.chain(problem, optimizer, steps, rate)

        def step(carry: Any, _: None) -> tuple[Any, tuple[jax.Array, ...]]:
            params, (state, link_state), key = carry
            key, draw, noise = jax.random.split(key, 3)
            batch = problem.batch(splits.train, draw)
            loss, grads = jax.value_and_grad(problem.loss)(params, batch, noise)
            updates, state = tx.update(grads, state, params)
            lost = share_lost(params, updates)
            updates, link_state = link.update(updates, link_state, params)
            params = optax.apply_updates(params, updates)
            return (params, [state, link_state], key), (loss.astype(float), lost)

        def period(carry: Any, _: None) -> tuple[Any, tuple[jax.Array, ...]]:
            carry, (loss, lost) = jax.lax.scan(step, carry, length=steps // PERIODS)
            valid = problem.measure(carry[0], splits.valid)
            return carry, (loss.mean(), lost.mean(), valid)

        carry, curves = jax.lax.scan(period, carry, length=PERIODS)
        return *curves, problem.measure(carry[0], splits.test)

    return jax.jit(jax.vmap(start)), jax.jit(jax.vmap(train, (None, 0, None)))


def bytes_a_parameter(carry: Any) -> float:
    """Returns the bytes of parameters and state, counts left out, a parameter."""
    params, state, _ = carry
    numbers = [
        x
        for x in jax.tree.leaves((params, state))
        if jnp.issubdtype(x.dtype, jnp.floating)
    ]
    entries = sum(x.size for x in jax.tree.leaves(params))
    return round(sum(x.nbytes for x in numbers) / entries, 2)


def records(
    problem: Problem, name: str, setting: str, splits: Splits, args: argparse.Namespace
) -> Any:
    """Yields what each learning rate did with all seeds, one list entry a seed."""
    steps = PERIODS if args.smoke else problem.steps
    start, train = trainer(problem, OPTIMIZERS[name], SETTINGS[setting], steps)
    carry = start(np.arange(args.seeds))
    for rate in args.rates:
        began = time.perf_counter()
        found = jax.block_until_ready(train(rate, carry, splits))
        curves = dict(zip(("train", "lost", "valid", "test"), found, strict=True))
        yield {
            **key_of(problem.name, name, setting, rate),
            "steps": steps,
            "bytes": bytes_a_parameter(carry),
            **{key: store.rounded(np.asarray(x)) for key, x in curves.items()},
            "seconds_together": round(time.perf_counter() - began, 1),
            "machine": machine.summary(),
        }


def key_of(problem: str, optimizer: str, setting: str, rate: float) -> store.Record:
    """Returns what a record is found by."""
    return {"problem": problem, "optimizer": optimizer, "setting": setting} | {
        "rate": rate
    }


def spread(values: Any, digits: int) -> str:
    """Returns the mean and the standard deviation over the seeds."""
    known = np.array([np.nan if x is None else x for x in values])
    return f"{known.mean():.{digits}f} ± {known.std(ddof=1):.{digits}f}"


def print_table(problem: Problem, optimizer: str, found: list[store.Record]) -> None:
    """Prints a row for every learning rate and setting."""
    digits = 2 if problem.larger_is_better else 3
    print(f"\n{problem.title}, {OPTIMIZERS[optimizer].label}: {problem.metric}")
    print(f"{found[0]['machine']}; {found[0]['steps']} steps")
    row = "{:<8}{:<14}{:>6}{:>18}{:>18}{:>8}".format
    print(row("rate", "setting", "bytes", "test", "validation", "lost"))
    for record in sorted(found, key=lambda r: r["rate"]):
        valid = [curve[-1] for curve in record["valid"]]
        lost = (
            "" if record["setting"] == "float32" else f"{np.mean(record['lost']):.1%}"
        )
        numbers = spread(record["test"], digits), spread(valid, digits)
        names = f"{record['rate']:g}", record["setting"]
        print(row(*names, f"{record['bytes']:.1f}", *numbers, lost))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this benchmark."""
    add = parser.add_argument
    some = {
        "problem": (PROBLEMS, list(PROBLEMS)),
        "optimizer": (OPTIMIZERS, ["adabelief"]),
        "rates": (tuple(map(str, RATES)), list(map(str, RATES))),
    }
    for option, (known, default) in some.items():
        words = f"{cli.one_or_more(known)}; default {','.join(default)}"
        add(f"--{option}", type=cli.names(known), default=default, help=words)
    words = "at least 2; default %(default)s"
    add("--seeds", type=cli.integer(2), default=10, help=words)
    words = "default benchmarks/results; smoke: smoke-output"
    add("--results", type=cli.folder, help=words)
    words = "the digits, one learning rate, two seeds, few steps, for a test"
    add("--smoke", action="store_true", help=words)


def run(args: argparse.Namespace) -> None:
    """Trains what has no record yet, and prints the tables."""
    args.rates = [float(rate) for rate in args.rates]
    args.results = args.results or (SMOKE_RESULTS if args.smoke else store.RESULTS)
    if args.smoke:
        args.problem, args.rates, args.seeds = ["digits"], [1e-3], 2
    for problem in map(problems().get, args.problem):
        path = store.path_of(args.results, "bfloat16", problem.name)
        for name in args.optimizer:
            complete(problem, name, path, args)
            mine = {"optimizer": name}.items()
            print_table(
                problem, name, [r for r in store.read(path) if mine <= r.items()]
            )


def complete(problem: Problem, name: str, path: Path, args: argparse.Namespace) -> None:
    """Trains the settings of an optimizer that have not trained at all rates."""
    splits = None
    for setting in tqdm(SETTINGS, desc=f"{problem.name}, {name}"):
        known = [r | {} for r in store.read(path)]
        missing = argparse.Namespace(**vars(args))
        missing.rates = [
            rate
            for rate in args.rates
            if not any(
                key_of(problem.name, name, setting, rate).items() <= r.items()
                for r in known
            )
        ]
        if not missing.rates:
            continue
        splits = splits or problem.load()
        for record in records(problem, name, setting, splits, missing):
            store.append(path, [record])
