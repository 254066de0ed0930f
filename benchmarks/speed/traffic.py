"""What does the compiled step move in a TPU's or a GPU's memory, beside the least?

An optimizer step does little arithmetic: its time is that of its memory traffic. XLA
compiles for a TPU v5e or an NVIDIA H200 on a machine that has neither, and its kernels
tell what they read and write. That is a count, not a time.
"""

import argparse
import math
import sys
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import (
    Mesh,
    NamedSharding,
    PartitionSpec,
    Sharding,
    SingleDeviceSharding,
)

from benchmarks import cli, machine
from benchmarks.speed import hlo, programs
from benchmarks.speed.cases import CASES, Case, least_bytes
from benchmarks.speed.compilers import PACKAGES, topology
from benchmarks.speed.output import add_shared_arguments, print_table, write
from benchmarks.speed.steps import jitted_step

COLUMNS = 8192
LAYERS = 6
REMARKS = """
moves, least: bytes a parameter in the device's memory, what is on the chip left out.
    least: the step reads g, m, s, p and writes m, s, p once; the sums of a layer, which
    must be known before the step, need g and m once more.
passes: kernels over the array; small: all others, of a few numbers a layer.
A name is an import path, or one of adabelief_optax; aida-k8 is Aida with k=8, the
others have k=2. aida-loop is Aida as published, K rounds of projections; aida-zero is
held in order on a GPU by a zero and not by a barrier. -bf16:
parameters and gradients in bfloat16; -bf16-moments: both moments; -bf16-all: all of
them (LAdaBelief's second moment in float32), and `stochastic_rounding` as the last;
-stack-n: the array is a stack of 16 layers, which its axis n counts."""
PEAK_REMARK = """
peak, bytes a parameter, of eight layers of a Transformer: of `update` alone with the
state donated, with the gradients donated too, and of the step that is counted above
"""
PEAKS = ("optax.adam", "aida", "ladabelief")
SHARDED = {name: CASES[name].tx for name in ("adabelief", "aida", "ladabelief")}


def _placed(shape: jax.ShapeDtypeStruct, sharding: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape.shape, shape.dtype, sharding=sharding(shape))


def compiled_text(tx: optax.GradientTransformation, params: Any, sharding: Any) -> str:
    """Returns the optimized program of the step, parameters and state donated.

    Args:
        tx: the optimizer.
        params: a tree of shapes; the gradients have the same.
        sharding: the sharding of a given shape.
    """
    arguments = params, jax.eval_shape(tx.init, params), params
    placed = jax.tree.map(partial(_placed, sharding=sharding), arguments)
    return jitted_step(tx).lower(*placed).compile().as_text()


def count(case: Case, rows: int, device: Any) -> dict[str, Any]:
    """Returns what the step on one array moves, or why that is not counted."""
    params = jax.ShapeDtypeStruct(case.shape(rows, COLUMNS), case.dtype)
    text = compiled_text(case.tx, params, lambda _: SingleDeviceSharding(device))
    on_chip = hlo.ON_TPU_CHIP if device.platform == "tpu" else frozenset()
    least = least_bytes(case)
    try:
        moved, large, small = hlo.traffic(text, params.size, on_chip)
    except hlo.UnreadableError as error:
        return {"not_counted": str(error), "least_bytes_per_parameter": least}
    return {
        "bytes_per_parameter": round(moved / params.size, 2),
        "least_bytes_per_parameter": least,
        "passes": large,
        "small_kernels": small,
    }


def count_all_reduces(tx: optax.GradientTransformation, devices: Any) -> int:
    """Returns the sums over devices in the step of a few layers, sharded by rows."""
    mesh = Mesh(np.array(devices), ("rows",))
    layer = jax.ShapeDtypeStruct((1024, 1024), jnp.float32)

    def sharding(shape: jax.ShapeDtypeStruct) -> Sharding:
        return NamedSharding(mesh, PartitionSpec(*["rows"][: shape.ndim]))

    return hlo.all_reduces(compiled_text(tx, [layer] * LAYERS, sharding))


def peaks(name: str, devices: Any, width: int) -> dict[str, float]:
    """Returns the peak of a device's memory, in bytes for each parameter that it holds.

    For eight layers of a Transformer, matrices split by rows over all devices, and for
    three programs, which differ in what they hold and may overwrite.
    """
    tx, hidden = CASES[name].tx, 43 * width // 16
    shapes = [(width, width), (width, hidden), (hidden, width), (width,)] * 8
    mesh = Mesh(np.array(devices), ("rows",))

    def sharding(shape: jax.ShapeDtypeStruct) -> Sharding:
        spec = ["rows"] if shape.ndim == 2 else []
        return NamedSharding(mesh, PartitionSpec(*spec))

    params = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    trees = params, jax.eval_shape(tx.init, params), params
    params, state, grads = jax.tree.map(partial(_placed, sharding=sharding), trees)

    def update(grads: Any, state: Any, params: Any) -> Any:
        return tx.update(grads, state, params)

    def peak(lowered: Any) -> float:
        most = lowered.compile().memory_analysis().peak_memory_in_bytes
        size = sum(math.prod(shape) for shape in shapes)
        return round(most * len(devices) / size, 1)

    def of_update(donated: tuple[int, ...]) -> float:
        jitted = jax.jit(update, donate_argnums=donated)
        return peak(jitted.lower(grads, state, params))

    return {
        "update": of_update((1,)),
        "update, gradients donated": of_update((0, 1)),
        "step": peak(jitted_step(tx).lower(params, state, grads)),
    }


def table(optimizers: dict[str, dict[str, Any]]) -> list[list[str]]:
    """Returns the head and a row for each optimizer."""
    rows = [["optimizer", "moves", "least", "passes", "small"]]
    for name, x in optimizers.items():
        least = str(x["least_bytes_per_parameter"])
        if "not_counted" in x:
            rows.append([name, f"not counted: {x['not_counted']}", least, "", ""])
            continue
        moves, *kernels = x["bytes_per_parameter"], x["passes"], x["small_kernels"]
        rows.append([name, f"{moves:.1f}", least, *map(str, kernels)])
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


def printed(found: programs.Found) -> dict[str, Any]:
    """Prints a table for each tree as soon as it is known, and returns all."""
    tables = {}
    for name, of_tree in found:
        tables[name] = of_tree
        print(f"\n{name}")
        print_table(programs.table(of_tree))
        sys.stdout.flush()
    print(programs.REMARK)
    return tables


def run_model(args: argparse.Namespace) -> None:
    """Compiles the steps of a large model and prints the tables."""
    devices = topology(args.platform, eight=True).devices
    packages = "jax", "jaxlib", "optax", *PACKAGES[args.platform]
    rounds = args.compilations or 1
    found = printed(programs.of_model(devices, args.smoke, rounds))
    device, versions = devices[0].device_kind, machine.versions(*packages)
    write({"device": device, "versions": versions, "programs": found}, args.json)


def run(args: argparse.Namespace) -> None:
    """Compiles every step and prints the tables."""
    jax.config.update("jax_platforms", "cpu")  # before JAX looks for other devices
    if args.model:
        run_model(args)
        return
    devices = topology(args.platform).devices
    rows = 128 if args.smoke else args.size
    packages = "jax", "jaxlib", "optax", *PACKAGES[args.platform]
    results: dict[str, Any] = {
        "device": f"{devices[0].device_kind}, of {len(devices)}",
        "versions": machine.versions(*packages),
        "array": [rows, COLUMNS],
        "optimizers": {x: count(CASES[x], rows, devices[0]) for x in args.optimizers},
    }
    used = ", ".join(f"{name} {x}" for name, x in results["versions"].items())
    print(f"compiled for {results['device']}; {used}")
    print(f"one array of {rows} x {COLUMNS}, parameters and state donated\n")
    print_table(table(results["optimizers"]))
    print(REMARKS)
    if len(devices) > 1:
        reduces = {k: count_all_reduces(tx, devices) for k, tx in SHARDED.items()}
        results["all_reduces"] = {"layers": LAYERS, "devices": len(devices), **reduces}
        numbers = ", ".join(f"{name} {x}" for name, x in reduces.items())
        print(f"\nall-reduces of {LAYERS} layers over {len(devices)} chips: {numbers}")
    results["peaks"] = {
        name: peaks(name, devices, 128 if args.smoke else 4096) for name in PEAKS
    }
    print(PEAK_REMARK)
    print_table(
        [["optimizer", "update", "gradients too", "step"]]
        + [[k, *(f"{x:.1f}" for x in v.values())] for k, v in results["peaks"].items()]
    )
    rounds = args.compilations or (1 if args.smoke else 3)
    results["programs"] = printed(
        programs.of_trees(args.optimizers, devices[0], args.smoke, rounds)
    )
    write(results, args.json)
