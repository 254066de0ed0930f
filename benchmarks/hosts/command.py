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
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from benchmarks import cli
from benchmarks.hosts import batches, checkpoint, network
from benchmarks.hosts.program import ARGUMENTS, Program, State, build, place

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


def begin(
    args: argparse.Namespace, program: Program, manager: Any, options: dict[str, Any]
) -> tuple[State, int, batches.Position]:
    """Returns state, step and position of the newest checkpoint, or of the start."""
    step = manager.latest_step() if manager else None
    if step is None:
        return program.init(), 0, batches.Position()
    if step > args.steps:
        raise SystemExit(f"--steps is {args.steps}, but {step} are done already")
    like = program.like
    state, record = checkpoint.restore(manager, step, like, options)
    return state, step, batches.Position(*record["position"])


def train(args: argparse.Namespace, program: Program, manager: Any) -> State:
    """Trains to the last step, from where the checkpoints end."""
    options = {name: getattr(args, name) for name in FIXED}
    state, done, position = begin(args, program, manager, options)
    images, labels = batches.load()[0]
    quiet = None if jax.process_index() == 0 else True  # None: as the terminal is
    steps = range(done + 1, args.steps + 1)
    for step in tqdm(steps, "train", args.steps, initial=done, disable=quiet):
        batch, position = batches.next_batch(position, args.seed, args.batch_size)
        arrays = [place(x[batch], program.batch) for x in (images, labels)]
        state, _ = program.step(state, *arrays)
        if manager and (step % args.save_every == 0 or step == args.steps):
            record = {"position": position, "options": options}
            checkpoint.save(manager, step, state, record)
    return state


def report(args: argparse.Namespace, state: State, seconds: float) -> None:
    """Prints what was reached, and writes the parameters."""
    params = jax.tree.map(np.asarray, state.params)
    loss, accuracy = jax.jit(network.evaluate)(params, *batches.load()[1])
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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this command."""
    add, count = parser.add_argument, cli.integer(1)
    rate, batch = cli.positive, cli.integer(1, batches.TRAIN)
    add("--optimizer", choices=ARGUMENTS, default="aida", help="default %(default)s")
    add("--moments", choices=MOMENTS, default="float32", help="default %(default)s")
    add("--learning-rate", type=rate, default=1e-3, help="default %(default)s")
    add("--steps", type=count, default=300, help="in all; default %(default)s")
    add("--batch-size", type=batch, default=64, help="in all; default %(default)s")
    add("--width", type=count, default=64, help="of a block; default %(default)s")
    add("--depth", type=count, default=4, help="number of blocks; default %(default)s")
    add("--seed", type=cli.integer(0), default=0, help="default %(default)s")
    add("--directory", type=Path, help="of checkpoints, one for all processes")
    add("--save-every", type=count, default=50, help="steps; default %(default)s")
    add("--out", type=cli.file, help="write the final parameters to this file (.npz)")
    add("--coordinator", metavar="HOST:PORT", help="address of process 0")
    add("--processes", type=count, help="how many there are")
    add("--process-id", type=cli.integer(0), help="which of them this is, from 0")
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
