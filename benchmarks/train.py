"""Trains a small network on one device or on many hosts, and survives being killed.

The digits of scikit-learn, a scanned stack of residual blocks (Flax NNX), any of the
optimizers. A batch is spread over all devices of all processes. Every device has the
parameters; the optimizer's state is spread over the devices wherever the number of
devices divides a dimension of an array (ZeRO-1). With --directory, the same command
goes on where a run was killed, with as many devices as there are then.

    one process     python -m benchmarks train --directory RUN
    two, by hand    ... --coordinator HOST:PORT --processes 2 --process-id 0 (and 1)
    TPU, SLURM      ... --distributed, on every host
"""

import argparse
import math
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from tqdm import tqdm

from adabelief_optax import adabelief, aida, ladabelief, ladam
from benchmarks import checkpoint, digits

ADABELIEF = {"eps": 1e-8, "eps_root": 1e-8}  # the authors' for images
LAYERWISE = {"stacked_axes": digits.STACKED_AXES}
OPTIMIZERS = {
    "adabelief": partial(adabelief, **ADABELIEF),
    "aida": partial(aida, **LAYERWISE),
    "ladam": partial(ladam, **LAYERWISE),
    "ladabelief": partial(ladabelief, **LAYERWISE),
    "adam": optax.adam,
    "optax.adabelief": partial(optax.adabelief, **ADABELIEF),
}
MOMENTS = ("float32", "bfloat16")
# Options that a run keeps when it goes on; the number of steps may grow.
FIXED = (
    "optimizer",
    "moments",
    "width",
    "depth",
    "learning_rate",
    "batch_size",
    "seed",
)


class State(NamedTuple):
    """What a step changes."""

    params: Any
    opt_state: Any


def optimizer(args: argparse.Namespace) -> optax.GradientTransformation:
    """Returns the optimizer that the options ask for."""
    dtypes = {}
    if args.moments != "float32":
        if args.optimizer in ("adam", "optax.adabelief"):
            raise SystemExit(
                f"--moments is {args.moments}, but {args.optimizer} is Optax's, which "
                "has no dtype for both moments; allowed is float32"
            )
        dtypes = {"mu_dtype": args.moments, "nu_dtype": args.moments}
    return OPTIMIZERS[args.optimizer](args.learning_rate, **dtypes)


def spread(mesh: jax.sharding.Mesh, leaf: Any) -> NamedSharding:
    """Returns a sharding over the first dimension that the devices divide."""
    axes: list[str | None] = [None] * len(leaf.shape)
    for i, length in enumerate(leaf.shape):
        if length and length % mesh.size == 0:
            axes[i] = "data"
            break
    return NamedSharding(mesh, PartitionSpec(*axes))


class Program(NamedTuple):
    """The compiled functions, and where their arrays are."""

    init: Callable[[], State]
    step: Callable[[State, jax.Array, jax.Array], tuple[State, jax.Array]]
    like: State  # shapes, dtypes and shardings
    batch: NamedSharding


def layout(mesh: jax.sharding.Mesh, shapes: State) -> State:
    """Returns shapes with shardings: the parameters everywhere, the rest spread."""

    def placed(sharding: NamedSharding, x: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)

    everywhere = partial(placed, NamedSharding(mesh, PartitionSpec()))
    return State(
        jax.tree.map(everywhere, shapes.params),
        jax.tree.map(lambda x: placed(spread(mesh, x), x), shapes.opt_state),
    )


def build(args: argparse.Namespace) -> Program:
    """Returns the functions of a run over all devices of all processes."""
    mesh = jax.make_mesh((jax.device_count(),), ("data",), axis_types=(AxisType.Auto,))
    tx, loss = optimizer(args), jax.value_and_grad(digits.evaluate, has_aux=True)

    def init() -> State:
        params = digits.draw(args.width, args.depth, args.seed)
        return State(params, tx.init(params))

    def step(
        state: State, images: jax.Array, labels: jax.Array
    ) -> tuple[State, jax.Array]:
        (mean, _), grads = loss(state.params, images, labels)
        # Each device updates its part of the state, then all get the parameters.
        parts = jax.tree.map(partial(spread, mesh), grads)
        grads = jax.lax.with_sharding_constraint(grads, parts)
        updates, opt_state = tx.update(grads, state.opt_state, state.params)
        return State(optax.apply_updates(state.params, updates), opt_state), mean

    like = layout(mesh, jax.eval_shape(init))
    state = jax.tree.map(lambda x: x.sharding, like)
    batch, mean = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in (["data"], []))
    step = jax.jit(
        step,
        in_shardings=(state, batch, batch),
        out_shardings=(state, mean),
        donate_argnums=0,
    )
    return Program(jax.jit(init, out_shardings=state), step, like, batch)


def place(array: np.ndarray, sharding: NamedSharding) -> jax.Array:
    """Returns a global array, of which each process makes its own part alone."""
    return jax.make_array_from_callback(array.shape, sharding, array.__getitem__)


def begin(
    args: argparse.Namespace, program: Program, manager: Any, options: dict[str, Any]
) -> tuple[State, int, digits.Position]:
    """Returns state, step and position of the newest checkpoint, or of the start."""
    step = manager.latest_step() if manager else None
    if step is None:
        return program.init(), 0, digits.Position()
    if step > args.steps:
        raise SystemExit(f"--steps is {args.steps}, but {step} are done already")
    like = program.like
    state, record = checkpoint.restore(manager, step, like, options)
    return state, step, digits.Position(*record["position"])


def train(args: argparse.Namespace, program: Program, manager: Any) -> State:
    """Trains to the last step, from where the checkpoints end."""
    options = {name: getattr(args, name) for name in FIXED}
    state, done, position = begin(args, program, manager, options)
    images, labels = digits.load()[0]
    quiet = None if jax.process_index() == 0 else True  # None: as the terminal is
    steps = range(done + 1, args.steps + 1)
    for step in tqdm(steps, "train", args.steps, initial=done, disable=quiet):
        batch, position = digits.next_batch(position, args.seed, args.batch_size)
        arrays = [place(x[batch], program.batch) for x in (images, labels)]
        state, _ = program.step(state, *arrays)
        if manager and (step % args.save_every == 0 or step == args.steps):
            record = {"position": position, "options": options}
            checkpoint.save(manager, step, state, record)
    return state


def report(args: argparse.Namespace, state: State, seconds: float) -> None:
    """Prints what was reached, and writes the parameters."""
    params = jax.tree.map(np.asarray, state.params)
    loss, accuracy = jax.jit(digits.evaluate)(params, *digits.load()[1])
    kind = jax.devices()[0].device_kind
    print(
        f"{args.optimizer}: test accuracy {accuracy:.2%}, loss {loss:.4f} after step "
        f"{args.steps}; {seconds:.1f} s with compilation; devices: {kind} "
        f"x {jax.device_count()}, processes: {jax.process_count()}"
    )
    if args.out:
        np.savez(args.out, **checkpoint.by_path(params))
        print(f"saved {args.out}")


def connect(args: argparse.Namespace) -> None:
    """Meets the other processes, if there are any."""
    given = [args.coordinator, args.processes, args.process_id]
    if args.distributed:
        try:
            jax.distributed.initialize()
        except ValueError as error:  # neither TPU hosts nor SLURM
            raise SystemExit(f"--distributed finds no cluster: {error}") from None
    elif None not in given:
        if args.process_id >= args.processes:
            raise SystemExit(
                f"--process-id is {args.process_id}, allowed is less than "
                f"--processes {args.processes}"
            )
        # Between processes on CPU; the default in newer versions of JAX alone.
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(*given)
    elif given != [None] * 3:
        raise SystemExit(
            "--coordinator, --processes, --process-id: allowed is all three or none"
        )


def allowed(words: str, convert: Callable, check: Callable, text: str) -> Any:
    """An argparse type, given all but the text, whose error says what is allowed."""
    with suppress(ValueError):
        if check(value := convert(text)):
            return value
    raise argparse.ArgumentTypeError(f"{text!r}; allowed is {words}")


def at_least(least: int) -> Callable[[str], int]:
    """An argparse type."""
    return partial(allowed, f"an integer >= {least}", int, lambda n: n >= least)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this command."""
    add, count = parser.add_argument, at_least(1)
    rate = partial(allowed, "a number > 0", float, lambda x: 0 < x < math.inf)
    batch = partial(
        allowed, f"1 to {digits.TRAIN}", int, lambda n: 1 <= n <= digits.TRAIN
    )
    npz = partial(
        allowed, "a file in a folder that exists", Path, lambda p: p.parent.is_dir()
    )
    add("--optimizer", choices=OPTIMIZERS, default="aida", help="default %(default)s")
    add("--moments", choices=MOMENTS, default="float32", help="default %(default)s")
    add("--learning-rate", type=rate, default=1e-3, help="default %(default)s")
    add("--steps", type=count, default=300, help="in all; default %(default)s")
    add("--batch-size", type=batch, default=64, help="in all; default %(default)s")
    add("--width", type=count, default=64, help="of a block; default %(default)s")
    add("--depth", type=count, default=4, help="number of blocks; default %(default)s")
    add("--seed", type=at_least(0), default=0, help="default %(default)s")
    add("--directory", type=Path, help="of checkpoints, one for all processes")
    add("--save-every", type=count, default=50, help="steps; default %(default)s")
    add("--out", type=npz, help="write the final parameters to this file (.npz)")
    add("--coordinator", metavar="HOST:PORT", help="address of process 0")
    add("--processes", type=count, help="how many there are")
    add("--process-id", type=at_least(0), help="which of them this is, from 0")
    add("--distributed", action="store_true", help="ask the cluster for these three")


def run(args: argparse.Namespace) -> None:
    """Trains, and prints and saves the result."""
    connect(args)
    if args.batch_size % jax.device_count():
        raise SystemExit(
            f"--batch-size is {args.batch_size}, allowed is a multiple of "
            f"the {jax.device_count()} devices"
        )
    manager = checkpoint.open_manager(args.directory) if args.directory else None
    program, began = build(args), time.perf_counter()
    state = jax.block_until_ready(train(args, program, manager))
    seconds = time.perf_counter() - began
    if manager:
        manager.close()  # waits until the last checkpoint is there
    if jax.process_index() == 0:
        report(args, state, seconds)
