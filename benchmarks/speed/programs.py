"""What does XLA make of a step: bytes, kernels, instructions, memory, compile time?

A GPU takes some microseconds to start a kernel, whatever it moves. So beside bytes it
counts how many kernels a step has for each array of the parameters.
"""

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import numpy as np
import optax
from jax.sharding import (
    AxisType,
    Mesh,
    NamedSharding,
    PartitionSpec,
    SingleDeviceSharding,
)

from adabelief_optax import aida, ladabelief
from benchmarks.speed import hlo
from benchmarks.speed.cases import CASES, LOW, RATE, REFERENCE, least_bytes
from benchmarks.speed.parameters import llama, small_arrays, transformer
from benchmarks.speed.steps import Trial, compile_in_turn

Row = dict[str, Any]
# Names of trees and what is counted on them, of each optimizer.
Found = Iterator[tuple[str, dict[str, Row]]]
COLUMNS = 8192  # of the one array
LARGE = 2**16  # entries, from which a kernel is one over an array
COMPILED = (
    REFERENCE,
    "adabelief",
    "aida",
    "aida-loop",
    "ladabelief",
    "adabelief-bf16-moments",
)


def counted(program: Any, params: Any, devices: Any) -> Row:
    """Returns what is counted in a compiled program that runs on all the devices."""
    text, memory = program.as_text(), program.memory_analysis()
    peak = getattr(memory, "peak_memory_in_bytes", None)  # not in every JAX
    leaves = jax.tree.leaves(params)
    held = sum(math.prod(x.shape) for x in leaves) / len(devices)
    bodies = hlo.parse(text).values()
    found: Row = {
        "instructions_an_array": round(sum(map(len, bodies)) / len(leaves), 1),
        "temporary_bytes_a_parameter": round(memory.temp_size_in_bytes / held, 2),
    }
    if peak is not None:
        found["peak_bytes_a_parameter"] = round(peak / held, 2)
    if len(devices) > 1:
        found["all_reduces"] = hlo.all_reduces(text)
    on_chip = hlo.ON_TPU_CHIP if devices[0].platform == "tpu" else frozenset()
    try:
        moved, large, small = hlo.traffic(text, LARGE, on_chip)
    except hlo.UnreadableError as error:
        return found | {"not_counted": str(error)}
    return found | {
        "bytes_a_parameter": round(moved / held, 1),
        "passes_an_array": round(large / len(leaves), 2),
        "kernels_an_array": round((large + small) / len(leaves), 2),
    }


def count(trials: dict[str, Trial], devices: Any, rounds: int) -> dict[str, Row]:
    """Compiles every step once a round, in turn; returns what is counted of each."""
    seconds, made = compile_in_turn(trials, rounds)
    found = {k: counted(x, trials[k].params, devices) for k, x in made.items()}
    for name, x in found.items():
        x["compile_seconds"] = round(float(np.median(seconds[name])), 2)
        if REFERENCE in found:
            ratios = seconds[name] / seconds[REFERENCE]
            x["compile_ratio"] = round(float(np.median(ratios)), 2)
    return found


def of_array(names: list[str], rows: int, device: Any, rounds: int) -> Found:
    """Yields what is counted on one array, beside the least that it must move."""

    def trial(name: str) -> Trial:
        case = CASES[name]
        array = jax.ShapeDtypeStruct(case.shape(rows, COLUMNS), case.dtype)
        return Trial(case.tx, array, lambda _: SingleDeviceSharding(device))

    found = count({name: trial(name) for name in names}, [device], rounds)
    for name, x in found.items():
        x["least_bytes_a_parameter"] = least_bytes(CASES[name])
    yield "one array", found


def of_trees(names: list[str], device: Any, smoke: bool, rounds: int) -> Found:
    """Yields what is counted on a Transformer and on many small arrays."""
    trees = {
        "transformer": transformer(1 if smoke else 30_000_000, 64 if smoke else 512),
        "small arrays": small_arrays(8 if smoke else 700),
    }
    txs = {x: CASES[x].tx for x in COMPILED if x in {REFERENCE, *names}}
    on_one = SingleDeviceSharding(device)
    for name, tree in trees.items():
        trials = {k: Trial(tx, tree, lambda _: on_one) for k, tx in txs.items()}
        yield name, count(trials, [device], rounds)


def _spec(mesh: Mesh, least: int, x: Any) -> PartitionSpec:
    """Splits the longest axis over all devices, if it has so many entries."""
    spec: list[Any] = [None] * x.ndim
    longest = max(range(x.ndim), key=lambda i: x.shape[i], default=None)
    if longest is not None and x.shape[longest] >= least:
        spec[longest] = "devices"
    return PartitionSpec(*spec)


def _inside_shard_map(
    tx: optax.GradientTransformation, params: Any, spec: Callable[[Any], PartitionSpec]
) -> optax.GradientTransformation:
    """Returns an optimizer whose update runs inside `jax.shard_map`."""
    trees = params, jax.eval_shape(tx.init, params)
    of_params, of_state = (jax.tree.map(spec, tree) for tree in trees)
    update = jax.shard_map(
        tx.update,
        in_specs=(of_params, of_state, of_params),
        out_specs=(of_params, of_state),
    )
    return optax.GradientTransformation(tx.init, update)


def _methods(tree: Any, axis_name: str | None) -> dict[str, Any]:
    """Returns the optimizers that are compiled for a large model."""
    stacked_axes = {"blocks": 1} if isinstance(tree["blocks"], dict) else None
    where: Any = {"stacked_axes": stacked_axes, "axis_name": axis_name}
    txs = {REFERENCE: CASES[REFERENCE].tx, "adabelief": CASES["adabelief"].tx}
    for name, method in (("aida", aida), ("ladabelief", ladabelief)):
        txs[name] = method(RATE, **where)
        txs[f"{name}-bf16-moments"] = method(RATE, **where, **LOW)
    return txs


def of_model(names: list[str], devices: Any, smoke: bool, rounds: int) -> Found:
    """Yields what is counted of a Llama of 7 B parameters.

    Its layers are arrays of their own, or scanned. It is on one device, or split over
    all, by XLA (automatic), by JAX while it traces (explicit), or inside
    `jax.shard_map`, where the optimizers are given `axis_name`.
    """
    width = 128 if smoke else 4096
    ways = [
        ("one device", devices[:1], AxisType.Auto, None),
        (f"{len(devices)} devices, automatic", devices, AxisType.Auto, None),
        (f"{len(devices)} devices, explicit", devices, AxisType.Explicit, None),
        (f"{len(devices)} devices, shard_map", devices, AxisType.Auto, "devices"),
    ]
    for scanned in (False, True):
        tree = llama(2 if smoke else 32, width, scanned)
        for way, some, kind, axis_name in ways:
            mesh = Mesh(np.array(some), ("devices",), axis_types=(kind,))
            spec = partial(_spec, mesh, width)
            trials = {}
            for name, tx in _methods(tree, axis_name).items():
                if axis_name:
                    tx = _inside_shard_map(tx, tree, spec)
                if name in {REFERENCE, *names}:
                    trials[name] = Trial(
                        tx, tree, lambda x, m=mesh, s=spec: NamedSharding(m, s(x))
                    )
            with jax.set_mesh(mesh):
                found = count(trials, some, rounds)
            yield f"{'scanned' if scanned else 'unrolled'}, {way}", found
