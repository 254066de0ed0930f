"""What does the compiled step move in a TPU's or a GPU's memory, beside the least?

An optimizer step does little arithmetic: its time is that of its memory traffic. XLA
compiles for a TPU v5e or an NVIDIA H200 on a machine that has neither, and its kernels
tell what they read and write. That is a count, not a time.
"""

import argparse
import json
import os
import sys
from contextlib import suppress
from functools import partial
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.experimental import topologies
from jax.sharding import (
    Mesh,
    NamedSharding,
    PartitionSpec,
    Sharding,
    SingleDeviceSharding,
)

from adabelief_optax import adabelief, aida, ladabelief
from benchmarks import hlo
from benchmarks.contenders import CONTENDERS, RATE, aida_loop, jitted_step
from benchmarks.step_time import integer, json_path, print_table

COLUMNS = 8192
LAYERS = 6
H200 = """
gpu_device_info {
  threads_per_block_limit: 1024 threads_per_warp: 32 shared_memory_per_block: 49152
  shared_memory_per_core: 233472 threads_per_core_limit: 2048 core_count: 132
  fpus_per_core: 128 block_dim_limit_x: 2147483647 block_dim_limit_y: 65535
  block_dim_limit_z: 65535 memory_bandwidth: 4800000000000 l2_cache_size: 52428800
  clock_rate_ghz: 1.98 device_memory_size: 150000000000
  shared_memory_per_block_optin: 232448 cuda_compute_capability { major: 9 }
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
}
platform_name: "CUDA" dnn_version_info { major: 9 minor: 10 }
device_description_str: "NVIDIA H200"
"""
MISSING = (
    "no {0} compiler here: pip install 'jax[{1}]' "
    "(make traffic-{2} does it in an environment of its own)"
)
REMARKS = """
moves, least: bytes a parameter in the device's memory, what is on the chip left out.
    least: the step reads g, m, s, p and writes m, s, p once; the sums of a layer, which
    must be known before the step, need g and m once more.
passes: kernels over the array; small: all others, of a few numbers a layer.
A name is an import path, or one of adabelief_optax; aida-k8 is Aida with k=8, the
others have k=2. aida-loop is Aida as published, K rounds of projections. -bf16:
parameters and gradients in bfloat16; -bf16-moments: both moments."""


class Case(NamedTuple):
    """An optimizer, what its sums over a layer read, and the parameters' dtype."""

    tx: optax.GradientTransformation
    summed: str = ""
    dtype: Any = jnp.float32


LOW: Any = {"mu_dtype": "bfloat16", "nu_dtype": "bfloat16"}
SUMMED = {
    **dict.fromkeys(("aida", "aida-k8", "aida-loop", "ladabelief"), "gm"),
    "ladam": "g",
}
CASES = {
    **{name: Case(x.tx, SUMMED.get(name, "")) for name, x in CONTENDERS.items()},
    "aida-loop-k4": Case(aida_loop(RATE, k=4), "gm"),
    "adabelief-bf16": Case(adabelief(RATE), "", jnp.bfloat16),
    "aida-bf16": Case(aida(RATE), "gm", jnp.bfloat16),
    "adabelief-bf16-moments": Case(adabelief(RATE, **LOW)),
    "aida-bf16-moments": Case(aida(RATE, **LOW), "gm"),
    "ladabelief-bf16-moments": Case(ladabelief(RATE, **LOW), "gm"),
}
SHARDED = {name: CONTENDERS[name].tx for name in ("adabelief", "aida", "ladabelief")}


def least_bytes(case: Case) -> int:
    """Returns the bytes a parameter that no step with these dtypes can avoid moving.

    The step itself reads g, m, p (and s, unless it is one number a layer) and writes m,
    p (and s). Sums over the layer must be known before it, so that what they are made
    of is read twice. Where the step needs g for m alone, the kernel that sums may as
    well write m, and the step then reads that in place of g and the old m. It cannot
    where m is stored in fewer bits, since the step is made of m before it is rounded.
    """
    p = jax.ShapeDtypeStruct((2, 2), case.dtype)
    state = jax.eval_shape(case.tx.init, p)
    mu, nu = (optax.tree.get(state, name) for name in ("mu", "nu"))
    width = {"g": p.dtype.itemsize, "m": mu.dtype.itemsize}
    once = width["g"] + 2 * width["m"] + 2 * p.dtype.itemsize
    if nu.shape == p.shape:
        return once + 2 * nu.dtype.itemsize + sum(width[x] for x in case.summed)
    again = sum(width[x] for x in case.summed)
    exact = mu.dtype.itemsize >= 4
    return once + (min(again, width["m"]) if exact else again)


def topology(platform: str) -> Any:
    """Returns the devices to compile for, or exits and says what to install."""
    try:
        if platform == "tpu":
            # Else it asks the network where it is, and warns that it does not know.
            os.environ.setdefault("TPU_ACCELERATOR_TYPE", "v5litepod-4")
            os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
            return topologies.get_topology_desc("v5e:2x2", platform="tpu")
        for plugin in ("xla_cuda13", "xla_cuda12"):
            with suppress(ImportError):
                import_module(f"jax_plugins.{plugin}")
        return topologies.get_topology_desc(
            "h200", "cuda", target_config=H200, topology="1x1x1"
        )
    except (RuntimeError, OSError):  # what JAX raises where the plugin is missing
        names = ("TPU", "tpu", "tpu") if platform == "tpu" else ("GPU", "cuda13", "gpu")
        sys.exit(MISSING.format(*names))


def versions(platform: str) -> dict[str, str]:
    """Returns the versions of what is compiled, and of the compiler."""
    compilers = {"tpu": ["libtpu"], "cuda": ["jax-cuda13-pjrt", "jax-cuda12-pjrt"]}
    found = {}
    for name in ("jax", "jaxlib", "optax", *compilers[platform]):
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


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
    params = jax.ShapeDtypeStruct((rows, COLUMNS), case.dtype)
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


def optimizer_names(text: str) -> list[str]:
    """An argparse type: names, separated by commas."""
    names = [name.strip() for name in text.split(",")]
    if unknown := [name for name in names if name not in CASES]:
        allowed = ", ".join(CASES)
        raise argparse.ArgumentTypeError(f"{unknown}; allowed are {allowed}")
    return names


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this benchmark."""
    parser.add_argument("--platform", choices=("tpu", "cuda"), required=True)
    parser.add_argument(
        "--size",
        type=integer,
        default=16384,
        help=f"rows of the array; it has {COLUMNS} columns (default %(default)s)",
    )
    parser.add_argument(
        "--optimizers",
        type=optimizer_names,
        default=",".join(CASES),
        help=f"some of {', '.join(CASES)} (default all)",
        metavar="NAME,NAME",
    )
    parser.add_argument("--json", type=json_path, help="write all numbers to this file")
    parser.add_argument(
        "--smoke", action="store_true", help="as small as can be, for a test"
    )


def run(args: argparse.Namespace) -> None:
    """Compiles every step and prints the table."""
    jax.config.update("jax_platforms", "cpu")  # before JAX looks for other devices
    devices = topology(args.platform).devices
    rows = 128 if args.smoke else args.size
    results: dict[str, Any] = {
        "device": f"{devices[0].device_kind}, of {len(devices)}",
        "versions": versions(args.platform),
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
    if args.json:
        args.json.write_text(json.dumps(results, indent=2) + "\n")
