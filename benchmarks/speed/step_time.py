"""What does one optimizer step cost, beside optax.adam's?

The parameters are the arrays of a transformer, or many small ones. All optimizers
are timed in turn in every round, so that whatever else the machine does slows them
alike. PyTorch's join where they are installed.
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
from benchmarks.speed.cases import REFERENCE, TIMED, least_bytes
from benchmarks.speed.output import add_shared_arguments, print_table, write
from benchmarks.speed.parameters import (
    in_dtype,
    random_tree,
    small_arrays,
    transformer,
)
from benchmarks.speed.step_table import print_remarks, print_setting, table
from benchmarks.speed.steps import Step, compile_steps, start
from benchmarks.timing import Runner, Samples, on_cpu, quartiles, step_seconds

NAMES = (*TIMED, *torch_peers.PEERS)
PAIRS = (
    ("optax.adabelief", "adabelief"),
    ("aida-loop", "aida"),
    ("aida-k8", "aida"),
)
COPIES = 30


def start_all(
    names: list[str], steps: dict[str, Step], shapes: Any
) -> dict[str, Runner]:
    """Returns those of the optimizers that run here."""
    # The gradients of all that have the same dtype are the same arrays.
    dtypes = {TIMED[name].dtype for name in names if name in TIMED}
    drawn = {x: [random_tree(i, in_dtype(shapes, x)) for i in (0, 1)] for x in dtypes}
    runners = {}
    for name in names:
        if name in TIMED:
            case = TIMED[name]
            runners[name] = start(case.tx, steps[name], *drawn[case.dtype])
        elif runner := torch_peers.start(name, jax.tree.leaves(shapes)):
            runners[name] = runner
    return runners


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


def summary(samples: Samples, name: str, reference: str) -> dict[str, Any]:
    """Returns seconds and, within each round, their ratio to the reference's."""
    return {
        "seconds": quartiles(samples[name]),
        "ratio": quartiles(samples[name] / samples[reference]),
    }


def setting(shapes: Any, runners: dict[str, Runner]) -> dict[str, Any]:
    """Returns what is timed, and on what."""
    leaves = jax.tree.leaves(shapes)
    packages = ["jax", "jaxlib", "optax", "numpy"]
    if runners.keys() & torch_peers.PEERS.keys():
        packages.append("torch")
    versions = {"Python": platform.python_version(), **machine.versions(*packages)}
    return {
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu": machine.processor(),
        "cores": os.cpu_count(),
        "backend": jax.default_backend(),
        "device": jax.devices()[0].device_kind,
        "versions": versions,
        "parameters": sum(leaf.size for leaf in leaves),
        "arrays": len(leaves),
    }


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Returns what is timed, and the numbers of each optimizer and of some pairs."""
    # Before anything is compiled: JAX asks only once whether it may read from disk.
    jax.config.update("jax_enable_compilation_cache", False)
    if args.small_arrays:
        shapes = small_arrays(args.small_arrays)
    else:
        shapes = transformer(args.parameters, args.width)
    names = args.optimizers
    txs = {name: TIMED[name].tx for name in names if name in TIMED}
    in_dtypes = {name: in_dtype(shapes, TIMED[name].dtype) for name in txs}
    compiling, compiled = compile_steps(txs, in_dtypes, args.compilations)
    runners = start_all(names, compiled, shapes)
    steps, issuing = step_seconds(runners, args.steps)
    results = setting(shapes, runners)
    results["copy_bytes_per_second"] = None if on_cpu() else copy_bandwidth()
    results["optimizers"] = {
        name: {
            "step": summary(steps, name, REFERENCE),
            "compile": summary(compiling, name, REFERENCE) if name in txs else None,
            "state_bytes_per_parameter": runner.state_bytes / results["parameters"],
            "issuing_share": float(np.median(issuing[name])),
            "least_bytes_per_parameter": bytes_to_move(name),
        }
        for name, runner in runners.items()
    }
    results["pairs"] = {
        f"{slow} / {fast}": summary(steps, slow, fast)["ratio"]
        for slow, fast in PAIRS
        if slow in runners and fast in runners
    }
    return results


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this benchmark."""
    add, count = parser.add_argument, cli.integer(1)
    words = "at least so many, in whole blocks (default %(default)s)"
    add("--parameters", type=count, default=30_000_000, help=words)
    words = "of the model (default %(default)s)"
    add("--width", type=count, default=512, help=words)
    words = "N arrays of 64 to 1,152 entries, in place of a transformer's"
    add("--small-arrays", type=count, metavar="N", help=words)
    words = "rounds in which each is timed (default %(default)s)"
    add("--steps", type=count, default=31, help=words)
    words = "of each step (default %(default)s)"
    add("--compilations", type=count, default=5, help=words)
    add_shared_arguments(parser, NAMES, remark=f"; {REFERENCE} always runs")


def run(args: argparse.Namespace) -> None:
    """Times compilations and steps, and prints the table."""
    args.optimizers = list(dict.fromkeys([REFERENCE, *args.optimizers]))
    if args.smoke:
        args.parameters, args.width, args.steps, args.compilations = 1, 16, 3, 1
        args.small_arrays = args.small_arrays and min(args.small_arrays, 8)
    results = measure(args)
    print_setting(results)
    print_table(table(results))
    print_remarks(results, args)
    write(results, args.json)
