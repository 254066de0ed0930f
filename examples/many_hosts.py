"""Trains on one device or on many hosts, and goes on where it was stopped or killed.

    python examples/many_hosts.py --directory RUN              # one process, all devices
    ... --coordinator HOST:PORT --processes 2 --process-id 0   # two by hand, 0 and 1
    ... --distributed                                          # TPU, SLURM, Open MPI

The digits of scikit-learn, and a scanned stack of blocks. Every device has all parameters,
a part of each batch, and a part of the optimizer's state (ZeRO-1).
"""

import argparse
import json
import logging
import os
import signal
import sys
import threading
import time
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

from adabelief_optax import adabelief, aida, ladabelief, ladam, stepsize_statistics

DEPTH, IMAGES, LOG_EVERY, KEPT = 4, 1500, 20, 3
# How many leading axes of an array count layers: the arrays of the blocks have one.
STACKED = {"embed": 0, "blocks": 1, "head": 0}
LAYERWISE = {"aida": aida, "ladam": ladam, "ladabelief": ladabelief}
# What a run must keep when it goes on; --steps may grow.
FIXED = ("optimizer", "learning_rate", "batch_size", "width", "seed")


def draw(width: int, seed: int) -> dict[str, Any]:
    """Returns the parameters at the start; the blocks are one stack."""
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
    """Marks what decays: matrices, whether alone or in a stack; no biases, no norms."""
    return {
        name: jax.tree.map(lambda p, n=STACKED[name]: p.ndim - n > 1, arrays)
        for name, arrays in params.items()
    }


def make_optimizer(name: str, learning_rate: float) -> optax.GradientTransformation:
    """Returns the optimizer with clipping, warm-up and weight decay."""
    rate = optax.warmup_constant_schedule(0.0, learning_rate, 20)
    shared: dict[str, Any] = {"weight_decay": 1e-2, "weight_decay_mask": decayed}
    if name == "adabelief":
        rule = adabelief(rate, **shared)
    else:
        rule = LAYERWISE[name](rate, stacked_axes=STACKED, **shared)
    return optax.chain(optax.clip_by_global_norm(1.0), rule)


def part(mesh: Mesh, x: Any) -> NamedSharding:
    """Returns a sharding over the first axis that the devices divide."""
    spec = [None] * x.ndim
    for axis, length in enumerate(x.shape):
        if length and length % mesh.size == 0:
            spec[axis] = "data"
            break
    return NamedSharding(mesh, PartitionSpec(*spec))


class Program:
    """The compiled functions, and where their arrays are."""

    def __init__(self, args: argparse.Namespace) -> None:
        """Takes all devices of all processes."""
        mesh = jax.make_mesh((jax.device_count(),), ("data",), (AxisType.Auto,))
        tx = make_optimizer(args.optimizer, args.learning_rate)
        everywhere = NamedSharding(mesh, PartitionSpec())
        self.batch = NamedSharding(mesh, PartitionSpec("data"))

        def init() -> tuple[Any, Any]:
            params = draw(args.width, args.seed)
            return params, tx.init(params)

        def step(params: Any, opt_state: Any, x: jax.Array, y: jax.Array) -> Any:
            loss, grads = jax.value_and_grad(loss_of)(params, x, y)
            # Each device adds up its part of the gradients and makes its part of the
            # step. Then all get all new parameters.
            grads = jax.lax.with_sharding_constraint(grads, parts)
            updates, opt_state = tx.update(grads, opt_state, params)
            # Donated buffers are paired with outputs in their order: keep it.
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
        """Returns a batch, of which each process makes its own part alone."""
        return jax.make_array_from_callback(
            array.shape, self.batch, array.__getitem__
        )


def batch_of(step: int, size: int, seed: int) -> np.ndarray:
    """Returns which images a step takes: a new order each epoch."""
    epoch, position = divmod(step - 1, IMAGES // size)
    order = np.random.default_rng([seed, epoch]).permutation(IMAGES)
    return order[position * size : (position + 1) * size]


def read(path: Path, like: Any, options: dict[str, Any]) -> Any:
    """Returns the state of a checkpoint, or exits if other options wrote it."""
    written = ocp.JsonCheckpointHandler().restore(path / "options")
    for name, value in options.items():
        if written[name] != value:
            raise SystemExit(
                f"{path} was written with --{name.replace('_', '-')} {written[name]}, "
                f"not {value}: choose that, or another --directory"
            )
    # Not by the manager, for which all processes would have to succeed or fail alike.
    like = ocp.args.StandardRestore(like)
    return ocp.StandardCheckpointHandler().restore(path / "state", args=like)


def resume(manager: ocp.CheckpointManager, like: Any, options: dict) -> tuple[int, Any]:
    """Returns step and state of the newest checkpoint that can be read; 0 if none."""
    problems: list[str] = []
    for step in sorted(manager.all_steps(), reverse=True):
        path, problem = Path(manager.directory) / str(step), ""
        try:
            state = read(path, like, options)
        except Exception as error:  # Orbax has no class of its own for these
            problem = f"{path} cannot be read ({first_line(error)})"
        if not multihost_utils.process_allgather(np.array(bool(problem))).any():
            break
        problems.append(problem or f"{path} cannot be read by another process")
    else:
        if problems:
            raise SystemExit(f"{problems[0]}, nor can any before it")
        return 0, None
    if jax.process_index() == 0:
        for newer in [x for x in manager.all_steps() if x > step]:
            folder = Path(manager.directory) / str(newer)
            folder.rename(folder.with_name(f"damaged-{newer}-{time.time():.0f}"))
        for line in problems:
            print(f"{line}; it is renamed, and step {step} taken instead", flush=True)
    multihost_utils.sync_global_devices("damaged checkpoints are renamed")
    manager.reload()
    return step, state


def first_line(error: Exception) -> str:
    """Returns the beginning of what an error says."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def train(args: argparse.Namespace) -> None:
    """Trains up to the last step, from where the checkpoints end."""
    told = threading.Event()
    if jax.process_count() == 1:  # of several, JAX tells all when one is told
        signal.signal(signal.SIGTERM, lambda *_: told.set())
    signal.signal(signal.SIGINT, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    program = Program(args)
    x, y = load_digits(return_X_y=True)
    x, y = (x / 16).astype(np.float32), y.astype(np.int32)
    options = {name: getattr(args, name) for name in FIXED}
    first = jax.process_index() == 0
    manager_options = ocp.CheckpointManagerOptions(
        args.save_every, max_to_keep=KEPT, cleanup_tmp_directories=True
    )
    with ocp.CheckpointManager(args.directory.absolute(), options=manager_options) as manager:
        done, state = resume(manager, program.like, options)
        params, opt_state = state or program.init()
        if done > args.steps:
            raise SystemExit(f"--steps is {args.steps}, but {done} are done already")
        if first:
            print(f"resumed at step {done}" if done else "begins", flush=True)
            writer = SummaryWriter(str(args.directory / "events"), purge_step=done + 1)
        for step in range(done + 1, args.steps + 1):
            rows = batch_of(step, args.batch_size, args.seed)
            batch = program.place(x[rows]), program.place(y[rows])
            params, opt_state, loss = program.step(params, opt_state, *batch)
            if step % LOG_EVERY == 0:
                metrics = {"loss": loss, **program.statistics(opt_state)}
                if first:
                    log(writer, step, metrics)
            ending = told.is_set() or manager.reached_preemption(step)
            items = ocp.args.Composite(
                state=ocp.args.StandardSave((params, opt_state)),
                options=ocp.args.JsonSave(options),
            )
            manager.save(step, args=items, force=ending or step == args.steps)
            if ending:
                manager.wait_until_finished()
                print(f"told to end: saved step {step}", flush=True)
                sys.exit(143)
    if first:
        writer.close()
    logits = jax.jit(logits_of)(jax.tree.map(np.asarray, params), x[IMAGES:])
    if first:
        print(f"test accuracy {(logits.argmax(-1) == y[IMAGES:]).mean():.3f}")


def log(writer: SummaryWriter, step: int, metrics: dict[str, jax.Array]) -> None:
    """Prints the loss, and writes all metrics for TensorBoard."""
    print(f"step {step}: loss {float(metrics['loss']):.3f}", flush=True)
    for name, value in metrics.items():
        writer.add_scalar(name, float(value), step)


def parse_arguments() -> argparse.Namespace:
    """Returns the options."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--directory", type=Path, required=True, help="for the run; one for all hosts")
    add("--steps", type=int, default=400, help="train up to here")
    add("--save-every", type=int, default=50, help="steps")
    add("--optimizer", choices=["adabelief", *LAYERWISE], default="aida")
    add("--learning-rate", type=float, default=1e-2)
    add("--batch-size", type=int, default=64, help="in all")
    add("--width", type=int, default=64, help="of a block")
    add("--seed", type=int, default=0)
    add("--coordinator", help="HOST:PORT of process 0")
    add("--processes", type=int, help="how many there are")
    add("--process-id", type=int, help="which of them this is, from 0")
    add("--distributed", action="store_true", help="ask the cluster for these three")
    add("--wait", type=int, default=300, help="seconds for the other processes")
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    if args.distributed or args.coordinator:
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(
            args.coordinator,
            args.processes,
            args.process_id,
            initialization_timeout=args.wait,
        )
    train(args)


if __name__ == "__main__":
    main()
