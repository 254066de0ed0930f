"""Do the examples train, write what they promise, and go on where they ended?"""

import os
import shutil
import struct

import pytest
from tensorboardX.proto.event_pb2 import Event, SessionLog

from tests.helpers import ROOT, python

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


@pytest.mark.slow
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
    # √((1−b2)/eps_root), with the defaults of adabelief and of aida
    ceiling = 3.2e6 if name == "flax_linen" else 320
    for statistic in ("mean", "std", "min", "max"):
        tag = f"stepsize/{kernel}/{statistic}"
        assert all(0 < x < ceiling for x in whole[tag].values())
    assert len(whole) == 1 + 4 * 6  # two kernels, two biases, scale and bias

    assert "resumed" not in trained(name, tmp_path / "parts", 50)
    shutil.copytree(tmp_path / "parts" / "50", tmp_path / "50")
    assert "resumed at step 50" in trained(name, tmp_path / "parts", 100)
    assert read(tmp_path / "parts") == whole

    # As if it had been killed before it saved, when there were points already.
    shutil.rmtree(tmp_path / "parts" / "100")
    shutil.move(tmp_path / "50", tmp_path / "parts" / "50")
    assert "resumed at step 50" in trained(name, tmp_path / "parts", 100)
    assert read(tmp_path / "parts") == whole


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "steps"), [("flax_nnx", "0"), ("flax_linen", "-5"), ("equinox_loop", "0")]
)
def test_steps_that_are_none_are_refused(name, steps, tmp_path):
    done = started(name, tmp_path / "run", steps)
    assert done.returncode == 2
    assert f"--steps is {steps}, allowed is an integer >= 1" in done.stderr
    assert not (tmp_path / "run").exists()
