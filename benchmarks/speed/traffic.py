"""What does the compiled step move in a TPU's or a GPU's memory, beside the least?

An optimizer step does little arithmetic: its time is that of its memory traffic. XLA
compiles for a TPU v5e or an NVIDIA H200 on a machine that has neither, and its kernels
tell what they read and write. That is a count, not a time.
"""

import argparse
import itertools
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec, Sharding

from benchmarks import cli, machine
from benchmarks.speed import programs
from benchmarks.speed.cases import CASES
from benchmarks.speed.compilers import PACKAGES, topology
from benchmarks.speed.output import add_shared_arguments, print_table, write
from benchmarks.speed.programs import COLUMNS
from benchmarks.speed.steps import Trial, compiled, jitted_step

LAYERS = 8
# What is printed of a program, under which head.
TABLE = {
    "bytes": ("bytes_a_parameter", ".1f"),
    "least": ("least_bytes_a_parameter", "d"),
    "passes": ("passes_an_array", ".2f"),
    "kernels": ("kernels_an_array", ".2f"),
    "instr.": ("instructions_an_array", ".0f"),
    "compile": ("compile_ratio", ".2f"),
    "temporary": ("temporary_bytes_a_parameter", ".2f"),
    "peak": ("peak_bytes_a_parameter", ".1f"),
}
REMARKS = """
bytes: per parameter, read and written in the device's memory, not on the chip.
least: the step reads g, m, s, p and writes m, s, p once; the sums of a layer, which
    must be known before the step, need g and m once more.
kernels, passes: per array; passes are the kernels over a large array, and the others
    are of a few numbers per layer. instr.: XLA's instructions per array.
compile: CPU seconds of tracing, lowering and compiling, as a ratio to optax.adam's.
temporary, peak: memory of a device, bytes per parameter that it holds.
A name is an import path, or one of adabelief_optax; aida-k8 is Aida with k=8, the
others have k=2. aida-loop is Aida as published, K rounds of projections. -bf16:
parameters and gradients in bfloat16; -bf16-moments: both moments; -bf16-all: all of
them (LAdaBelief's second moment in float32), and `stochastic_rounding` as the last;
-stack-n: the array is a stack of 16 layers, which its axis n counts."""
PEAK_REMARK = f"""
{LAYERS} layers of a Transformer, split over all devices, or a single layer on one:
bytes moved and the peak of a device's memory, per parameter, and all-reduces. Programs
differ in what they donate (before the arrow) and in what order they return it
"""
PEAKS = ("optax.adam", "aida", "ladabelief")


def orders(tx: optax.GradientTransformation) -> dict[str, tuple[Any, str]]:
    """Returns jitted functions that differ in what they donate, and in what order.

    With each stands which of parameters, state and gradients it takes.
    """

    def update(grads: Any, state: Any, params: Any) -> Any:
        return tx.update(grads, state, params)

    def step(grads: Any, state: Any, params: Any) -> Any:
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    return {
        "params, state → params, state": (jitted_step(tx), "psg"),
        "state, params → params, state": (jax.jit(step, donate_argnums=(1, 2)), "gsp"),
        "state → updates, state": (jax.jit(update, donate_argnums=1), "gsp"),
        "grads, state → updates, state": (
            jax.jit(update, donate_argnums=(0, 1)),
            "gsp",
        ),
    }


def layers(tx: optax.GradientTransformation, devices: Any, width: int = 4096) -> Trial:
    """Returns layers of a Transformer, matrices split over all devices."""
    hidden, count = 43 * width // 16, LAYERS if len(devices) > 1 else 1
    shapes = [(width, width), (width, hidden), (hidden, width), (width,)] * count
    mesh = Mesh(np.array(devices), ("rows",))

    def sharding(x: Any) -> Sharding:
        rows = x.ndim == 2 and len(devices) > 1
        return NamedSharding(mesh, PartitionSpec(*["rows"] * rows))

    params = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    return Trial(tx, params, sharding)


def of_orders(name: str, devices: Any, width: int) -> dict[str, programs.Row]:
    """Returns what is counted of these functions on layers of a Transformer."""
    trial = layers(CASES[name].tx, devices, width)
    trees = dict(zip("psg", trial.arguments(), strict=True))
    return {
        order: programs.counted(
            compiled(step, tuple(trees[x] for x in takes)), trial.params, devices
        )
        for order, (step, takes) in orders(trial.tx).items()
    }


def table(found: dict[str, programs.Row]) -> list[list[str]]:
    """Returns the head and a row for each optimizer, of what is known."""
    shown = {
        head: key
        for head, (key, _) in TABLE.items()
        if any(key in x for x in found.values())
    }
    rows = [["optimizer", *shown]]
    for name, x in found.items():
        cells = [
            format(x[key], TABLE[h][1]) if key in x else "" for h, key in shown.items()
        ]
        if "not_counted" in x:
            cells[0] = f"not counted: {x['not_counted']}"
        rows.append([name, *cells])
    return rows


def table_of_orders(found: dict[str, dict[str, programs.Row]]) -> list[list[str]]:
    """Returns a row for each order, with three numbers for each optimizer."""
    heads = ("bytes_a_parameter", "peak_bytes_a_parameter", "all_reduces")
    rows = [["donated → returned", *found]]
    for order in next(iter(found.values())):
        numbers = [
            " / ".join(str(x[order].get(key, "")) for key in heads)
            for x in found.values()
        ]
        rows.append([order, *numbers])
    return rows


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this benchmark."""
    parser.add_argument("--platform", choices=("tpu", "cuda"), required=True)
    parser.add_argument(
        "--size",
        type=cli.integer(1),
        default=16384,
        help=f"rows of the array; it has {COLUMNS} columns (default %(default)s)",
    )
    parser.add_argument(
        "--compilations",
        type=cli.integer(1),
        help="how often each program is compiled, to time that; default 3, with "
        "--model, which takes long, 1",
    )
    parser.add_argument(
        "--model",
        choices=("7b",),
        help="count for a Llama of 7 B parameters instead, also split over 8 devices",
    )
    add_shared_arguments(parser, CASES)


def report(found: programs.Found, results: dict[str, Any], path: Path | None) -> None:
    """Prints a table for each tree as soon as it is known, and keeps it."""
    results["programs"] = {}
    for name, of_tree in found:
        results["programs"][name] = of_tree
        write(results, path)
        print(f"\n{name}")
        print_table(table(of_tree))
        sys.stdout.flush()
    print(REMARKS)


def run(args: argparse.Namespace) -> None:
    """Compiles every step and prints the tables."""
    jax.config.update("jax_platforms", "cpu")  # before JAX looks for other devices
    devices = topology(args.platform, eight=bool(args.model)).devices
    packages = "jax", "jaxlib", "optax", *PACKAGES[args.platform]
    results: dict[str, Any] = {
        "device": f"{devices[0].device_kind}, of {len(devices)}",
        "versions": machine.versions(*packages),
    }
    used = ", ".join(f"{name} {x}" for name, x in results["versions"].items())
    print(f"compiled for {results['device']}; {used}; parameters and state donated")
    rounds = args.compilations or (1 if args.smoke or args.model else 3)
    if args.model:
        found = programs.of_model(args.optimizers, devices, args.smoke, rounds)
        report(found, results, args.json)
        return
    one, rows = devices[0], 128 if args.smoke else args.size
    trees = itertools.chain(
        programs.of_array(args.optimizers, rows, one, rounds),
        programs.of_trees(args.optimizers, one, args.smoke, rounds),
    )
    results["array"] = [rows, COLUMNS]
    report(trees, results, args.json)
    width = 128 if args.smoke else 4096
    results["orders"] = {name: of_orders(name, devices, width) for name in PEAKS}
    print(PEAK_REMARK)
    print_table(table_of_orders(results["orders"]))
    write(results, args.json)
