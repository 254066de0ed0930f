"""Trains on one device or on many hosts, and goes on where it was stopped or killed.

    python examples/many_hosts.py --directory RUN              # one process
    ... --coordinator HOST:PORT --processes 2 --process-id 0   # two by hand, 0 and 1
    ... --distributed                                          # TPU, SLURM, Open MPI

Every device has all parameters, its part of each batch, and its part of the optimizer's
state (ZeRO-1). On Ctrl-C, and on SIGTERM, which a cluster sends before it takes a
machine away, all processes save and end. The same command goes on, also with another
number of devices.
"""

import argparse
import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from sklearn.datasets import load_digits
from tensorboardX import SummaryWriter

from adabelief_optax import adabelief, aida, ladabelief, stepsize_statistics

DEPTH, IMAGES, LOG_EVERY, KEPT = 4, 1500, 20, 3
# How many leading axes of an array count layers: the arrays of the blocks have one.
STACKED = {"embed": 0, "blocks": 1, "head": 0}
OPTIMIZERS = {
    "adabelief": adabelief,
    "aida": partial(aida, stacked_axes=STACKED),
    "ladabelief": partial(ladabelief, stacked_axes=STACKED),
}
# Options that must stay the same when a run goes on; --steps may grow.
FIXED = ("optimizer", "learning_rate", "batch_size", "width", "seed")
TOLD = threading.Event()  # set when told to end


def draw(width: int, seed: int) -> dict[str, Any]:
    """Returns the initial parameters; the blocks are scanned layers."""
    keys = jax.random.split(jax.random.key(seed), 4)
    normal, hidden = jax.nn.initializers.he_normal(batch_axis=()), 2 * width
    stacked = jax.nn.initializers.he_normal(batch_axis=0)
    return {
        "embed": {"kernel": normal(keys[0], (64, width))},
        "blocks": {
            "scale": jnp.ones((DEPTH, width)),
            "inner": stacked(keys[1], (DEPTH, width, hidden)),
            "bias": jnp.zeros((DEPTH, hidden)),
            "outer": stacked(keys[2], (DEPTH, hidden, width)) / DEPTH,
        },
        "head": {"kernel": normal(keys[3], (width, 10)), "bias": jnp.zeros(10)},
    }


def loss_of(params: dict[str, Any], x: jax.Array, y: jax.Array) -> jax.Array:
    """Returns the mean cross entropy."""
    logits = logits_of(params, x)
    return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()


def logits_of(params: dict[str, Any], x: jax.Array) -> jax.Array:
    """Returns the logits of a batch."""

    def block(x: jax.Array, p: dict[str, jax.Array]) -> tuple[jax.Array, None]:
        y = jax.nn.standardize(x) * p["scale"][None]
        y = jax.nn.relu(y @ p["inner"] + p["bias"][None])
        return x + y @ p["outer"], None

    x, _ = jax.lax.scan(block, x @ params["embed"]["kernel"], params["blocks"])
    return x @ params["head"]["kernel"] + params["head"]["bias"][None]


def decayed(params: dict[str, Any]) -> dict[str, Any]:
    """Marks matrices, also of scanned layers: biases and norms do not decay."""
    return {
        name: jax.tree.map(lambda p, n=STACKED[name]: p.ndim - n > 1, arrays)
        for name, arrays in params.items()
    }


def make_optimizer(name: str, learning_rate: float) -> optax.GradientTransformation:
    """Returns the optimizer with clipping, warm-up and weight decay."""
    rate = optax.warmup_constant_schedule(0.0, learning_rate, 20)
    rule = OPTIMIZERS[name](rate, weight_decay=1e-2, weight_decay_mask=decayed)
    return optax.chain(optax.clip_by_global_norm(1.0), rule)


def part(mesh: Mesh, x: Any) -> NamedSharding:
    """Returns a sharding over the first axis that the devices divide evenly."""
    spec = [None] * x.ndim
    for axis, length in enumerate(x.shape):
        if length and length % mesh.size == 0:
            spec[axis] = "data"
            break
    return NamedSharding(mesh, PartitionSpec(*spec))


class Program:
    """The compiled functions, and where their arrays are."""

    def __init__(self, args: argparse.Namespace, mesh: Mesh) -> None:
        """Splits batches and the optimizer's state over the mesh."""
        tx = make_optimizer(args.optimizer, args.learning_rate)
        everywhere = NamedSharding(mesh, PartitionSpec())
        self.batch = NamedSharding(mesh, PartitionSpec("data"))

        def init() -> tuple[Any, Any]:
            params = draw(args.width, args.seed)
            return params, tx.init(params)

        def step(params: Any, opt_state: Any, x: jax.Array, y: jax.Array) -> Any:
            loss, grads = jax.value_and_grad(loss_of)(params, x, y)
            # Each device adds up its part of the gradients and makes its part of the
            # step. Then every device gets all new parameters.
            grads = jax.lax.with_sharding_constraint(grads, parts)
            updates, opt_state = tx.update(grads, opt_state, params)
            # JAX pairs donated buffers with outputs in their order: keep this order.
            return optax.apply_updates(params, updates), opt_state, loss

        shapes = jax.eval_shape(init)
        parts = jax.tree.map(partial(part, mesh), shapes[0])
        shardings = (
            jax.tree.map(lambda _: everywhere, shapes[0]),
            jax.tree.map(partial(part, mesh), shapes[1]),
        )
        self.init = jax.jit(init, out_shardings=shardings)
        self.like = jax.tree.map(
            lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s),
            shapes,
            shardings,
        )
        self.step = jax.jit(
            step,
            in_shardings=(*shardings, self.batch, self.batch),
            out_shardings=(*shardings, everywhere),
            donate_argnums=(0, 1),
        )
        self.statistics = jax.jit(stepsize_statistics, out_shardings=everywhere)

    def place(self, array: np.ndarray) -> jax.Array:
        """Returns a batch; each process makes only its own part."""
        return jax.make_array_from_callback(array.shape, self.batch, array.__getitem__)


def batch_of(step: int, size: int, seed: int) -> np.ndarray:
    """Returns the indices of a step's images, in a new order each epoch."""
    epoch, position = divmod(step - 1, IMAGES // size)
    order = np.random.default_rng([seed, epoch]).permutation(IMAGES)
    return order[position * size : (position + 1) * size]


def digits() -> tuple[np.ndarray, np.ndarray]:
    """Returns all images, of 64 pixels from 0 to 1, and which digits they show."""
    x, y = load_digits(return_X_y=True)
    return (x / 16).astype(np.float32), y.astype(np.int32)


def read(path: Path, like: Any, options: dict[str, Any]) -> Any:
    """Returns the state of a checkpoint, or exits if other options wrote it."""
    written = ocp.JsonCheckpointHandler().restore(path / "options")
    for name, value in options.items():
        if written[name] != value:
            raise SystemExit(
                f"{path} was written with --{name.replace('_', '-')} {written[name]}, "
                f"not {value}: choose that, or another --directory"
            )
    # The manager's own restore would wait until all processes have succeeded.
    like = ocp.args.StandardRestore(like)
    return ocp.StandardCheckpointHandler().restore(path / "state", args=like)


def resume(manager: ocp.CheckpointManager, like: Any, options: dict) -> tuple[int, Any]:
    """Returns step and state of the newest checkpoint that can be read, or 0, None."""
    folder, problems = Path(manager.directory), []
    steps = sorted(manager.all_steps(), reverse=True)
    seen = np.array((steps + [0] * KEPT)[:KEPT])
    multihost_utils.assert_equal(seen, f"not all processes see the same {folder}")
    for step in steps:
        problem = ""
        try:
            state = read(folder / str(step), like, options)
        except Exception as error:  # Orbax has no class of its own for these
            problem = in_a_line(error)
        if not multihost_utils.process_allgather(np.array(bool(problem))).any():
            break
        problem = problem or "not by another process"
        problems.append(f"{folder / str(step)} cannot be read ({problem})")
    else:
        if problems:
            raise SystemExit(f"{problems[0]}, nor can an older one: nothing is changed")
        return 0, None
    for newer, problem in zip(steps, problems, strict=False):
        say(f"{problem}: it is renamed, and the run goes on from step {step}")
        if jax.process_index() == 0:
            name = f"damaged-{newer}-{time.time():.0f}"
            (folder / str(newer)).rename(folder / name)
    multihost_utils.sync_global_devices("damaged checkpoints are renamed")
    manager.reload()
    return step, state


def train(args: argparse.Namespace, manager: ocp.CheckpointManager) -> Any:
    """Trains from the newest checkpoint to the last step, and returns parameters."""
    options = {name: getattr(args, name) for name in FIXED}
    every = json.dumps([options, args.steps, args.save_every]).ljust(500).encode()
    words = "the processes were not given the same options"
    multihost_utils.assert_equal(np.frombuffer(every, np.uint8), words)
    # All devices of all processes.
    mesh = jax.make_mesh((jax.device_count(),), ("data",), axis_types=(AxisType.Auto,))
    program = Program(args, mesh)
    done, state = resume(manager, program.like, options)
    if done > args.steps:
        raise SystemExit(f"--steps is {args.steps}, but {done} are done already")
    say(f"resumed at step {done}" if done else "begins")
    params, opt_state = state or program.init()
    images, labels = digits()
    # purge_step drops the points that a killed run has written after its last
    # checkpoint. Without the suffix, a run that goes on within the same second would
    # write over the file of the one before.
    writer = SummaryWriter(
        str(args.directory / "events"),
        purge_step=done + 1,
        filename_suffix=f".{time.time_ns()}",
        write_to_disk=jax.process_index() == 0,
    )
    for step in range(done + 1, args.steps + 1):
        rows = batch_of(step, args.batch_size, args.seed)
        batch = program.place(images[rows]), program.place(labels[rows])
        params, opt_state, loss = program.step(params, opt_state, *batch)
        if step % LOG_EVERY == 0:
            log(writer, step, {"loss": loss, **program.statistics(opt_state)})
        ending = TOLD.is_set() or manager.reached_preemption(step)
        save(manager, step, (params, opt_state), options, ending or step == args.steps)
        if ending:
            writer.close()
            print(f"told to end: saved step {step}", flush=True)
            raise SystemExit(128 + signal.SIGTERM)
    writer.close()
    return params


def save(
    manager: ocp.CheckpointManager, step: int, state: Any, options: dict, last: bool
) -> None:
    """Saves in the background every so often; after the last step, waits for it."""
    items = ocp.args.Composite(
        state=ocp.args.StandardSave(state), options=ocp.args.JsonSave(options)
    )
    try:
        manager.save(step, args=items, force=last)
        if last:
            manager.wait_until_finished()
    except Exception as error:  # on a full disk, a ValueError of tensorstore
        leave(f"cannot save in {manager.directory}: {in_a_line(error)}")


def in_a_line(error: Exception) -> str:
    """Returns what an error says, in one line of bounded length."""
    words = " ".join(str(error).split()) or type(error).__name__
    return words if len(words) < 300 else f"{words[:100]} … {words[-200:]}"


def say(line: str) -> None:
    """Prints a line, in one process."""
    if jax.process_index() == 0:
        print(line, flush=True)


def log(writer: SummaryWriter, step: int, metrics: dict[str, jax.Array]) -> None:
    """Prints the loss, and writes all metrics for TensorBoard."""
    say(f"step {step}: loss {float(metrics['loss']):.3f}")
    for name, value in metrics.items():
        writer.add_scalar(name, float(value), step)


def leave(line: str) -> NoReturn:
    """Ends at once: at a usual end JAX would wait for the others."""
    if jax.process_count() == 1:
        raise SystemExit(line)
    print(f"process {jax.process_index()} ends: {line}", file=sys.stderr, flush=True)
    if jax.process_index() == 0:
        time.sleep(2)  # else process 0 ends the others before they print their line
    os._exit(1)


@contextlib.contextmanager
def leaving() -> Iterator[None]:
    """Leaves where an error says that another process has ended."""
    try:
        yield
    except (jax.errors.JaxRuntimeError, AssertionError) as error:
        if jax.process_count() == 1:
            raise
        leave(in_a_line(error))


def connect(args: argparse.Namespace) -> None:
    """Connects to other processes, if any, and lets SIGTERM and Ctrl-C save."""
    logging.getLogger("absl").setLevel(logging.ERROR)
    # We print one error for a damaged checkpoint; Orbax's threads would print more.
    sys.unraisablehook = lambda _: None
    signal.signal(signal.SIGTERM, lambda *_: TOLD.set())
    signal.signal(signal.SIGINT, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    if not (args.coordinator or args.distributed):
        return
    # If JAX's own threads end this process, C++ prints a page of addresses: drop it.
    command = ["grep", "-Ev", r"^    @ |^\*\*\* Check failure|preemption_notifier"]
    errors = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
    os.dup2(errors.stdin.fileno(), sys.stderr.fileno())
    # For sums between processes on CPU; newer versions of JAX have it by default.
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    print(f"waits up to {args.wait} s for the other processes", flush=True)
    # From here on JAX handles SIGTERM, and tells all processes.
    jax.distributed.initialize(
        args.coordinator,
        args.processes,
        args.process_id,
        initialization_timeout=args.wait,
    )


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Returns the options."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--directory", type=Path, required=True, help="of the run, one for all hosts")
    add("--steps", type=int, default=400, help="train up to here")
    add("--save-every", type=int, default=50, metavar="STEPS")
    add("--optimizer", choices=OPTIMIZERS, default="aida")
    add("--learning-rate", type=float, default=3e-3)
    add("--batch-size", type=int, default=64, help="on all devices")
    add("--width", type=int, default=64, help="of a block")
    add("--seed", type=int, default=0)
    add("--coordinator", metavar="HOST:PORT", help="of process 0")
    add("--processes", type=int, help="how many there are")
    add("--process-id", type=int, help="which of them this is, from 0")
    add("--distributed", action="store_true", help="ask the cluster for these three")
    add("--wait", type=int, default=300, help="seconds for the other processes")
    args = parser.parse_args(arguments)
    for name in ("steps", "save_every", "batch_size", "width"):
        if getattr(args, name) < 1:
            option = f"--{name.replace('_', '-')}"
            parser.error(f"{option} is {getattr(args, name)}, allowed is 1 or more")
    return args


def main(arguments: list[str] | None = None) -> None:
    """Trains, from the checkpoint if there is one, and prints the accuracy."""
    args = parse(arguments)
    connect(args)
    devices = jax.device_count()
    if args.batch_size % devices:
        raise SystemExit(
            f"--batch-size is {args.batch_size}, allowed are multiples of the "
            f"{devices} devices"
        )
    options = ocp.CheckpointManagerOptions(
        args.save_every, max_to_keep=KEPT, cleanup_tmp_directories=True
    )
    # Inside and outside: the manager, too, waits for a process that has ended.
    with (
        leaving(),
        ocp.CheckpointManager(args.directory.absolute(), options=options) as manager,
        leaving(),
    ):
        params = train(args, manager)
    images, labels = digits()
    logits = jax.jit(logits_of)(jax.tree.map(np.asarray, params), images[IMAGES:])
    say(f"test accuracy {(logits.argmax(-1) == labels[IMAGES:]).mean():.3f}")


if __name__ == "__main__":
    main()
