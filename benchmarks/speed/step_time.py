"""What does a training step cost, and the optimizer's part of it, beside optax.adam's?

First the whole step is timed, gradients included, of a small Transformer and of a
convolutional net, each with batches of three sizes. Then the update alone, on the
arrays of a larger Transformer or on many small ones. All optimizers are timed in turn
in every round, so that whatever else the machine does slows them alike. PyTorch's join
in the updates where they are installed.
"""

import argparse
import time
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import cli, machine
from benchmarks.speed import torch_peers
from benchmarks.speed.cases import REFERENCE, TIMED, WHOLE, least_bytes
from benchmarks.speed.models import SCALE, Model, models
from benchmarks.speed.output import add_shared_arguments, write
from benchmarks.speed.parameters import in_dtype, random_tree, small_arrays, transformer
from benchmarks.speed.step_table import print_updates, print_whole_steps
from benchmarks.speed.steps import compile_in_turn, jitted_step, shapes, start
from benchmarks.timing import Runner, Samples, on_cpu, quartiles, step_seconds

NAMES = (*TIMED, *torch_peers.PEERS)
COMPILATIONS = 3
COPIES = 30


def copy_bandwidth(count: int = 2**28) -> float:
    """Returns the bytes per second, read and written, of copies of a large array."""
    copy = jax.jit(jnp.copy)
    x = jax.block_until_ready(copy(jnp.ones(count, jnp.float32)))
    began = time.perf_counter()
    for _ in range(COPIES):
        x = copy(x)
    jax.block_until_ready(x)
    return 2 * x.nbytes * COPIES / (time.perf_counter() - began)


def summary(samples: Samples, name: str) -> dict[str, Any]:
    """Returns seconds and, within each round, their ratio to Adam's."""
    return {
        "seconds": quartiles(samples[name]),
        "ratio": quartiles(samples[name] / samples[REFERENCE]),
    }


def bytes_to_move(name: str) -> int:
    """Returns the bytes per parameter that a step must move."""
    if name in torch_peers.PEERS:
        return torch_peers.PEERS[name][1]
    return least_bytes(TIMED[name])


def size(tree: Any) -> dict[str, int]:
    """Returns how many parameters there are, in how many arrays."""
    leaves = jax.tree.leaves(tree)
    return {"parameters": sum(leaf.size for leaf in leaves), "arrays": len(leaves)}


def whole_step(
    model: Model, count: int, names: list[str], rounds: int
) -> dict[str, Any]:
    """Returns the seconds of whole steps on batches of so many examples."""
    params, batch = random_tree(0, model.shapes, SCALE), model.batch(count)
    runners = {}
    for name in names:
        tx = WHOLE[name].tx
        runners[name] = start(tx, jitted_step(tx, jax.grad(model.loss)), params, batch)
    samples, _ = step_seconds(runners, rounds)
    return {name: summary(samples, name) for name in names}


def whole_steps(args: argparse.Namespace) -> dict[str, Any]:
    """Returns the seconds of whole steps, by model and by size of the batch."""
    names, found = [name for name in args.optimizers if name in WHOLE], {}
    for name, model in models(not on_cpu(), args.smoke).items():
        batches = {x: whole_step(model, x, names, args.steps) for x in model.sizes}
        found[name] = size(model.shapes) | {"batches": batches}
    return found


def start_all(names: list[str], steps: dict[str, Any], tree: Any) -> dict[str, Runner]:
    """Returns those of the optimizers that run here, ready to update."""

    @cache  # the gradients of all that have the same dtype are the same arrays
    def draw(dtype: Any) -> list[Any]:
        return [random_tree(seed, in_dtype(tree, dtype)) for seed in (0, 1)]

    runners = {
        name: start(TIMED[name].tx, step, *draw(TIMED[name].dtype))
        for name, step in steps.items()
    }
    for name in [name for name in names if name in torch_peers.PEERS]:
        if runner := torch_peers.start(name, jax.tree.leaves(tree)):
            runners[name] = runner
    return runners


def updates(args: argparse.Namespace) -> dict[str, Any]:
    """Returns what an update costs with each optimizer that runs here."""
    if args.small_arrays:
        tree = small_arrays(8 if args.smoke else args.small_arrays)
    else:
        tree = transformer(*((0, 16) if args.smoke else (8, 512)))
    calls = {}
    for name in [name for name in args.optimizers if name in TIMED]:
        tx, of_dtype = TIMED[name].tx, in_dtype(tree, TIMED[name].dtype)
        calls[name] = jitted_step(tx), shapes(tx, of_dtype)
    compiling, steps = compile_in_turn(calls, 1 if args.smoke else COMPILATIONS)
    runners = start_all(args.optimizers, steps, tree)
    samples, issuing = step_seconds(runners, args.steps)
    results: dict[str, Any] = size(tree)
    results["optimizers"] = {
        name: {
            "step": summary(samples, name),
            "compile": summary(compiling, name) if name in steps else None,
            "state_bytes_per_parameter": runner.state_bytes / results["parameters"],
            "issuing_share": float(np.median(issuing[name])),
            "least_bytes_per_parameter": bytes_to_move(name),
        }
        for name, runner in runners.items()
    }
    return results


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this benchmark."""
    add, count = parser.add_argument, cli.integer(1)
    words = "the update alone, on N arrays of 64 to 1,152 entries"
    add("--small-arrays", type=count, metavar="N", help=words)
    words = "rounds in which each is timed (default %(default)s)"
    add("--steps", type=count, default=31, help=words)
    add_shared_arguments(parser, NAMES)


def run(args: argparse.Namespace) -> None:
    """Times whole steps, compilations and updates, and prints two tables."""
    if args.smoke:
        args.steps = 3
    # Before anything is compiled: JAX asks only once whether it may read from disk.
    jax.config.update("jax_enable_compilation_cache", False)
    results: dict[str, Any] = {
        "machine": machine.summary(),
        "cpu": machine.processor(),  # also where JAX runs on a GPU
        "versions": machine.versions("jax", "jaxlib", "optax", "numpy", "torch"),
        "copy_bytes_per_second": None if on_cpu() else copy_bandwidth(),
    }
    print("{machine}; {cpu}".format(**results))
    if not args.small_arrays:
        results["whole_steps"] = whole_steps(args)
        write(results, args.json)  # the rest may take minutes
        print_whole_steps(results["whole_steps"])
    results |= updates(args)
    print_updates(results, args)
    write(results, args.json)
