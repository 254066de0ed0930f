"""What does the compiled step move in a TPU's or a GPU's memory, beside the least?

An optimizer step does little arithmetic: its time is that of its memory traffic. XLA
compiles for a TPU v5e or an NVIDIA H200 on a machine that has neither, and its kernels
tell what they read and write. That is a count, not a time.
"""

import argparse
from typing import Any

import jax

from benchmarks import machine
from benchmarks.speed import programs
from benchmarks.speed.cases import CASES, NAMING
from benchmarks.speed.compilers import PACKAGES, topology
from benchmarks.speed.output import add_shared_arguments, print_table, write

# What is printed of a program, under which head.
TABLE = {
    "bytes": "bytes_a_parameter",
    "least": "least_bytes_a_parameter",
    "kernels": "kernels_an_array",
    "compile": "compile_ratio",
    "temporary": "temporary_bytes_a_parameter",
    "peak": "peak_bytes_a_parameter",
    "all-reduces": "all_reduces",
}
REMARKS = f"""
bytes: per parameter, read and written in the device's memory, not on the chip.
least: the step reads g, m, s, p and writes m, s, p once; the sums of a layer, which
    must be known before the step, need g and m once more.
kernels: per array of the parameters.
compile: CPU seconds of tracing, lowering and compiling, as a ratio to optax.adam's.
temporary, peak: memory of a device, bytes per parameter that it holds.
orders: of layers of a Transformer, eight split over all devices, or one on one device.
    What a program donates is before the arrow, and in what order it returns it after.
{NAMING}"""


def table(found: dict[str, programs.Row]) -> list[list[str]]:
    """Returns the head and a row for each program, of what is known."""
    known = set().union(*found.values())
    shown = {head: key for head, key in TABLE.items() if key in known}
    rows = [["", *shown]]
    for name, row in found.items():
        rows.append([name, *(str(row.get(key, "")) for key in shown.values())])
    return rows


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this benchmark."""
    parser.add_argument("--platform", choices=("tpu", "cuda"), required=True)
    parser.add_argument(
        "--model",
        choices=("7b",),
        help="count for a Llama of 7 B parameters instead, also split over 8 devices",
    )
    add_shared_arguments(parser, CASES)


def run(args: argparse.Namespace) -> None:
    """Compiles every step, prints each table as soon as it is known, and keeps it."""
    jax.config.update("jax_platforms", "cpu")  # before JAX looks for other devices
    devices = topology(args.platform, eight=bool(args.model)).devices
    packages = "jax", "jaxlib", "optax", *PACKAGES[args.platform]
    results: dict[str, Any] = {
        "device": f"{devices[0].device_kind}, of {len(devices)}",
        "versions": machine.versions(*packages),
    }
    used = ", ".join(f"{name} {x}" for name, x in results["versions"].items())
    print(f"compiled for {results['device']}; {used}; parameters and state donated")
    names, smoke = args.optimizers, args.smoke
    if args.model:
        parts = {"programs": programs.of_model(names, devices, smoke)}
    else:
        trees = programs.of_trees(names, devices[0], smoke, rounds=1 if smoke else 3)
        orders = programs.of_orders(names, devices, 128 if smoke else 4096)
        parts = {"programs": trees, "orders": orders}
    for part, rows in parts.items():
        results[part] = {}
        for name, found in rows:
            results[part][name] = found
            write(results, args.json)
            print(f"\n{part}, {name}")
            print_table(table(found))
    print(REMARKS)
