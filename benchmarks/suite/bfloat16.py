"""Do parameters in bfloat16 train as well as in float32, and what does it take?

AdaBelief trains on two problems, for a quarter of their steps, from the same ten seeds
in each of four settings. The learning rate falls to 0 by a cosine.

float32             parameters, gradients and state
plain               parameters and gradients in bfloat16, state in float32, and
                    `optax.apply_updates`, which rounds to nearest
link                the same, with `stochastic_rounding` at the end of the chain
link, state         the same, with the state in bfloat16 too

The tables have the test metric, mean ± standard deviation over the seeds, and what is
lost: the share of the updates that rounding to nearest throws away, so that p + u is p
though u is not 0. The link saves them, so that there it is what it saves.

What has trained goes to the folder of results at once, and the same command goes on
where it was stopped.
"""

import argparse
from functools import partial
from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
from jax.flatten_util import ravel_pytree
from tqdm import tqdm

from adabelief_optax import adabelief, stochastic_rounding
from benchmarks import cli, machine, store
from benchmarks.data import Splits
from benchmarks.suite.problem import Problem
from benchmarks.suite.problems import problems

PROBLEMS, RATES = ("digits", "char-transformer"), (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
SEEDS = 10
MOMENTS = {"mu_dtype": "bfloat16", "nu_dtype": "bfloat16"}
# The dtype of the parameters, the last link of the chain, and arguments of AdaBelief.
SETTINGS: dict[str, tuple[str, optax.GradientTransformation, dict[str, str]]] = {
    "float32": ("float32", optax.identity(), {}),
    "plain": ("bfloat16", optax.identity(), {}),
    "link": ("bfloat16", stochastic_rounding(), {}),
    "link, state": ("bfloat16", stochastic_rounding(), MOMENTS),
}


def share_lost(params: Any, updates: Any) -> jax.Array:
    """Returns the share of updates that are not 0 but move nothing."""
    trees = optax.apply_updates(params, updates), params, updates
    new, old, u = (ravel_pytree(tree)[0] for tree in trees)
    return jnp.sum((new == old) & (u != 0)) / jnp.maximum(jnp.sum(u != 0), 1)


@partial(jax.jit, static_argnames=("problem", "setting", "steps"))
@partial(jax.vmap, in_axes=(None, None, None, None, 0, None))
def train(
    problem: Problem, setting: str, steps: int, rate: Any, seed: Any, splits: Splits
) -> dict[str, jax.Array]:
    """Returns what each seed did, and the bytes of its parameters and moments."""
    dtype, link, arguments = SETTINGS[setting]
    schedule = optax.cosine_decay_schedule(rate, steps)
    tx = adabelief(schedule, *problem.betas, **arguments)
    draw, follow = jax.random.split(jax.random.key(seed))
    params = optax.tree.cast(problem.init(draw), dtype)

    def step(carry: Any, _: None) -> tuple[Any, Any]:
        params, state, link_state, key = carry
        key, draw, noise = jax.random.split(key, 3)
        batch = problem.batch(splits.train, draw)
        grads = jax.grad(problem.loss)(params, batch, noise)
        updates, state = tx.update(grads, state, params)
        lost = share_lost(params, updates)
        updates, link_state = link.update(updates, link_state, params)
        return (optax.apply_updates(params, updates), state, link_state, key), lost

    carry = params, tx.init(params), link.init(params), follow
    kept = [x for x in jax.tree.leaves(carry[:2]) if x.ndim]  # all but the counts
    size = sum(x.nbytes for x in kept) / optax.tree.size(params)
    (params, *_), lost = jax.lax.scan(step, carry, length=steps)
    test = problem.measure(params, splits.test)
    return {"bytes": jnp.asarray(size), "lost": lost.mean(), "test": test}


def mean_and_spread(values: list[float]) -> str:
    """Returns the mean and the standard deviation over the seeds."""
    known = np.array(values, float)
    return f"{known.mean():.3f} ± {known.std(ddof=1):.3f}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the option of this benchmark."""
    words = "folder of the results"
    parser.add_argument("--results", type=cli.folder, default=store.RESULTS, help=words)


def run(args: argparse.Namespace) -> None:
    """Trains what has no record yet, and prints a table for each problem."""
    for problem in map(problems().get, PROBLEMS):
        steps, splits = problem.steps // 4, problem.load()
        path = store.path_of(args.results, "bfloat16", problem.name)
        for setting, rate in tqdm([*product(SETTINGS, RATES)], problem.name):
            key = {"problem": problem.name, "optimizer": "adabelief"}
            key |= {"setting": setting, "rate": rate, "steps": steps}
            if any(key.items() <= record.items() for record in store.read(path)):
                continue
            seeds = np.arange(SEEDS)
            found = jax.device_get(train(problem, setting, steps, rate, seeds, splits))
            found = {name: store.rounded(x) for name, x in found.items()}
            found |= {"bytes": found["bytes"][0], "machine": machine.summary()}
            store.append(path, [key | found])
        rows = pd.DataFrame(store.read(path))
        rows["test"] = rows.test.map(mean_and_spread)
        rows["lost"] = rows.lost.map(np.mean).map("{:.0%}".format)
        print(f"\n{problem.title}: {problem.metric}, {steps} steps")
        table = rows.pivot(index="rate", columns="setting", values=["test", "lost"])
        print(table.to_string())
