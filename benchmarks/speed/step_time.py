"""What does a training step cost, and the optimizer's part of it, beside optax.adam's?

First the whole step is timed, gradients included, of a small Transformer and of a
convolutional net, each with batches of three sizes. Then the update alone, on the
arrays of a larger Transformer or on many small ones. All optimizers are timed in turn
in every round, so that whatever else the machine does slows them alike. PyTorch's join
in the updates where they are installed.
"""

import argparse
import os
import platform
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import cli, machine
from benchmarks.speed import torch_peers
from benchmarks.speed.cases import REFERENCE, TIMED, WHOLE, least_bytes
from benchmarks.speed.models import SCALE, Model, models
from benchmarks.speed.output import add_shared_arguments, write
from benchmarks.speed.parameters import (
    in_dtype,
    random_tree,
    small_arrays,
    transformer,
)
from benchmarks.speed.step_table import print_updates, print_whole_steps
from benchmarks.speed.steps import Trial, compile_in_turn, jitted_step, start
from benchmarks.timing import Runner, Samples, on_cpu, quartiles, step_seconds

NAMES = (*TIMED, *torch_peers.PEERS)
PARAMETERS, WIDTH = 30_000_000, 512
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


def bytes_to_move(name: str) -> int | None:
    """Returns the bytes per parameter that a step must move; none for the loop."""
    if name in torch_peers.PEERS:
        return torch_peers.PEERS[name][1]
    return None if name == "aida-loop" else least_bytes(TIMED[name])


def summary(samples: Samples, name: str) -> dict[str, Any]:
    """Returns seconds and, within each round, their ratio to Adam's."""
    return {
        "seconds": quartiles(samples[name]),
        "ratio": quartiles(samples[name] / samples[REFERENCE]),
    }


def size(shapes: Any) -> dict[str, int]:
    """Returns how many parameters there are, in how many arrays."""
    leaves = jax.tree.leaves(shapes)
    return {"parameters": sum(leaf.size for leaf in leaves), "arrays": len(leaves)}


def setting(names: list[str]) -> dict[str, Any]:
    """Returns on what these are timed."""
    packages = ["jax", "jaxlib", "optax", "numpy"]
    if torch_peers.PEERS.keys() & set(names):
        packages.append("torch")
    versions = {"Python": platform.python_version(), **machine.versions(*packages)}
    return {
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu": machine.processor(),
        "cores": os.cpu_count(),
        "backend": jax.default_backend(),
        "device": jax.devices()[0].device_kind,
        "versions": versions,
    }


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
    names = [name for name in args.optimizers if name in WHOLE]
    return {
        name: size(model.shapes)
        | {
            "batches": {
                count: whole_step(model, count, names, args.steps)
                for count in model.sizes
            }
        }
        for name, model in models(not on_cpu(), args.smoke).items()
    }


def start_all(
    names: list[str], steps: dict[str, Any], shapes: Any
) -> dict[str, Runner]:
    """Returns those of the optimizers that run here, ready to update."""
    # The gradients of all that have the same dtype are the same arrays.
    dtypes = {TIMED[name].dtype for name in steps}
    drawn = {x: [random_tree(i, in_dtype(shapes, x)) for i in (0, 1)] for x in dtypes}
    runners = {}
    for name in names:
        if name in steps:
            case = TIMED[name]
            runners[name] = start(case.tx, steps[name], *drawn[case.dtype])
        elif runner := torch_peers.start(name, jax.tree.leaves(shapes)):
            runners[name] = runner
    return runners


def updates(args: argparse.Namespace) -> dict[str, Any]:
    """Returns what an update costs with each optimizer that runs here."""
    if args.small_arrays:
        shapes = small_arrays(min(args.small_arrays, 8 if args.smoke else 10**9))
    else:
        shapes = transformer(*((1, 16) if args.smoke else (PARAMETERS, WIDTH)))
    cases = {name: TIMED[name] for name in args.optimizers if name in TIMED}
    trials = {k: Trial(x.tx, in_dtype(shapes, x.dtype)) for k, x in cases.items()}
    compiling, steps = compile_in_turn(trials, args.compilations)
    runners = start_all(args.optimizers, steps, shapes)
    samples, issuing = step_seconds(runners, args.steps)
    results: dict[str, Any] = size(shapes)
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
    words = "of each update (default %(default)s)"
    add("--compilations", type=count, default=3, help=words)
    add_shared_arguments(parser, NAMES, remark=f"; {REFERENCE} always runs")


def run(args: argparse.Namespace) -> None:
    """Times whole steps, compilations and updates, and prints two tables."""
    args.optimizers = list(dict.fromkeys([REFERENCE, *args.optimizers]))
    if args.smoke:
        args.steps, args.compilations = 3, 1
    # Before anything is compiled: JAX asks only once whether it may read from disk.
    jax.config.update("jax_enable_compilation_cache", False)
    results = setting(args.optimizers)
    results["copy_bytes_per_second"] = None if on_cpu() else copy_bandwidth()
    if not args.small_arrays:
        results["whole_steps"] = whole_steps(args)
        write(results, args.json)  # the rest may take minutes
        print_whole_steps(results)
    results |= updates(args)
    print_updates(results, args)
    write(results, args.json)
