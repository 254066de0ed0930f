"""What does XLA make of a step: how many kernels and instructions, how fast, how large?

A GPU takes some microseconds to start a kernel, whatever it moves. So beside bytes it
counts how many kernels a step has for each array of the parameters.
"""

import math
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec, SingleDeviceSharding

from adabelief_optax import aida, ladabelief
from benchmarks.speed import hlo
from benchmarks.speed.cases import CASES, LOW, RATE, REFERENCE
from benchmarks.speed.parameters import llama, small_arrays, transformer
from benchmarks.speed.steps import jitted_step

# Names of trees and what is counted on them, of each optimizer.
Found = Iterator[tuple[str, dict[str, dict[str, float]]]]
LARGE = 2**16  # entries, from which a kernel is one over an array
COMPILED = (
    REFERENCE,
    "adabelief",
    "aida",
    "aida-loop",
    "ladabelief",
    "adabelief-bf16-moments",
)
HEAD = ["optimizer", "bytes", "kernels", "instr.", "compile", "temporary", "peak"]
REMARK = """
bytes a parameter; kernels and instructions an array; compile: CPU seconds of tracing,
lowering and compiling, as a ratio to optax.adam's; temporary and peak memory of a
device, in bytes a parameter"""


class Compiled(NamedTuple):
    """The text of a program, its memory and what it took to make it."""

    text: str
    temporary: int
    peak: int | None  # None where JAX does not tell it
    seconds: float


def trees(smoke: bool) -> dict[str, Any]:
    """Returns the shapes of one large array, a Transformer and many small arrays."""
    one = [jax.ShapeDtypeStruct((128 if smoke else 16384, 8192), jnp.float32)]
    return {
        "one array": one,
        "transformer": transformer(1 if smoke else 30_000_000, 64 if smoke else 512),
        "small arrays": small_arrays(8 if smoke else 700),
    }


def placed(tree: Any, sharding: Callable[[Any], Any]) -> Any:
    """Returns the shapes with the sharding of each."""
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding(x)), tree
    )


def compiled(tx: optax.GradientTransformation, params: Any, sharding: Any) -> Compiled:
    """Compiles a step from empty caches, parameters and state donated."""
    arguments = placed((params, jax.eval_shape(tx.init, params), params), sharding)
    jax.clear_caches()
    began = time.process_time()
    program = jitted_step(tx).lower(*arguments).compile()
    seconds = time.process_time() - began
    memory = program.memory_analysis()
    return Compiled(
        program.as_text(),
        memory.temp_size_in_bytes,
        getattr(memory, "peak_memory_in_bytes", None),
        seconds,
    )


def numbers(program: Compiled, params: Any, devices: int, on_chip: Any) -> Any:
    """Returns what is counted in a program."""
    leaves = jax.tree.leaves(params)
    held = sum(math.prod(x.shape) for x in leaves) / devices
    bodies = hlo.parse(program.text).values()
    found = {
        "instructions_an_array": round(sum(map(len, bodies)) / len(leaves), 1),
        "temporary_bytes_a_parameter": round(program.temporary / held, 2),
    }
    if program.peak is not None:
        found["peak_bytes_a_parameter"] = round(program.peak / held, 2)
    try:
        moved, large, small = hlo.traffic(program.text, LARGE, on_chip)
    except hlo.UnreadableError:
        return found
    return found | {
        "bytes_a_parameter": round(moved / held, 1),
        "kernels_an_array": round((large + small) / len(leaves), 2),
    }


def count(
    txs: dict[str, optax.GradientTransformation],
    params: Any,
    sharding: Any,
    device: Any,
    devices: int,
    rounds: int,
) -> dict[str, dict[str, float]]:
    """Compiles every step once a round, in turn; returns what is counted of each."""
    on_chip = hlo.ON_TPU_CHIP if device.platform == "tpu" else frozenset()
    found: dict[str, dict[str, float]] = {}
    seconds: list[dict[str, float]] = []
    for _ in range(rounds):
        seconds.append({})
        for name, tx in txs.items():
            try:
                program = compiled(tx, params, sharding)
            except jax.errors.JaxRuntimeError as error:
                if "RESOURCE_EXHAUSTED" not in str(error):
                    raise
                continue  # it does not fit into the device's memory
            seconds[-1][name] = program.seconds
            found[name] = numbers(program, params, devices, on_chip)
    for name, x in found.items():
        x["compile_seconds"] = round(float(np.median([s[name] for s in seconds])), 2)
        if REFERENCE in found:
            ratios = [s[name] / s[REFERENCE] for s in seconds]
            x["compile_ratio"] = round(float(np.median(ratios)), 2)
    return found


def table(found: dict[str, dict[str, float]]) -> list[list[str]]:
    """Returns the head and a row for each optimizer."""
    columns = {
        "bytes_a_parameter": ".1f",
        "kernels_an_array": ".2f",
        "instructions_an_array": ".0f",
        "compile_ratio": ".2f",
        "temporary_bytes_a_parameter": ".2f",
        "peak_bytes_a_parameter": ".1f",
    }
    rows = [
        [name, *(format(x[k], how) if k in x else "" for k, how in columns.items())]
        for name, x in found.items()
    ]
    return [HEAD, *rows]


def of_trees(names: list[str], device: Any, smoke: bool, rounds: int) -> Found:
    """Yields each tree's name and what is counted on it, on one device."""
    txs = {x: CASES[x].tx for x in COMPILED if x in {REFERENCE, *names}}
    on_one = SingleDeviceSharding(device)
    for name, tree in trees(smoke).items():
        yield name, count(txs, tree, lambda _: on_one, device, 1, rounds)


def _split(mesh: Mesh, stacked: bool, x: Any) -> NamedSharding:
    """Splits the longest axis over all devices, but not that of the layers."""
    axes = range(1 if stacked and x.ndim > 1 else 0, x.ndim)
    longest = max(axes, key=lambda i: x.shape[i], default=None)
    spec: list[Any] = [None] * x.ndim
    if longest is not None and x.shape[longest] % mesh.size == 0:
        spec[longest] = "devices"
    return NamedSharding(mesh, PartitionSpec(*spec))


def of_model(devices: Any, smoke: bool, rounds: int) -> Found:
    """Yields four ways to have a Llama of 7 B parameters, and what is counted."""
    for scanned in (False, True):
        tree = llama(2 if smoke else 32, 64 if smoke else 4096, scanned)
        axes = jax.tree.map(lambda _: frozenset[int](), tree)
        if scanned:
            axes["blocks"] = dict.fromkeys(axes["blocks"], frozenset({0}))
        txs = {REFERENCE: CASES[REFERENCE].tx, "adabelief": CASES["adabelief"].tx}
        for name, method in (("aida", aida), ("ladabelief", ladabelief)):
            txs[name] = method(RATE, stacked_axes=axes)
            txs[f"{name}-bf16-moments"] = method(RATE, stacked_axes=axes, **LOW)
        for some in (devices[:1], devices):
            mesh = Mesh(np.array(some), ("devices",))
            name = f"{'scanned' if scanned else 'unrolled'}, devices: {len(some)}"
            split = partial(_split, mesh, scanned)
            yield name, count(txs, tree, split, devices[0], len(some), rounds)
