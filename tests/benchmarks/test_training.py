"""Does training on several processes, killed and resumed, lose anything?"""

import argparse
import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest

import adabelief_optax as ao
from benchmarks.__main__ import main
from benchmarks.hosts import command, program
from benchmarks.hosts.checkpoint import by_path
from tests.helpers import QUICK, QUICK_FLAGS, ROOT

SMALL = "train --width 8 --depth 2 --batch-size 32 --save-every 6 --steps".split()
STEPS = 60
LIMIT = 120  # seconds that any process may take

run_here = main  # with the eight devices of this process, and without new imports


@contextlib.contextmanager
def started(*commands, devices=1):
    """Starts processes, of which none outlives the block."""
    flags = f"{QUICK_FLAGS} --xla_force_host_platform_device_count={devices}"
    processes = []
    try:
        for command in commands:
            processes.append(
                subprocess.Popen(
                    [sys.executable, "-m", "benchmarks", *command],
                    cwd=ROOT,
                    env={
                        **os.environ,
                        **QUICK,
                        "XLA_FLAGS": flags,
                        "JAX_PLATFORMS": "cpu",
                    },
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    start_new_session=True,
                )
            )
        yield processes
    finally:
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def run_to_end(*commands, devices=1):
    """Runs processes to their end, which must be a good one."""
    with started(*commands, devices=devices) as processes:
        for process in processes:
            output, _ = process.communicate(timeout=LIMIT)
            assert process.returncode == 0, output


def as_two(*command):
    """Returns a command for each of two processes, which meet at a free port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    rank = ["--coordinator", address, "--processes", "2", "--process-id"]
    return [[*command, *rank, process] for process in "01"]


def until(condition, processes):
    """Waits, while all processes run."""
    end = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < end, "time limit"
        for process in processes:
            if process.poll() is not None:
                pytest.fail(f"it ended too early: {process.communicate()[0]}")
        time.sleep(0.001)


def kill(processes):
    """Kills, as nothing can catch."""
    for process in processes:
        assert process.poll() is None, process.communicate()[0]
        os.killpg(process.pid, signal.SIGKILL)
    for process in processes:
        assert process.wait(LIMIT) == -signal.SIGKILL


def saved(directory):
    """Returns the last step that a folder has a whole checkpoint of."""
    names = [path.name for path in directory.glob("*")]
    return max((int(name) for name in names if name.isdecimal()), default=0)


def unfinished(directory):
    """Returns the folders into which a checkpoint is being written."""
    names = [path.name for path in directory.glob("*")]
    others = [n for n in names if not n.isdecimal() and not n.startswith(".")]
    return [directory / name for name in others]


def kill_while_saving(directory, processes):
    """Kills a process that has begun to write a checkpoint, and leaves it so."""
    (process,), began = processes, saved(directory)
    # What an earlier end has left is gone before the first new checkpoint.
    until(lambda: saved(directory) > began, processes)
    while True:
        until(lambda: unfinished(directory), processes)
        os.killpg(process.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        if partial := unfinished(directory):
            break  # it stands still in the middle
        os.killpg(process.pid, signal.SIGCONT)
    kill(processes)
    assert unfinished(directory) == partial


def arrays(directory, step=None):
    """Returns all arrays of the last checkpoint, read by Orbax alone."""
    step = saved(directory) if step is None else step
    path, reader = directory / str(step) / "state", ocp.PyTreeCheckpointer()
    metadata = reader.metadata(path)
    tree = getattr(metadata, "item_metadata", metadata).tree
    as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
    restored = reader.restore(path, restore_args=as_numpy)
    return {path: np.asarray(x) for path, x in by_path(restored).items()}


def assert_equal(actual, expected):
    assert actual.keys() == expected.keys()
    for path, x in expected.items():
        assert actual[path].dtype == x.dtype
        np.testing.assert_array_equal(actual[path], x, err_msg=path)


def assert_near(actual, expected, rtol=1e-3):
    """Rounding differs, and 20 steps and more make it grow."""
    assert actual.keys() == expected.keys()
    for path, x in expected.items():
        scale = np.abs(x.astype(np.float64)).max()
        np.testing.assert_allclose(
            actual[path].astype(np.float64), x, atol=rtol * scale, err_msg=path
        )


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """Returns the folder of a run of one process with two devices, and its result."""
    directory = tmp_path_factory.mktemp("uninterrupted")
    out = ["--directory", str(directory), "--out", str(directory / "final.npz")]
    run_to_end([*SMALL, str(STEPS), *out], devices=2)
    out = dict(np.load(directory / "final.npz"))
    (directory / "final.npz").unlink()
    return directory, out


@pytest.mark.slow
def test_two_processes_are_one(tmp_path, uninterrupted):
    directory, final = uninterrupted
    two = ["--directory", str(tmp_path / "2"), "--out", str(tmp_path / "2.npz")]
    run_to_end(*as_two(*SMALL, str(STEPS), *two))
    assert_equal(dict(np.load(tmp_path / "2.npz")), final)
    assert_equal(arrays(tmp_path / "2"), arrays(directory))


@pytest.mark.slow
def test_killed_again_and_again(tmp_path, uninterrupted):
    command, rng = [*SMALL, str(STEPS), "--directory", str(tmp_path)], random.Random(0)

    def kill_after(step, processes):
        until(lambda: saved(tmp_path) > step, processes)
        time.sleep(rng.uniform(0, 0.05))
        kill(processes)
        assert saved(tmp_path) < STEPS

    with started(command, devices=2) as processes:
        kill_after(0, processes)
    with started(command, devices=2) as processes:
        kill_while_saving(tmp_path, processes)
    with started(*as_two(*command)) as processes:
        kill_after(24, processes)
    run_to_end(command, devices=2)
    assert_equal(arrays(tmp_path), arrays(uninterrupted[0]))
    assert not unfinished(tmp_path)


@pytest.mark.slow
def test_from_eight_devices_to_one_and_two(tmp_path):
    def command(steps, name):
        rest = ["--optimizer", "ladabelief", "--directory", str(tmp_path / name)]
        return [*SMALL, str(steps), *rest]

    run_to_end(command(12, "one"), devices=8)
    written = arrays(tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    run_to_end([*command(12, "two"), "--out", str(tmp_path / "12.npz")], devices=2)
    for path, x in np.load(tmp_path / "12.npz").items():
        np.testing.assert_array_equal(x, written[f"params/{path}"])
    run_to_end(command(32, "one"))
    run_to_end(command(32, "two"), devices=2)
    run_here(command(32, "never"))  # changed the number of devices
    for name in ("one", "two"):
        assert_near(arrays(tmp_path / name), arrays(tmp_path / "never"))


@pytest.fixture
def in_full():
    """Compiles as users do, which rounds optax.adabelief and ours more alike."""
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)


@pytest.mark.slow
@pytest.mark.usefixtures("in_full")
def test_optax_adabelief_and_ours_go_on_with_each_other(tmp_path):
    def trained(optimizer, steps, name):
        options = ["--optimizer", optimizer, "--directory", str(tmp_path / name)]
        run_here([*SMALL, str(steps), *options])
        return arrays(tmp_path / name)

    # Few steps: the two round otherwise, and differences grow.
    ours = trained("adabelief", 12, "ours")
    theirs = trained("optax.adabelief", 6, "both")
    assert theirs.keys() == ours.keys()
    assert_near(trained("adabelief", 12, "both"), ours)
    trained("optax.adabelief", 12, "ours")  # reads it, and has no step to make
    with pytest.raises(SystemExit, match="not adam"):
        trained("adam", 12, "ours")


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [(optax.adabelief, ao.adabelief), (ao.adabelief, optax.adabelief)],
    ids=["into ours", "into Optax's"],
)
def test_orbax_alone_restores_adabelief(tmp_path, theirs, ours):
    params = {"kernel": jnp.ones((2, 3)), "bias": jnp.zeros(3)}
    grads = jax.tree.map(jnp.ones_like, params)
    _, saved = theirs(0.1).update(grads, theirs(0.1).init(params), params)
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "state", saved)
        checkpointer.wait_until_finished()
        like = ours(0.1).init(params)
        restored = checkpointer.restore(tmp_path / "state", like)
    chex.assert_trees_all_close(
        ours(0.1).update(grads, restored, params)[0],
        theirs(0.1).update(grads, saved, params)[0],
        rtol=1e-6,
    )


@pytest.mark.parametrize("optimizer", program.ARGUMENTS)
def test_the_state_of_the_optimizer_is_spread(optimizer):
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    like = program.build(parser.parse_args(["--optimizer", optimizer])).like
    for path, x in by_path(like.opt_state).items():
        devices = jax.device_count()
        parts = devices if any(length % devices == 0 for length in x.shape) else 1
        part = x.sharding.shard_shape(x.shape)
        assert np.prod(part) * parts == np.prod(x.shape), path
    assert all(x.sharding.is_fully_replicated for x in jax.tree.leaves(like.params))


@pytest.fixture(scope="module")
def adabelief_run(tmp_path_factory):
    """Returns the command of a run of four steps, of which there is a checkpoint."""
    directory = tmp_path_factory.mktemp("adabelief")
    command = [*SMALL, "4", "--optimizer", "adabelief", "--directory", str(directory)]
    run_here(command)
    return command


@pytest.mark.parametrize(
    ("options", "difference"),
    [
        (
            "--width 16",
            r"it has float32\[2,16\] for params/blocks/inner/bias, expected is "
            r"float32\[2,32\]; it was written with --width 8, not 16",
        ),
        ("--depth 3", r"float32\[2,16\] for params/blocks/inner/bias, .*\[3,16\]"),
        (
            "--optimizer ladabelief",
            r"float32\[2,16\] for opt_state/0/nu/blocks/inner/bias, expected is "
            r"float32\[2\]",
        ),
        ("--optimizer adam", "with --optimizer adabelief, not adam"),  # same arrays
        ("--optimizer aida", "with --optimizer adabelief, not aida"),  # likewise
        (
            "--moments bfloat16",
            r"float32\[2,16\] for opt_state/0/mu/blocks/inner/bias, expected is "
            r"bfloat16\[2,16\]",
        ),
        ("--seed 1", "with --seed 0, not 1"),
        ("--learning-rate 0.1", "with --learning-rate 0.001, not 0.1"),
        ("--batch-size 64", "with --batch-size 32, not 64"),
        ("--steps 2", "--steps is 2, but 4 are done already"),
    ],
)
def test_what_does_not_fit_is_refused(adabelief_run, options, difference):
    before = arrays(Path(adabelief_run[-1]))
    with pytest.raises(SystemExit, match=difference):
        run_here([*adabelief_run, "--steps", "8", *options.split()])
    assert_equal(arrays(Path(adabelief_run[-1])), before)


@pytest.mark.slow
def test_a_refusal_is_one_line(adabelief_run):
    with started([*adabelief_run, "--seed", "7"]) as processes:
        output, _ = processes[0].communicate(timeout=LIMIT)
    assert processes[0].returncode == 1
    assert output.strip().endswith("it was written with --seed 0, not 7")
    assert len(output.strip().splitlines()) == 1, output


@pytest.mark.parametrize(
    ("options", "allowed"),
    [
        ("--batch-size 33", "multiple of the 8 devices"),
        ("--optimizer adam --moments bfloat16", "allowed is float32"),
        ("--process-id 0", "all three or none"),
        (
            "--coordinator localhost:1 --processes 2 --process-id 2",
            "less than --processes 2",
        ),
    ],
)
def test_wrong_options_say_what_is_allowed(options, allowed):
    with pytest.raises(SystemExit, match=allowed):
        run_here([*SMALL, "1", *options.split()])
