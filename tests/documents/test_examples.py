"""Do the examples train, write what they promise, and go on where they ended?"""

import os
import signal
import struct
import subprocess
import sys
import time

import pytest
from tensorboardX.proto.event_pb2 import Event, SessionLog

from tests.helpers import QUICK, ROOT, python

EXAMPLES = {
    "flax_nnx": "inner/kernel",
    "flax_linen": "params/inner/kernel",
    "equinox_loop": "layers/0/weight",
}


def started(name, directory, steps):
    """Runs the example to its end."""
    options = ["--directory", directory, "--steps", steps]
    return python(
        "-W",
        "error",
        ROOT / "examples" / f"{name}.py",
        *options,
        PYTHONPATH=os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        # Compiling takes most of the time, and the later runs need it no more.
        JAX_COMPILATION_CACHE_DIR=str(directory.parent / "cache"),
        JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="0",
    )


def trained(name, directory, steps):
    """Returns what the example prints."""
    done = started(name, directory, steps)
    assert done.returncode == 0, done.stderr
    return done.stdout


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
def test_example(name, kernel, tmp_path):
    output = trained(name, tmp_path / "whole", 100)
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

    assert "resumed" not in trained(name, tmp_path / "parts", 50)
    assert "resumed at step 50" in trained(name, tmp_path / "parts", 100)
    assert read(tmp_path / "parts") == whole

    # As if the disk had lost what the newest checkpoint was. There are points already.
    (tmp_path / "parts" / "100" / "default" / "manifest.ocdbt").write_bytes(b"")
    *_, line, resumed = (
        trained(name, tmp_path / "parts", 100).split("step 60")[0].splitlines()
    )
    assert "checkpoint 100 cannot be read (" in line and "goes on from step 50" in line
    assert resumed == "resumed at step 50"
    assert read(tmp_path / "parts") == whole
    refused = started(name, tmp_path / "parts", 60)
    assert refused.stderr == "--steps is 60, but 100 are done already\n"
    assert refused.returncode == 1


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "steps"), [("flax_nnx", "0"), ("flax_linen", "-5"), ("equinox_loop", "0")]
)
def test_steps_that_are_none_are_refused(name, steps, tmp_path):
    done = started(name, tmp_path / "run", steps)
    assert done.returncode == 2
    assert f"--steps is {steps}, allowed is an integer >= 1" in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.long
def test_ctrl_c_saves_and_ends(tmp_path):
    path = ROOT / "examples" / "flax_linen.py"
    command = [sys.executable, path, "--directory", tmp_path, "--steps", "1000000"]
    process = subprocess.Popen(
        list(map(str, command)),
        env={**os.environ, **QUICK, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    while not (tmp_path / "100").exists():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    *_, line = output.splitlines()
    assert "Traceback" not in output
    step = int(line.removeprefix("told to end: saved step "))
    assert (tmp_path / str(step)).exists()
