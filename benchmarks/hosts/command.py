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
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import jax
import numpy as np
from tqdm import tqdm

from benchmarks import cli, locks
from benchmarks.hosts import agreement, batches, checkpoint, network, rendezvous
from benchmarks.hosts.program import ARGUMENTS, Program, State, build, place

MOMENTS = ("float32", "bfloat16")
SAME = ("steps", "save_every", "strict")  # with FIXED, the same in all processes
INTERRUPTED = 130  # the exit status that shells know
WHERE = "HOST:PORT, with a port from 1 to 65535"
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


def newest(args: argparse.Namespace) -> int | None:
    """Returns the step to go on from, and says what is wrong with later ones."""
    found = checkpoint.find(args.directory)
    if found.damages and args.strict:
        raise SystemExit(f"{found.damages[0]}; without --strict, an older one is used")
    for line in checkpoint.pass_over(args.directory, found):
        print(line, flush=True)
    return found.step


def begin(
    args: argparse.Namespace, program: Program, step: int | None, options: dict
) -> tuple[State, int, batches.Position]:
    """Returns state, step and position of a checkpoint, or of the start."""
    if step is None:
        return program.init(), 0, batches.Position()
    if step > args.steps:
        raise SystemExit(f"--steps is {args.steps}, but {step} are done already")
    path = args.directory / str(step)
    state, record = checkpoint.restore(path, program.like, options)
    return state, step, batches.Position(*record["position"])


def train(args: argparse.Namespace, program: Program) -> State:
    """Trains to the last step, from where the checkpoints end."""
    options = {name: getattr(args, name) for name in FIXED}
    folder = args.directory
    step = agreement.first(lambda: newest(args)) if folder else None
    state, done, position = begin(args, program, step, options)
    manager = checkpoint.open_manager(folder) if folder else None
    images, labels = batches.load()[0]
    quiet = None if jax.process_index() == 0 else True  # None: as the terminal is
    steps = range(done + 1, args.steps + 1)
    for step in tqdm(steps, "train", args.steps, initial=done, disable=quiet):
        batch, position = batches.next_batch(position, args.seed, args.batch_size)
        arrays = [place(x[batch], program.batch) for x in (images, labels)]
        state, _ = program.step(state, *arrays)
        if manager and (step % args.save_every == 0 or step == args.steps):
            checkpoint.finish(manager)
            agreement.shared(folder)
            agreement.together(partial(checkpoint.no_room, folder, state))
            record = {"position": position, "options": options}
            checkpoint.save(manager, step, state, record)
    if manager:
        checkpoint.finish(manager)
        manager.close()
    return jax.block_until_ready(state)


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
        save_arrays(args.out, checkpoint.by_path(params))
        print(f"saved {args.out}")


def save_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Writes a file of this very name; NumPy alone would append .npz."""
    try:
        with path.open("wb") as file:
            np.savez(file, **arrays)
    except OSError as error:
        raise SystemExit(f"cannot write --out {path}: {error.strerror}") from None


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
        rendezvous.meet(*given, args.wait)
        # Between processes on CPU; the default in newer versions of JAX alone.
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(str(args.coordinator), *given[1:])
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
    add("--strict", action="store_true", help="refuse a damaged newest checkpoint")
    where = partial(cli.allowed, WHERE, rendezvous.address, bool)
    add("--coordinator", type=where, metavar="HOST:PORT", help="of process 0")
    add("--processes", type=count, help="how many there are")
    add("--process-id", type=cli.integer(0), help="which of them this is, from 0")
    words = "seconds for the other processes; default %(default)s"
    add("--wait", type=cli.positive, default=30, help=words)
    add("--distributed", action="store_true", help="ask the cluster for these three")


def agree(args: argparse.Namespace) -> None:
    """Exits if the processes differ in what they should do."""
    agreement.same_devices()
    options = {name: getattr(args, name) for name in (*FIXED, *SAME)}
    agreement.same_options(options | {"directory": bool(args.directory)})
    if args.batch_size % jax.device_count():
        raise SystemExit(
            f"--batch-size is {args.batch_size}, allowed is a multiple of "
            f"the {jax.device_count()} devices"
        )


@contextmanager
def owned(folder: Path | None) -> Iterator[None]:
    """Has the folder for this run alone, or exits; process 0 has its lock for all."""
    if folder is None:
        yield
        return
    held = []
    agreement.first(lambda: held.append(locks.acquire(folder)))
    try:
        agreement.shared(folder)
        yield
    finally:
        for lock in held:
            locks.release(lock)


def run(args: argparse.Namespace) -> None:
    """Trains, and prints and saves the result."""
    try:
        connect(args)
        agree(args)
        with owned(args.directory):
            program, began = build(args), time.perf_counter()
            state = train(args, program)
            seconds = time.perf_counter() - began
        if jax.process_index() == 0:
            report(args, state, seconds)
    except KeyboardInterrupt:
        print("stopped; with --directory, the same command goes on from there")
        leave()


def leave() -> None:
    """Ends the process at once: its threads, in the middle of work, would crash it."""
    sys.stdout.flush()
    if jax.process_count() > 1 and jax.process_index() == 0:
        time.sleep(1)  # without process 0 the others print a trace of C++
    os._exit(INTERRUPTED)
