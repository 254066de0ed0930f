"""What does one optimizer step cost, beside optax.adam's?

The parameters are the arrays of a transformer. All optimizers are timed in turn in
every round, so that whatever else the machine does slows them alike. PyTorch's join
where they are installed.
"""

import argparse
import json
import os
import platform
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks import torch_peers
from benchmarks.contenders import (
    CONTENDERS,
    REFERENCE,
    Runner,
    random_tree,
    start,
    transformer,
)
from benchmarks.timing import (
    STEPS_AT_ONCE,
    compile_seconds,
    copy_bandwidth,
    on_cpu,
    quartiles,
    step_seconds,
)

NAMES = (*CONTENDERS, *torch_peers.PEERS)
LEAST_BYTES = {name: contender.least_bytes for name, contender in CONTENDERS.items()}
LEAST_BYTES |= {name: least for name, (_, least) in torch_peers.PEERS.items()}
PAIRS = (
    ("optax.adabelief", "adabelief"),
    ("aida-loop", "aida"),
    ("aida-k8", "aida"),
)


def start_all(names: list[str], shapes: Any) -> dict[str, Runner]:
    """Returns those of the optimizers that run here."""
    params, grads = random_tree(0, shapes), random_tree(1, shapes)
    runners = {}
    for name in names:
        if name in CONTENDERS:
            runners[name] = start(CONTENDERS[name].tx, params, grads)
        elif runner := torch_peers.start(name, jax.tree.leaves(shapes)):
            runners[name] = runner
    return runners


def cpu_name() -> str:
    """Returns the model of the processor."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.split(":")[1] for line in lines if line.startswith("model name")]
    return (models or [platform.processor() or platform.machine()])[0].strip()


def setting(shapes: Any, runners: dict[str, Runner]) -> dict[str, Any]:
    """Returns what is timed, and on what."""
    leaves = jax.tree.leaves(shapes)
    versions = {name: version(name) for name in ("jax", "jaxlib", "optax", "numpy")}
    if runners.keys() & torch_peers.PEERS.keys():
        versions["torch"] = version("torch")
    return {
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "backend": jax.default_backend(),
        "device": jax.devices()[0].device_kind,
        "versions": {"Python": platform.python_version(), **versions},
        "parameters": sum(leaf.size for leaf in leaves),
        "arrays": len(leaves),
    }


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Returns what is timed, and the numbers of each optimizer and of some pairs."""
    # Before anything is compiled: JAX asks only once whether it may read from disk.
    jax.config.update("jax_enable_compilation_cache", False)
    shapes = transformer(args.parameters, args.width)
    txs = {name: CONTENDERS[name].tx for name in args.optimizers if name in CONTENDERS}
    compiling = compile_seconds(txs, shapes, args.compilations)
    runners = start_all(args.optimizers, shapes)
    steps, issuing = step_seconds(runners, args.steps)
    results = setting(shapes, runners)
    results["copy_bytes_per_second"] = None if on_cpu() else copy_bandwidth()
    results["optimizers"] = {
        name: {
            "step": summary(steps, name, REFERENCE),
            "compile": summary(compiling, name, REFERENCE) if name in txs else None,
            "state_bytes_per_parameter": runner.state_bytes / results["parameters"],
            "issuing_share": float(np.median(issuing[name])),
        }
        for name, runner in runners.items()
    }
    results["pairs"] = {
        f"{slow} / {fast}": summary(steps, slow, fast)["ratio"]
        for slow, fast in PAIRS
        if slow in runners and fast in runners
    }
    return results


def add_bandwidth_shares(results: dict[str, Any]) -> None:
    """Compares the bytes that a step must move with those a copy moves in its time."""
    for name, numbers in results["optimizers"].items():
        if least := LEAST_BYTES[name]:
            moved = least * results["parameters"]
            copied = results["copy_bytes_per_second"] * numbers["step"]["seconds"]["median"]
            numbers["bandwidth_share"] = moved / copied


def spread(numbers: dict[str, float] | None, unit: float = 1.0) -> str:
    """Returns the median and, in brackets, the quartiles."""
    if numbers is None:
        return "-"
    scaled = {key: f"{value / unit:.3g}" for key, value in numbers.items()}
    return "{median} ({lower}-{upper})".format(**scaled)


def print_setting(results: dict[str, Any], left_out: list[str]) -> None:
    """Prints the hardware, the versions and the parameters."""
    print("{platform}, {cpu}, {cores} cores; JAX on {backend}: {device}".format(**results))
    print(", ".join(f"{name} {text}" for name, text in results["versions"].items()))
    print("{parameters:,} parameters in {arrays} arrays, float32".format(**results))
    if left_out:
        print("left out, not installed for this device:", ", ".join(left_out))


def rows(results: dict[str, Any]) -> list[list[str]]:
    """Returns the table: its head and a line for each optimizer."""
    table = [["optimizer", "step, ms", "/ adam", "compile, s", "/ adam", "state"]]
    with_share = results["copy_bytes_per_second"] is not None
    table[0] += ["copy %"] * with_share
    for name, numbers in results["optimizers"].items():
        compiling = numbers["compile"] or {"seconds": None, "ratio": None}
        row = [name, spread(numbers["step"]["seconds"], 1e-3)]
        row += [spread(numbers["step"]["ratio"])]
        row += [spread(compiling["seconds"]), spread(compiling["ratio"])]
        row += [f"{numbers['state_bytes_per_parameter']:.3g}"]
        ...
    return table
