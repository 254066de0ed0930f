"""What does XLA make of a step: bytes, kernels, memory, compile time?

A GPU takes some microseconds to start a kernel, whatever it moves. So beside bytes it
counts how many kernels a step has for each array of the parameters.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
import optax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from adabelief_optax import aida, ladabelief
from benchmarks.speed import hlo
from benchmarks.speed.cases import CASES, RATE, REFERENCE, WHOLE, least_bytes
from benchmarks.speed.parameters import float32, llama, small_arrays, transformer
from benchmarks.speed.steps import Call, compile_in_turn, jitted_step, shapes

Row = dict[str, Any]
# Names, and what is counted of each optimizer.
Found = Iterator[tuple[str, dict[str, Row]]]
ONE_ARRAY = 16384, 8192
SPLIT = 128  # entries that the longest axis of an array has, if it is split
SUMMED = (REFERENCE, "aida", "ladabelief")  # and what they are compared with


def mesh_of(devices: Any, kind: AxisType = AxisType.Auto) -> Mesh:
    """Returns all devices in a row."""
    return Mesh(np.array(devices), ("devices",), axis_types=(kind,))


def longest_axis(x: Any) -> PartitionSpec:
    """Splits the longest axis over all devices, if it is long."""
    spec: list[Any] = [None] * x.ndim
    longest = max(range(x.ndim), key=lambda i: x.shape[i], default=None)
    if longest is not None and x.shape[longest] >= SPLIT:
        spec[longest] = "devices"
    return PartitionSpec(*spec)


def rows(x: Any) -> PartitionSpec:
    """Splits the rows of matrices: a TPU pads columns that are no multiple of 128."""
    return PartitionSpec("devices") if x.ndim == 2 else PartitionSpec()


def placed(
    tx: optax.GradientTransformation,
    params: Any,
    mesh: Mesh,
    spec: Callable[[Any], PartitionSpec] = longest_axis,
) -> Any:
    """Returns the shapes of parameters, state and gradients on the devices."""
    return shapes(tx, params, lambda x: NamedSharding(mesh, spec(x)))


def counted(program: Any, params: Any, mesh: Mesh) -> Row:
    """Returns what is counted in a compiled program that runs on all the devices."""
    text, memory = program.as_text(), program.memory_analysis()
    on_tpu = mesh.devices.flat[0].platform == "tpu"
    moved, kernels = hlo.traffic(text, hlo.ON_TPU_CHIP if on_tpu else frozenset())
    leaves = jax.tree.leaves(params)
    held = sum(math.prod(x.shape) for x in leaves) / mesh.size
    found: Row = {
        "bytes_a_parameter": round(moved / held, 1),
        "kernels_an_array": round(kernels / len(leaves), 2),
        "temporary_bytes_a_parameter": round(memory.temp_size_in_bytes / held, 2),
    }
    if hasattr(memory, "peak_memory_in_bytes"):  # not in every JAX
        found["peak_bytes_a_parameter"] = round(memory.peak_memory_in_bytes / held, 2)
    if mesh.size > 1:
        found["all_reduces"] = hlo.all_reduces(text)
    return found


def count(calls: dict[str, Call], mesh: Mesh, rounds: int) -> dict[str, Row]:
    """Compiles every step once a round, in turn; returns what is counted of each."""
    seconds, made = compile_in_turn(calls, rounds)
    found = {}
    for name, program in made.items():
        _, (like_params, *_) = calls[name]
        found[name] = counted(program, like_params, mesh)
        found[name]["compile_seconds"] = round(float(np.median(seconds[name])), 2)
        if REFERENCE in made:
            ratio = float(np.median(seconds[name] / seconds[REFERENCE]))
            found[name]["compile_ratio"] = round(ratio, 2)
    return found


def _call(tx: optax.GradientTransformation, params: Any, mesh: Mesh) -> Call:
    return jitted_step(tx), placed(tx, params, mesh)


def of_trees(names: list[str], device: Any, smoke: bool, rounds: int) -> Found:
    """Yields what is counted on one array, on a Transformer and on many small arrays.

    With the one array stands the least that a step of it must move.
    """
    mesh, size = mesh_of([device]), (128, 8192) if smoke else ONE_ARRAY
    calls = {x: _call(CASES[x].tx, CASES[x].array(*size), mesh) for x in names}
    found = count(calls, mesh, rounds)
    for name, row in found.items():
        row["least_bytes_a_parameter"] = least_bytes(CASES[name])
    yield "one array", found
    trees = {
        "transformer": transformer(*((0, 64) if smoke else (8, 512))),
        "small arrays": small_arrays(8 if smoke else 700),
    }
    for name, tree in trees.items():
        calls = {x: _call(CASES[x].tx, tree, mesh) for x in names if x in WHOLE}
        yield name, count(calls, mesh, rounds)


def layers(count: int, width: int) -> Any:
    """Returns the shapes of layers of a Transformer."""
    hidden = 43 * width // 16
    return float32([(width, width), (width, hidden), (hidden, width), (width,)] * count)


def orders(tx: optax.GradientTransformation) -> dict[str, tuple[Any, str]]:
    """Returns jitted functions that differ in what they donate, and in what order.

    With each stands which of parameters, state and gradients it takes.
    """

    def step(grads: Any, state: Any, params: Any) -> Any:
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    def update(grads: Any, state: Any, params: Any) -> Any:
        return tx.update(grads, state, params)

    donate_both = jax.jit(update, donate_argnums=(0, 1))
    return {
        "params, state → params, state": (jitted_step(tx), "psg"),
        "state, params → params, state": (jax.jit(step, donate_argnums=(1, 2)), "gsp"),
        "state → updates, state": (jax.jit(update, donate_argnums=1), "gsp"),
        "grads, state → updates, state": (donate_both, "gsp"),
    }


def of_orders(names: list[str], devices: Any, width: int) -> Found:
    """Yields what is counted of these functions on layers of a Transformer."""
    mesh = mesh_of(devices)
    params = layers(8 if mesh.size > 1 else 1, width)
    for name in [x for x in SUMMED if x in names]:
        tx = CASES[name].tx
        trees = dict(zip("psg", placed(tx, params, mesh, rows), strict=True))
        calls = {
            order: (step, tuple(trees[x] for x in takes))
            for order, (step, takes) in orders(tx).items()
        }
        yield name, count(calls, mesh, rounds=1)


def _inside_shard_map(
    tx: optax.GradientTransformation, params: Any
) -> optax.GradientTransformation:
    """Returns an optimizer whose update runs inside `jax.shard_map`."""
    of_params, of_state, _ = jax.tree.map(longest_axis, shapes(tx, params))
    update = jax.shard_map(
        tx.update,
        in_specs=(of_params, of_state, of_params),
        out_specs=(of_params, of_state),
    )
    return optax.GradientTransformation(tx.init, update)


def of_model(names: list[str], devices: Any, smoke: bool) -> Found:
    """Yields what is counted of a Llama of 7 B parameters.

    Its layers are arrays of their own, or scanned. It is on one device, or split over
    all, by XLA (automatic), by JAX while it traces (explicit), or inside
    `jax.shard_map`, where the optimizers are given `axis_name`.
    """
    many, automatic = f"{len(devices)} devices", mesh_of(devices)
    ways = {
        "one device": (mesh_of(devices[:1]), None),
        f"{many}, automatic": (automatic, None),
        f"{many}, explicit": (mesh_of(devices, AxisType.Explicit), None),
        f"{many}, shard_map": (automatic, "devices"),
    }
    size = (2, SPLIT) if smoke else (32, 4096)
    for kind, stacked_axes in {"unrolled": None, "scanned": {"blocks": 1}}.items():
        tree = llama(*size, scanned=kind == "scanned")
        for way, (mesh, axis_name) in ways.items():
            where: Any = {"stacked_axes": stacked_axes, "axis_name": axis_name}
            txs = {
                REFERENCE: CASES[REFERENCE].tx,
                "aida": aida(RATE, **where),
                "ladabelief": ladabelief(RATE, **where),
            }
            with jax.set_mesh(mesh):
                if axis_name:
                    txs = {x: _inside_shard_map(tx, tree) for x, tx in txs.items()}
                calls = {x: _call(txs[x], tree, mesh) for x in SUMMED if x in names}
                found = count(calls, mesh, rounds=1)
            yield f"{kind}, {way}", found
