"""Do the examples train, write what they promise, and go on where they ended?"""

import contextlib
import os
import signal
import struct
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from tensorboardX.proto.event_pb2 import Event, SessionLog

from tests.helpers import QUICK, QUICK_FLAGS, ROOT, load

EXAMPLES = {
    "flax_nnx": "inner/kernel",
    "flax_linen": "params/inner/kernel",
    "equinox_loop": "layers/0/weight",
}


@contextlib.contextmanager
def started(name, *commands, devices=1):
    """Starts processes of an example, of which none outlives the block."""
    flags = f"{QUICK_FLAGS} --xla_force_host_platform_device_count={devices}"
    environment = {**os.environ, **QUICK, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    environment["PYTHONPATH"] = str(ROOT)
    processes = []
    try:
        for command in commands:
            process = subprocess.Popen(
                [sys.executable, ROOT / "examples" / name, *map(str, command)],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
            processes.append(process)
        yield processes
    finally:
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def until(condition, processes, limit=300):
    """Waits, while all processes run."""
    end = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < end, "time limit"
        for process in processes:
            if process.poll() is not None:
                pytest.fail(f"it ended too early: {process.communicate()[0]}")
        time.sleep(0.001)


def read(directory):
    """Returns {tag: {step: value}} of all event files, as TensorBoard shows them.

    Where a session starts, it drops what earlier ones had from this step on.
    """
    scalars = {}
    for path in sorted((directory / "events").iterdir()):
        data = path.read_bytes()
        while data:  # a record: its length, a checksum, the event, a checksum
            (length,) = struct.unpack("<Q", data[:8])
            event = Event.FromString(data[12 : 12 + length])
            data = data[16 + length :]
            if event.session_log.status == SessionLog.START:
                for steps in scalars.values():
                    for step in [x for x in steps if x >= event.step]:
                        del steps[step]
            for value in event.summary.value:
                steps = scalars.setdefault(value.tag, {})
                assert event.step not in steps
                steps[event.step] = value.simple_value
    return scalars


@pytest.mark.long
@pytest.mark.parametrize(("name", "kernel"), EXAMPLES.items(), ids=list(EXAMPLES))
def test_example(name, kernel, tmp_path, run, refusal, capsys, monkeypatch):
    # TensorBoard's files are named by the second: as if all runs were within one.
    second = SimpleNamespace(time=lambda: 1.8e9)
    monkeypatch.setattr("tensorboardX.event_file_writer.time", second)
    example, parts = load(f"examples/{name}.py"), tmp_path / "parts"
    output = run(example, tmp_path / "whole", "--steps", 100)
    assert "resumed" not in output
    assert float(output.split("test accuracy ")[1]) > 0.8
    assert f"tensorboard --logdir {tmp_path / 'whole' / 'events'}\n" in output
    whole = read(tmp_path / "whole")
    for step, loss in whole["loss"].items():
        assert f"\nstep {step}: loss {loss:.3f}\n" in output
    assert set(whole["loss"]) == {20, 40, 60, 80, 100}
    assert whole["loss"][100] < 0.5 * whole["loss"][20]
    ceiling = 3.2e6  # √((1−b2)/eps_root), with the defaults of all optimizers
    for statistic in ("mean", "std", "min", "max"):
        tag = f"stepsize/{kernel}/{statistic}"
        assert all(0 < x < ceiling for x in whole[tag].values())
    assert len(whole) == 1 + 4 * 6  # two kernels, two biases, scale and bias

    assert "resumed" not in run(example, parts, "--steps", 50)
    assert "resumed at step 50" in run(example, parts, "--steps", 100)
    assert read(parts) == whole

    # As if the disk had lost what the newest checkpoint was. There are points already.
    (parts / "100" / "default" / "manifest.ocdbt").write_bytes(b"")
    said = run(example, parts, "--steps", 100).split("step 60")[0]
    *_, line, resumed = said.splitlines()
    assert "checkpoint 100 cannot be read (" in line and "goes on from step 50" in line
    assert resumed == "resumed at step 50"
    assert read(parts) == whole

    line = refusal(example, parts, "--steps", 60)
    assert line == "--steps is 60, but 100 are done already"
    with pytest.raises(SystemExit):
        run(example, parts, "--steps", 0)
    line = "--steps is 0, allowed is an integer >= 1\n"
    assert capsys.readouterr().err.endswith(line)


@pytest.mark.long
def test_ctrl_c_saves_and_ends(tmp_path):
    command = ["--directory", tmp_path, "--steps", 1_000_000]
    with started("flax_linen.py", command) as (process,):
        until((tmp_path / "100").exists, [process])
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    *_, line = output.splitlines()
    assert "Traceback" not in output
    step = int(line.removeprefix("told to end: saved step "))
    assert (tmp_path / str(step)).exists()
