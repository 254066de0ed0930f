"""Does training say in one line what is wrong, and lose nothing by it?"""

import argparse
import json
import re
import signal
import socket
import time
from pathlib import Path
from threading import Thread

import numpy as np
import orbax.checkpoint as ocp
import pytest

from benchmarks import locks
from benchmarks.__main__ import main
from benchmarks.hosts import agreement, checkpoint, command, rendezvous
from tests.benchmarks.test_training import (
    LIMIT,
    SMALL,
    arrays,
    as_two,
    assert_equal,
    saved,
    started,
    until,
)


def refusal(*options):
    """Returns the one line with which a run here ends."""
    with pytest.raises(SystemExit) as error:
        main([str(option) for option in options])
    assert isinstance(error.value.code, str) and "\n" not in error.value.code
    return error.value.code


def copied(source, target):
    """Gives a folder the checkpoints of another, file by file."""
    for file in source.rglob("*"):
        if file.is_file() and not file.name.startswith("."):
            copy = target / file.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(file.read_bytes())


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Returns a folder with checkpoints of 6, 12 and 18 steps."""
    folder = tmp_path_factory.mktemp("whole")
    main([*SMALL, "18", "--directory", str(folder)])
    return folder


def array_file(path):
    """Returns the file of a checkpoint that has the arrays: the largest."""
    files = [f for f in (path / "state").rglob("*") if "d" in f.parts and f.is_file()]
    return max(files, key=lambda f: f.stat().st_size)


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 16
    path.write_bytes(data)


DAMAGES = {
    "bit": lambda path: flip(array_file(path)),
    "emptied": lambda path: (path / "state" / "manifest.ocdbt").write_bytes(b""),
    "no record": lambda path: (path / "record" / "metadata").unlink(),
    "record, not sealed": lambda path: (
        (path / checkpoint.SUMS).unlink(),
        (path / "record" / "metadata").write_text("{}"),
    ),
    "arrays, not sealed": lambda path: (
        (path / checkpoint.SUMS).unlink(),
        (path / "state" / "_METADATA").unlink(),
    ),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_checkpoint_gives_way_to_an_older_one(
    whole, damage, tmp_path, capsys
):
    copied(whole, tmp_path)
    damage(tmp_path / "18")
    line = refusal(*SMALL, 18, "--directory", tmp_path, "--strict")
    assert f"{tmp_path / '18'} cannot be read" in line and "--strict" in line
    capsys.readouterr()
    main([*SMALL, "18", "--directory", str(tmp_path)])
    said = capsys.readouterr().out.splitlines()[0]
    assert f"{tmp_path / '18'} cannot be read" in said
    assert f"goes on from {tmp_path / '12'}" in said
    assert (tmp_path / "damaged-18").is_dir()
    assert_equal(arrays(tmp_path), arrays(whole))


def test_no_whole_checkpoint(whole, tmp_path):
    copied(whole, tmp_path)
    for step in (6, 12, 18):
        flip(array_file(tmp_path / str(step)))
    line = refusal(*SMALL, 18, "--directory", tmp_path)
    assert f"{tmp_path / '18'} cannot be read" in line and "no older one" in line
    assert saved(tmp_path) == 18


def test_a_foreign_checkpoint_is_refused_as_such(tmp_path):
    with ocp.CheckpointManager(tmp_path) as manager:
        manager.save(3, args=ocp.args.StandardSave({"x": np.ones(2)}))
    line = refusal(*SMALL, 18, "--directory", tmp_path)
    assert f"{tmp_path / '3'} was not written by this command" in line


def test_processes_with_other_options_are_refused(monkeypatch):
    def others(options):
        return [options, options | {"seed": 1, "steps": 7}]

    monkeypatch.setattr(agreement, "gather", others)
    line = refusal(*SMALL, 18)
    assert "--seed is 0 in process 0 and 1 in process 1" in line
    assert "--steps is 18 in process 0 and 7 in process 1" in line
    assert "--width" not in line


@pytest.mark.slow
def test_each_process_with_a_folder_of_its_own_is_refused(tmp_path):
    commands = as_two(*SMALL, "18", "--directory")
    for name, words in zip("ab", commands, strict=True):
        words.insert(words.index("--directory") + 1, str(tmp_path / name))
    with started(*commands) as processes:
        for process in processes:
            output, _ = process.communicate(timeout=LIMIT)
            assert process.returncode == 1
            assert "--directory must be one folder that all share" in output
            assert "Traceback" not in output


def test_a_folder_is_checked_at_the_start_and_at_each_save(tmp_path, monkeypatch):
    checks, shared = [], agreement.shared

    def check(folder):
        checks.append(saved(folder))
        if len(checks) == 3:  # it turns read-only
            monkeypatch.setattr(Path, "write_text", unwritable)
        shared(folder)

    def unwritable(self, text):
        raise OSError(30, "Read-only file system", str(self))

    monkeypatch.setattr(agreement, "shared", check)
    line = refusal(*SMALL, 18, "--directory", tmp_path)
    assert f"process 0 cannot write in {tmp_path}: Read-only file system" in line
    assert checks == [0, 0, 6]


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    line = refusal(*SMALL, 18, "--directory", tmp_path / "file" / "run")
    assert "cannot write in" in line


def test_a_second_run_on_a_folder_is_refused(tmp_path):
    with locks.locked(tmp_path):
        line = refusal(*SMALL, 18, "--directory", tmp_path)
        assert f"{tmp_path} is in use by process " in line
        assert f" on {socket.gethostname()} since " in line
    with locks.locked(tmp_path):
        pass  # it is free again


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("localhost:80", ("localhost", 80)),
        ("[::1]:65535", ("::1", 65535)),
        ("host:80x", None),
        ("host:0", None),
        ("host:65536", None),
        ("host:", None),
        (":80", None),
        ("host", None),
        ("::1:80", None),
    ],
)
def test_addresses(text, address):
    if address is None:
        with pytest.raises(ValueError, match=re.escape(text)):
            rendezvous.address(text)
    else:
        assert rendezvous.address(text) == address
        assert str(rendezvous.address(text)) == text


def test_a_wrong_coordinator_is_an_error_of_argparse(capsys):
    with pytest.raises(SystemExit) as error:
        main(["train", "--coordinator", "host:80x"])
    assert error.value.code == 2
    assert "'host:80x'; allowed is HOST:PORT" in capsys.readouterr().err


@pytest.fixture
def free():
    """Returns an address at which nobody listens."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
    return rendezvous.Address("127.0.0.1", port)


def met(where, *numbers, seconds=5.0):
    """Returns how the processes end that meet: None, or a line."""
    ends = {}

    def meet(key, processes, number):
        try:
            ends[key] = rendezvous.meet(where, processes, number, seconds)
        except SystemExit as error:
            ends[key] = error.code

    threads = [Thread(target=meet, args=(i, *x)) for i, x in enumerate(numbers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [ends[i] for i in range(len(numbers))]


def test_processes_that_are_all_there_meet(free):
    assert met(free, (3, 0), (3, 1), (3, 2)) == [None] * 3


@pytest.mark.parametrize(
    ("numbers", "line"),
    [
        ([(2, 1)], "process 1 cannot reach process 0 at --coordinator"),
        ([(2, 0)], "process 1 did not come within 3 s"),
        ([(3, 0), (3, 1), (3, 1)], "--process-id 1 was given to two processes"),
        ([(3, 0), (2, 1)], "--processes is 3 in process 0, 2 in 1"),
    ],
)
def test_processes_that_do_not_meet(free, numbers, line):
    began = time.monotonic()
    ends = met(free, *numbers, seconds=3.0)  # on a busy machine too
    assert all(line in end for end in ends), ends
    assert time.monotonic() - began < 20


def test_process_0_hears_what_is_wrong_though_it_comes_last(free):
    # The server answered those that were there, and process 0 waited until the end.
    with rendezvous.listen(free) as server:
        serving = Thread(target=rendezvous.serve, args=(server, 3, 10.0))
        serving.start()
        end, ends = time.monotonic() + 10, []
        early = Thread(target=lambda: ends.append(rendezvous.ask(free, 2, 1, end)))
        early.start()
        time.sleep(0.5)
        line = "--processes is 3 in process 0, 2 in 1"
        assert rendezvous.ask(free, 3, 0, end) == line
        early.join()
        serving.join()
    assert ends == [line]


def test_a_port_in_use_is_named(free):
    with socket.create_server(free):
        (line,) = met(free, (2, 0), seconds=1.0)
    assert f"cannot listen at --coordinator {free}" in line


def test_a_full_disk_ends_in_one_line(tmp_path, monkeypatch):
    usage = argparse.Namespace(free=1000)
    monkeypatch.setattr(checkpoint.shutil, "disk_usage", lambda folder: usage)
    line = refusal(*SMALL, 18, "--directory", tmp_path)
    assert f"cannot save in {tmp_path}: 1,000 bytes are free" in line


def test_an_error_of_saving_is_one_line_in_the_systems_words(tmp_path):
    manager = argparse.Namespace(directory=tmp_path)
    with (
        pytest.raises(SystemExit) as error,
        checkpoint.saving(manager),
    ):
        raise ValueError(
            'RESOURCE_EXHAUSTED: Error writing "x/0.0":\n Failed to write 8 bytes to '
            "file 5: No space left on device [os_error_code='28']"
        )
    assert f"cannot save in {tmp_path}: No space left on device;" in error.value.code
    assert "\n" not in error.value.code


@pytest.mark.slow
def test_ctrl_c_is_one_line(tmp_path):
    with started([*SMALL, "100000", "--directory", str(tmp_path)]) as processes:
        until(lambda: saved(tmp_path) > 6, processes)
        processes[0].send_signal(signal.SIGINT)
        output, _ = processes[0].communicate(timeout=LIMIT)
    assert processes[0].returncode == command.INTERRUPTED
    (line,) = output.strip().splitlines()
    assert "the same command goes on" in line


def test_out_is_the_very_file(tmp_path, capsys):
    main([*SMALL, "1", "--out", str(tmp_path / "NAME")])
    assert [path.name for path in tmp_path.iterdir()] == ["NAME"]
    assert f"saved {tmp_path / 'NAME'}\n" in capsys.readouterr().out
    assert "head/kernel" in np.load(tmp_path / "NAME")


def test_sums_are_of_all_files(whole):
    known = json.loads((whole / "18" / checkpoint.SUMS).read_text())
    assert len(known) > 8 and checkpoint.SUMS not in known
