"""What does one optimizer step cost, beside optax.adam's?

The parameters are the arrays of a transformer, or many small ones. All optimizers
are timed in turn in every round, so that whatever else the machine does slows them
alike. PyTorch's join where they are installed.
"""

import argparse
import json
import math
import os
import platform
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
    Step,
    random_tree,
    small_arrays,
    start,
    transformer,
)
from benchmarks.timing import (
    STEPS_AT_ONCE,
    compile_steps,
    copy_bandwidth,
    on_cpu,
    step_seconds,
    summary,
)

NAMES = (*CONTENDERS, *torch_peers.PEERS)
LEAST_BYTES = {name: contender.least_bytes for name, contender in CONTENDERS.items()}
LEAST_BYTES |= {name: least for name, (_, least) in torch_peers.PEERS.items()}
REMARKS = """
Median (lower-upper quartile).
step: `update` and `apply_updates` in one jitted call, parameters and state donated;
    rounds of all optimizers, each in another order: {steps}.
/: the ratio within a round, which is robust against what slows a whole round.
compile: tracing, lowering and XLA's compilation of that call, from empty caches,
    rounds: {compilations}.
state: bytes a parameter, the step count left out.
PyTorch's optimizers run `step()`, with gradients in place and nothing compiled.
A name is an import path, or one of adabelief_optax; aida-k8 is Aida with k=8, the
others have k=2, and aida-loop is Aida as published, K rounds of projections.
"""
GPU_REMARKS = """step: {at_once} in a row, so that one runs while the next is issued.
of copy: the bytes that the method must move, at the rate of a copy on this device,
    {terabytes:.2f} TB/s read and written; as a share of the step's time."""
PAIRS = (
    ("optax.adabelief", "adabelief"),
    ("aida-loop", "aida"),
    ("aida-k8", "aida"),
)


def start_all(
    names: list[str], steps: dict[str, Step], shapes: Any
) -> dict[str, Runner]:
    """Returns those of the optimizers that run here."""
    params, grads = random_tree(0, shapes), random_tree(1, shapes)
    runners = {}
    for name in names:
        if name in CONTENDERS:
            runners[name] = start(CONTENDERS[name].tx, steps[name], params, grads)
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
    if args.small_arrays:
        shapes = small_arrays(args.small_arrays)
    else:
        shapes = transformer(args.parameters, args.width)
    txs = {name: CONTENDERS[name].tx for name in args.optimizers if name in CONTENDERS}
    compiling, compiled = compile_steps(txs, shapes, args.compilations)
    runners = start_all(args.optimizers, compiled, shapes)
    steps, issuing = step_seconds(runners, args.steps)
    results = setting(shapes, runners)
    results["copy_bytes_per_second"] = None if on_cpu() else copy_bandwidth()
    results["optimizers"] = {
        name: {
            "step": summary(steps, name, REFERENCE),
            "compile": summary(compiling, name, REFERENCE) if name in txs else None,
            "state_bytes_per_parameter": runner.state_bytes / results["parameters"],
            "issuing_share": float(np.median(issuing[name])),
            "least_bytes_per_parameter": LEAST_BYTES[name],
        }
        for name, runner in runners.items()
    }
    results["pairs"] = {
        f"{slow} / {fast}": summary(steps, slow, fast)["ratio"]
        for slow, fast in PAIRS
        if slow in runners and fast in runners
    }
    return results


def print_setting(results: dict[str, Any]) -> None:
    """Prints the hardware, the versions and the parameters."""
    line = "{platform}, {cpu}, {cores} cores; JAX on {backend} ({device})"
    print(line.format(**results))
    print(", ".join(f"{name} {text}" for name, text in results["versions"].items()))
    print("{parameters:,} parameters in {arrays} arrays, float32\n".format(**results))


def spread(numbers: dict[str, float], unit: float = 1.0) -> str:
    """Returns the median and the quartiles, to three digits of the median."""
    digits = max(0, 2 - math.floor(math.log10(numbers["median"] / unit)))
    text = {key: f"{value / unit:.{digits}f}" for key, value in numbers.items()}
    return "{median} ({lower}-{upper})".format(**text)


def bandwidth_share(results: dict[str, Any], numbers: dict[str, Any]) -> str:
    """Returns how near a step comes to a copy of the bytes that it must move."""
    if (least := numbers["least_bytes_per_parameter"]) is None:
        return ""
    rate = least * results["parameters"] / numbers["step"]["seconds"]["median"]
    return f"{rate / results['copy_bytes_per_second']:.0%}"


def table(results: dict[str, Any]) -> list[list[str]]:
    """Returns the head and a row for each optimizer."""
    beside = f"/ {REFERENCE}"
    rows = [["optimizer", "step, ms", beside, "compile, s", beside, "state"]]
    for name, numbers in results["optimizers"].items():
        step, compiling = numbers["step"], numbers["compile"]
        row = [name, spread(step["seconds"], 1e-3), spread(step["ratio"])]
        row += map(spread, compiling.values()) if compiling else ["", ""]
        rows.append([*row, f"{numbers['state_bytes_per_parameter']:.3g}"])
    if results["copy_bytes_per_second"]:
        rows[0].append("of copy")
        for row, numbers in zip(rows[1:], results["optimizers"].values(), strict=True):
            row.append(bandwidth_share(results, numbers))
    return rows


def print_table(rows: list[list[str]]) -> None:
    """Prints aligned columns, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        print("   ".join([row[0].ljust(widths[0]), *cells[1:]]).rstrip())


def print_remarks(results: dict[str, Any], args: argparse.Namespace) -> None:
    """Prints the pairs, and what the columns count."""
    print()
    for pair, ratio in results["pairs"].items():
        print(f"step of {pair}: {spread(ratio)}")
    print(REMARKS.format(steps=args.steps, compilations=args.compilations))
    if left_out := set(args.optimizers) - results["optimizers"].keys():
        print("left out, not installed for this device:", ", ".join(sorted(left_out)))
    if (bandwidth := results["copy_bytes_per_second"]) is None:
        return
    print(GPU_REMARKS.format(terabytes=bandwidth / 1e12, at_once=STEPS_AT_ONCE))
    slow = [k for k, v in results["optimizers"].items() if v["issuing_share"] > 0.8]
    if slow:
        print("issued no faster than run (take a larger --width):", ", ".join(slow))


def integer(text: str) -> int:
    """An argparse type: a number of something."""
    if text.isdecimal() and int(text) > 0:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r}; allowed is an integer >= 1")


def optimizer_names(text: str) -> list[str]:
    """An argparse type: names, separated by commas. The reference always runs."""
    names = [name.strip() for name in text.split(",")]
    if unknown := [name for name in names if name not in NAMES]:
        allowed = ", ".join(NAMES)
        raise argparse.ArgumentTypeError(f"{unknown}; allowed are {allowed}")
    return list(dict.fromkeys([REFERENCE, *names]))


def json_path(text: str) -> Path:
    """An argparse type: a file in a folder that exists."""
    path = Path(text)
    if path.is_dir() or not path.parent.is_dir():
        allowed = "allowed is a file in a folder that exists"
        raise argparse.ArgumentTypeError(f"{text!r}; {allowed}")
    return path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this benchmark."""
    parser.add_argument(
        "--parameters",
        type=integer,
        default=30_000_000,
        help="at least so many, in whole blocks (default %(default)s)",
    )
    parser.add_argument(
        "--width", type=integer, default=512, help="of the model (default %(default)s)"
    )
    parser.add_argument(
        "--small-arrays",
        type=integer,
        metavar="N",
        help="N arrays of 64 to 1,152 entries, in place of a transformer's",
    )
    parser.add_argument(
        "--steps",
        type=integer,
        default=31,
        help="rounds in which each is timed (default %(default)s)",
    )
    parser.add_argument(
        "--compilations",
        type=integer,
        default=5,
        help="of each step (default %(default)s)",
    )
    parser.add_argument(
        "--optimizers",
        type=optimizer_names,
        default=",".join(NAMES),
        help=f"some of {', '.join(NAMES)} (default all); {REFERENCE} always runs",
        metavar="NAME,NAME",
    )
    parser.add_argument("--json", type=json_path, help="write all numbers to this file")
    parser.add_argument(
        "--smoke", action="store_true", help="as small as can be, for a test"
    )


def run(args: argparse.Namespace) -> None:
    """Times compilations and steps, and prints the table."""
    if args.smoke:
        args.parameters, args.width, args.steps, args.compilations = 1, 16, 3, 1
    results = measure(args)
    print_setting(results)
    print_table(table(results))
    print_remarks(results, args)
    if args.json:
        args.json.write_text(json.dumps(results, indent=2) + "\n")
