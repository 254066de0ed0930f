"""Do the entries of an array round apart, with and without their position in the hash?

The random bits of stochastic rounding are a hash of an entry's numbers (of a moment: of
both old moments and the gradient) and of the count of steps. For parameters the entry's
position is added, for moments it is not. Here both are rounded both ways, along the
same trainings.

variance  of the sum of a layer's rounding errors, beside that of as many independent
          ones: 1 if the entries round apart, their number if all of one size round
          alike, less than 1 if they balance each other. In units of the last bit ("in
          bits") small entries weigh as much as large ones.
mean s    the error of the mean of s over 10,000 entries, of that mean, whose gradients
          are independent, or the same in all entries
"""

import argparse
import json
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from adabelief_optax import _rounding as private  # what it asks about is not public
from adabelief_optax import adabelief, stochastic_rounding
from benchmarks import cli, machine, store
from benchmarks.precision import double_precision
from benchmarks.suite.problem import Problem
from benchmarks.suite.problems import problems

PROBLEMS = ("digits", "char-transformer")
RATE, B1, B2, EPS = 1e-3, 0.9, 0.999, 1e-16
LOW: Any = {"mu_dtype": "bfloat16", "nu_dtype": "bfloat16"}
ENTRIES, STEPS = 10_000, 2000
NUMBERS = ("p", "m", "s")
UNITS = ("in bits", "in size")
WAYS = ("without position", "with position")


def placed(bits: jax.Array, position: bool) -> jax.Array:
    """Returns the random bits of an array's entries, with their position or without."""
    return bits + private._by_position(bits) if position else bits


def rounded(x: jax.Array, bits: jax.Array) -> jax.Array:
    """Returns x, rounded to a number of bfloat16."""
    return private.stochastic_round(x, jnp.bfloat16, bits)


def next_moments(mu: Any, nu: Any, g: Any) -> tuple[jax.Array, jax.Array]:
    """Returns m and s before they are rounded."""
    mu, nu, g = (x.astype(jnp.float32) for x in (mu, nu, g))
    m = B1 * mu + (1 - B1) * g
    return m, B2 * nu + ((1 - B2) * (g - m) ** 2 + EPS)


def squares(x: jax.Array, bits: jax.Array) -> jax.Array:
    """Returns the square of the sum of errors, and what it is if independent.

    In units of the last bit, then of the layer's largest: [unit, 2].
    """
    y = rounded(x, bits)
    gap = jnp.ldexp(jnp.float32(1), jnp.frexp(x)[1] - 8)
    part = jnp.abs(x) / gap - jnp.floor(jnp.abs(x) / gap)
    error = jnp.where(x == 0, 0.0, (y - x) / gap)
    in_bits = jnp.stack([jnp.sum(error) ** 2, jnp.sum(part * (1 - part))])
    scale = gap / jnp.max(gap)
    size = [jnp.sum(error * scale) ** 2, jnp.sum(part * (1 - part) * scale**2)]
    # The largest weighs 1 in every step, so that all steps count alike.
    return jnp.stack([in_bits, jnp.stack(size)])


def of_layer(t: Any, p: Any, u: Any, mu: Any, nu: Any, g: Any) -> jax.Array:
    """Returns the squares of p, m and s, both ways: [number, way, unit, 2]."""
    m, s = next_moments(mu, nu, g)
    bits_of_s = private.moment_bits(t, s, m)
    new_nu = rounded(s, bits_of_s)
    numbers = {
        "p": (
            p.astype(jnp.float32) + u.astype(jnp.float32),
            private.random_bits(p, u, t),
        ),
        "m": (m, private.moment_bits(t, m, new_nu)),
        "s": (s, bits_of_s),
    }
    return jnp.stack(
        [
            jnp.stack([squares(x, placed(bits, way)) for way in (False, True)])
            for x, bits in numbers.values()
        ]
    )


def along_training(problem: Problem, seeds: int, steps: int) -> dict[str, Any]:
    """Returns the ratios of variances of each layer, all in bfloat16."""
    splits = problem.load()
    schedule = optax.cosine_decay_schedule(RATE, problem.steps)
    tx = adabelief(schedule, B1, B2, EPS, EPS, **LOW)
    link = stochastic_rounding()

    def train(seed: Any) -> Any:
        draw, follow = jax.random.split(jax.random.key(seed))
        params = optax.tree.cast(problem.init(draw), jnp.bfloat16)
        carry = params, tx.init(params), link.init(params), follow

        def step(carry: Any, _: None) -> tuple[Any, Any]:
            params, state, rounding, key = carry
            key, draw, noise = jax.random.split(key, 3)
            batch = problem.batch(splits.train, draw)
            grads = jax.grad(problem.loss)(params, batch, noise)
            updates, new = tx.update(grads, state, params)
            old = (optax.tree.get(state, name) for name in ("mu", "nu"))
            count = rounding.count.astype(jnp.uint32) + 1
            arrays = params, updates, *old, grads
            found = jax.tree.map(partial(of_layer, count), *arrays)
            updates, rounding = link.update(updates, rounding, params)
            params = optax.apply_updates(params, updates)
            return (params, new, rounding, key), found

        found = jax.lax.scan(step, carry, length=steps)[1]
        return jax.tree.map(lambda x: x.sum(0), found)

    # One after the other, since a machine's memory is what many at once take.
    sums = jax.jit(lambda seeds: jax.lax.map(train, seeds))(np.arange(seeds))
    sizes = jax.tree.map(
        lambda x: x.size, jax.eval_shape(problem.init, jax.random.key(0))
    )
    layers = {}
    for (path, x), size in zip(
        jax.tree.leaves_with_path(sums), jax.tree.leaves(sizes), strict=True
    ):
        ratios = np.asarray(x).sum(0)
        ratios = ratios[..., 0] / np.maximum(ratios[..., 1], 1e-30)
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        layers[name] = {"entries": size} | {
            unit: dict(zip(NUMBERS, store.rounded(ratios[..., i]), strict=True))
            for i, unit in enumerate(UNITS)
        }
    return {"seeds": seeds, "steps": steps, "learning rate": RATE, "layers": layers}


def mean_errors(together: bool, position: bool, steps: int) -> np.ndarray:
    """Returns the error of the mean of s at each step, relative to it."""

    def step(carry: Any, key: Any) -> tuple[Any, jax.Array]:
        t, mu, nu, exact = carry
        t += 1
        shape = (1,) if together else (ENTRIES,)
        g = jnp.broadcast_to(jax.random.normal(key, shape, jnp.float32), ENTRIES)
        m, s = next_moments(mu, nu, g)
        exact = next_moments(*exact, g)
        nu = rounded(s, placed(private.moment_bits(t, s, m), position))
        mu = rounded(m, placed(private.moment_bits(t, m, nu), position))
        mu, nu = mu.astype(jnp.bfloat16), nu.astype(jnp.bfloat16)
        mean = jnp.mean(exact[1].astype(float))
        error = jnp.mean(nu.astype(float) - exact[1].astype(float))
        return (t, mu, nu, exact), error / mean

    zeros = jnp.zeros(ENTRIES, jnp.bfloat16)
    start = jnp.uint32(0), zeros, zeros, (jnp.zeros(ENTRIES, jnp.float32),) * 2
    keys = jax.random.split(jax.random.key(0), steps)
    return np.asarray(jax.jit(partial(jax.lax.scan, step))(start, keys)[1])


def of_means(steps: int) -> dict[str, Any]:
    """Returns the first, the usual and the largest error of the mean of s."""
    found = {}
    with double_precision():  # in which the mean of 10,000 entries has no error
        for together in (False, True):
            for position, way in enumerate(WAYS):
                errors = np.abs(mean_errors(together, bool(position), steps))
                kind = "the same" if together else "independent"
                found[f"{kind}, {way}"] = {
                    "first step": store.rounded(errors[0]),
                    "root mean square": store.rounded(np.sqrt(np.mean(errors**2))),
                    "largest": store.rounded(errors.max()),
                }
    return found


def print_results(results: dict[str, Any]) -> None:
    """Prints the variances of each layer, then the errors of means."""
    print(results["machine"])
    columns = [f"{x}, {way.split()[0]}" for x in NUMBERS for way in WAYS]
    for name, training in results["trainings"].items():
        print("\n{}: seeds {seeds}, steps {steps}".format(name, **training))
        for unit in UNITS:
            title = f"variance {unit}"
            print(f"{title:24}{'entries':>8}", *(f"{c:>11}" for c in columns))
            for layer, found in training["layers"].items():
                ratios = [x for number in NUMBERS for x in found[unit][number]]
                numbers = (f"{x:>11.3g}" for x in ratios)
                print(f"{layer:24}{found['entries']:>8}", *numbers)
    print(f"\nmean s of {ENTRIES} entries, {results['steps of means']} steps")
    for name, errors in results["means"].items():
        print(f"{name:30}", ", ".join(f"{k} {x:.2%}" for k, x in errors.items()))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this benchmark."""
    add = parser.add_argument
    add("--seeds", type=cli.integer(1), default=4, help="default %(default)s")
    default = store.RESULTS / "rounding.json"
    words = "where the numbers go; default benchmarks/results/rounding.json"
    add("--json", type=cli.file, default=default, help=words)
    words = "the digits, one seed, few steps, and no file, for a test"
    add("--smoke", action="store_true", help=words)


def run(args: argparse.Namespace) -> None:
    """Measures both, prints the numbers and keeps them."""
    steps, names = (5, PROBLEMS[:1]) if args.smoke else (STEPS, PROBLEMS)
    trainings = {}
    for name in names:
        problem = problems()[name]
        length = min(steps, problem.steps)
        trainings[name] = along_training(
            problem, 1 if args.smoke else args.seeds, length
        )
    results = {"machine": machine.summary(), "trainings": trainings}
    results |= {"steps of means": steps, "means": of_means(steps)}
    print_results(results)
    if not args.smoke:
        path: Path = args.json
        path.write_text(json.dumps(results, indent=1) + "\n")
