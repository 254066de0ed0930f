"""Does examples/many_hosts.py lose anything when it is killed, told to end, or damaged?

The drills of hosts that never come, die or hang take minutes: `make test-hosts`.
"""

import os
import random
import resource
import shutil
import signal
import socket
import sys
import threading
import time

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from tests.documents.test_examples import read, started, until
from tests.helpers import ROOT, load

NAME = "many_hosts.py"
SMALL = "--width 8 --batch-size 32 --save-every 20 --learning-rate 1e-2 --steps".split()
LONG = "1000000"
LIMIT = 300  # seconds that any process may take, on a busy machine too
ENDED = 30  # seconds from SIGTERM to the end
DIES, HANGS = (1, 3), (67, 93)  # seconds until the others end, as measured


@pytest.fixture(scope="module")
def example():
    """Returns the example as a module, which compiles each program once."""
    module = load(f"examples/{NAME}")
    make, made = module.Program, {}

    def program(args, mesh):
        key = tuple(getattr(args, name) for name in module.FIXED)
        if key not in made:
            made[key] = make(args, mesh)
        return made[key]

    module.Program = program
    return module


@pytest.fixture
def run(example, run):
    """Returns a function that runs this example, and returns what it prints."""

    def run_example(*arguments):
        example.TOLD.clear()
        return run(example, *arguments)

    return run_example


@pytest.fixture(scope="module")
def whole(example, tmp_path_factory):
    """Returns the folder of a run of 60 steps here, on eight devices."""
    folder = tmp_path_factory.mktemp("whole")
    example.main([*SMALL, "60", "--directory", str(folder)])
    return folder


def saved(folder):
    """Returns the last step that a folder has a checkpoint of."""
    names = [path.name for path in folder.glob("*")]
    return max((int(name) for name in names if name.isdecimal()), default=0)


def arrays(folder):
    """Returns all arrays of the last checkpoint, read by Orbax alone."""
    path, reader = folder / str(saved(folder)) / "state", ocp.PyTreeCheckpointer()
    metadata = reader.metadata(path)
    tree = getattr(metadata, "item_metadata", metadata).tree
    as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
    restored = reader.restore(path, restore_args=as_numpy)
    return {
        jax.tree_util.keystr(path): np.asarray(x)
        for path, x in jax.tree_util.tree_leaves_with_path(restored)
    }


def assert_equal(actual, expected):
    assert len(expected) > 15 and actual.keys() == expected.keys()
    for path, x in expected.items():
        assert actual[path].dtype == x.dtype
        np.testing.assert_array_equal(actual[path], x, err_msg=path)


def copied(source, target):
    """Gives a folder the checkpoints of another."""
    for path in source.iterdir():
        if path.name.isdecimal():
            shutil.copytree(path, target / path.name)


def as_two(*command):
    """Returns a command for each of two processes, which meet at a free port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    rank = ["--coordinator", address, "--processes", "2", "--process-id"]
    return [[*command, *rank, process] for process in "01"]


def unfinished(folder):
    """Returns the folders into which a checkpoint is being written."""
    return {path for path in folder.glob("*") if "orbax-checkpoint-tmp" in path.name}


def kill_while_saving(folder, process):
    """Kills a process that has begun to write a checkpoint, and leaves it so."""
    while True:
        until(lambda: unfinished(folder), [process])
        os.kill(process.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        if partial := unfinished(folder):
            break  # it stands still in the middle
        os.kill(process.pid, signal.SIGCONT)
    process.kill()
    assert process.wait(LIMIT) == -signal.SIGKILL
    assert unfinished(folder) == partial


def test_it_learns_and_writes_curves(whole):
    curves = read(whole)
    assert set(curves["loss"]) == {20, 40, 60}
    assert curves["loss"][60] < 0.5 * curves["loss"][20]
    assert all(x > 0 for x in curves["stepsize/blocks/inner/mean"].values())
    assert sorted(p.name for p in whole.iterdir()) == ["20", "40", "60", "events"]


def test_the_state_is_spread_and_the_parameters_are_not(example):
    args = example.parse(["--directory", "x", *SMALL, "1"])
    params, opt_state = example.Program(args, jax.make_mesh((8,), ("data",))).like
    assert all(x.sharding.is_fully_replicated for x in jax.tree.leaves(params))
    for x in jax.tree.leaves(opt_state):
        parts = 8 if any(length % 8 == 0 for length in x.shape) else 1
        assert np.prod(x.sharding.shard_shape(x.shape)) * parts == np.prod(x.shape)


def test_only_matrices_decay(example):
    marks = example.decayed(jax.eval_shape(lambda: example.draw(8, 0)))
    assert marks["blocks"] == {
        "bias": False,
        "inner": True,
        "outer": True,
        "scale": False,
    }
    assert marks["head"] == {"bias": False, "kernel": True}


@pytest.mark.long
def test_killed_at_random_and_while_saving(tmp_path, whole, run):
    command, rng = [*SMALL, LONG, "--directory", tmp_path], random.Random(0)
    with started(NAME, command, devices=8) as (process,):
        until(lambda: saved(tmp_path) > 0, [process])
        time.sleep(rng.uniform(0, 0.05))
        process.kill()
        process.wait(LIMIT)
    before = saved(tmp_path)
    assert before < 60  # or the machine is too fast for this test
    with started(NAME, command, devices=8) as (process,):
        kill_while_saving(tmp_path, process)
    assert before <= saved(tmp_path) < 60
    said = run(tmp_path, *SMALL, 60)
    assert "resumed at step" in said
    assert_equal(arrays(tmp_path), arrays(whole))
    assert not unfinished(tmp_path)


@pytest.mark.drill
def test_two_processes_told_to_end_lose_nothing(tmp_path, run):
    commands = as_two(*SMALL, LONG, "--directory", tmp_path / "two")
    with started(NAME, *commands) as processes:
        until(lambda: saved(tmp_path / "two") >= 20, processes)
        began = time.monotonic()
        processes[1].send_signal(signal.SIGTERM)
        outputs = [process.communicate(timeout=LIMIT)[0] for process in processes]
    assert time.monotonic() - began < ENDED
    step = saved(tmp_path / "two")
    for process, output in zip(processes, outputs, strict=True):
        assert process.returncode == 128 + signal.SIGTERM
        *_, line = output.strip().splitlines()
        assert line == f"told to end: saved step {step}"
        assert "Traceback" not in output and "preemption" not in output
    whole = as_two(*SMALL, step, "--directory", tmp_path / "whole")
    with started(NAME, *whole) as processes:
        assert [process.wait(LIMIT) for process in processes] == [0, 0]
    assert_equal(arrays(tmp_path / "two"), arrays(tmp_path / "whole"))
    # Another number of processes and devices goes on.
    assert f"resumed at step {step}" in run(tmp_path / "two", *SMALL, step + 1)


def test_one_process_told_to_end_saves(tmp_path, whole, run, capsys):
    def tell():
        while saved(tmp_path) < 20:
            time.sleep(0.001)
        os.kill(os.getpid(), signal.SIGINT)  # which passes for SIGTERM

    threading.Thread(target=tell).start()
    with pytest.raises(SystemExit) as error:
        run(tmp_path, *SMALL, LONG)
    assert error.value.code == 128 + signal.SIGTERM
    step = saved(tmp_path)
    *_, line = capsys.readouterr().out.splitlines()
    assert line == f"told to end: saved step {step}"
    if step < 60:
        assert f"resumed at step {step}\n" in run(tmp_path, *SMALL, 60)
        assert_equal(arrays(tmp_path), arrays(whole))


def cut(path):
    """Cuts all files that have the arrays of a checkpoint."""
    files = [f for f in (path / "state").rglob("*") if f.parent.name == "d"]
    for file in files:
        os.truncate(file, file.stat().st_size // 2)


DAMAGES = {
    "arrays": cut,
    "manifest": lambda path: (path / "state" / "manifest.ocdbt").write_bytes(b""),
    "options": lambda path: (path / "options" / "metadata").write_text("{}"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_checkpoint_gives_way(damage, whole, tmp_path, run):
    copied(whole, tmp_path)
    damage(tmp_path / "60")
    line, resumed, *_ = run(tmp_path, *SMALL, 60).splitlines()
    assert f"{tmp_path / '60'} cannot be read (" in line
    assert "it is renamed, and the run goes on from step 40" in line
    assert resumed == "resumed at step 40"
    assert len(list(tmp_path.glob("damaged-60-*"))) == 1
    assert_equal(arrays(tmp_path), arrays(whole))


def test_no_whole_checkpoint(whole, tmp_path, refusal):
    copied(whole, tmp_path)
    for step in (20, 40, 60):
        DAMAGES["manifest"](tmp_path / str(step))
    line = refusal(tmp_path, *SMALL, 60)
    assert f"{tmp_path / '60'} cannot be read" in line and "nothing is changed" in line
    assert {p.name for p in tmp_path.iterdir()} >= {"20", "40", "60"}


def test_files_that_are_no_checkpoints_are_ignored(whole, tmp_path, run):
    copied(whole, tmp_path)
    (tmp_path / "notes.txt").write_text("no checkpoint")
    (tmp_path / "old-80").mkdir()
    (tmp_path / "best").mkdir()
    assert "resumed at step 60\n" in run(tmp_path, *SMALL, 61)
    assert (tmp_path / "notes.txt").exists() and (tmp_path / "best").exists()


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ("--optimizer adabelief", "--optimizer aida, not adabelief"),
        ("--learning-rate 0.5", "--learning-rate 0.01, not 0.5"),
        ("--width 16", "--width 8, not 16"),
        ("--batch-size 64", "--batch-size 32, not 64"),
        ("--seed 1", "--seed 0, not 1"),
        ("--steps 10", "--steps is 10, but 60 are done already"),
        ("--batch-size 33", "allowed are multiples of the 8 devices"),
    ],
)
def test_what_does_not_fit_is_refused(options, line, whole, refusal):
    before = arrays(whole)
    assert line in refusal(whole, *SMALL, 60, *options.split())
    assert_equal(arrays(whole), before)


@pytest.mark.parametrize("option", ["steps", "save-every", "batch-size", "width"])
def test_what_is_none_is_refused(option, example, capsys):
    with pytest.raises(SystemExit):
        example.parse(["--directory", "x", f"--{option}", "0"])
    assert f"--{option} is 0, allowed is" in capsys.readouterr().err


def test_a_full_disk_is_one_line(whole, tmp_path, refusal, capsys):
    copied(whole, tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
        line = refusal(tmp_path, *SMALL, 80)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert f"cannot save in {tmp_path}: " in line and "File too large" in line
    assert "Traceback" not in capsys.readouterr().err
    assert saved(tmp_path) == 60


@pytest.mark.drill
def test_two_processes_killed_again_and_again(tmp_path):
    def ended(folder, steps):
        with started(NAME, *as_two(*SMALL, steps, "--directory", folder)) as processes:
            for process in processes:
                output, _ = process.communicate(timeout=LIMIT)
                assert process.returncode == 0, output

    never, often, rng = tmp_path / "never", tmp_path / "often", random.Random(0)
    ended(never, 200)
    for step in (0, 40, 100):
        with started(NAME, *as_two(*SMALL, LONG, "--directory", often)) as processes:
            until(lambda step=step: saved(often) > step, processes)
            time.sleep(rng.uniform(0, 0.05))
            for process in processes:
                process.kill()
                process.wait(LIMIT)
        assert saved(often) < 200
    ended(often, 200)
    assert_equal(arrays(often), arrays(never))


def test_the_page_says_how_long_the_others_wait(example):
    page = (ROOT / "docs/scale.md").read_text()
    for soonest, latest in (DIES, HANGS):
        assert f"| {soonest} to {latest} s |" in page
    wait = example.parse(["--directory", "x"]).wait
    assert f"| `--wait`, {wait} s by default, " in page


@pytest.mark.drill
@pytest.mark.parametrize("number", [0, 1])
def test_a_host_that_never_comes(number, tmp_path):
    command = as_two(*SMALL, LONG, "--directory", tmp_path, "--wait", "20")[number]
    began = time.monotonic()
    with started(NAME, command) as (process,):
        output, _ = process.communicate(timeout=LIMIT)
    assert 20 <= time.monotonic() - began < 120
    assert process.returncode != 0
    assert "waits up to 20 s for the other processes" in output
    assert "DEADLINE_EXCEEDED" in output and len(output.splitlines()) < 8


@pytest.mark.drill
@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize(
    ("fault", "after", "words"),
    [
        # JAX ends the others at once if it notices before the sum does.
        (
            signal.SIGKILL,
            DIES,
            ["ends: ", "Socket closed", "stopped sending heartbeats"],
        ),
        (signal.SIGSTOP, HANGS, ["stopped sending heartbeats"]),
    ],
    ids=["dies", "hangs"],
)
def test_a_host_that_fails(fault, after, words, number, tmp_path):
    commands = as_two(*SMALL, LONG, "--directory", tmp_path)
    with started(NAME, *commands) as processes:
        until(lambda: saved(tmp_path) >= 20, processes)
        began = time.monotonic()
        processes[number].send_signal(fault)
        output, _ = processes[1 - number].communicate(timeout=after[1] + 100)
    print(f"{fault.name} {number}: {time.monotonic() - began:.1f} s", file=sys.stderr)
    assert processes[1 - number].returncode not in (0, -signal.SIGKILL)
    assert "    @ " not in output
    assert len(output.splitlines()) < 30, output
    assert any(word in output for word in [*words, "DEADLINE_EXCEEDED"])
