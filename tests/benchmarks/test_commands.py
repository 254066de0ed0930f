"""Do the commands of the README run, and refuse what they do not know?"""

import functools
import json
import os
import re
import subprocess

import jax
import numpy as np
import pytest

from benchmarks import timing
from benchmarks.__main__ import main
from benchmarks.speed import step_time
from tests.helpers import ROOT, python


@pytest.mark.long
def test_demo(tmp_path):
    done = python(
        "-m",
        "benchmarks",
        "demo",
        "--smoke",
        "--optimizers",
        "adam,aida",
        "--out",
        str(tmp_path),
    )
    assert done.returncode == 0, done.stderr
    assert "Aida" in done.stdout and "±" in done.stdout
    assert "warn" not in done.stderr.lower()
    (picture,) = tmp_path.iterdir()
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_step_time(tmp_path):
    path = tmp_path / "times.json"
    words = "--smoke", "--optimizers", "aida,aida-loop", "--json", str(path)
    done = python("-m", "benchmarks", "step-time", *words)
    assert done.returncode == 0, done.stderr
    found = json.loads(path.read_text())
    assert list(found["optimizers"]) == ["optax.adam", "aida", "aida-loop"]
    whole, update = done.stdout.split("update alone")
    assert re.search(r"^aida / optax\.adam +[\d.]+ \(", whole, re.MULTILINE)
    assert re.search(r"^aida-loop ", update, re.MULTILINE)
    for model in ("Transformer", "convolutional net"):
        assert f"whole training step, {model}" in whole
        (batch,) = found["whole_steps"][model]["batches"].values()
        assert list(batch) == ["optax.adam", "aida"]
        assert batch["optax.adam"]["ratio"]["median"] == 1


def lines_of_make(target):
    """Returns the commands that `make` would run, without running them."""
    words = ["make", "--dry-run", "--old-file", ".venv-gpu/.installed", target]
    # Not those of a `make test ARGS=...` that runs this.
    given = "ARGS", "MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MFLAGS"
    env = {k: v for k, v in os.environ.items() if k not in given}
    done = subprocess.run(
        words, cwd=ROOT, env=env, capture_output=True, text=True, check=True
    )
    return done.stdout.replace("\\\n", " ").splitlines()


@pytest.mark.long
def test_step_time_as_on_a_gpu(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(timing, "on_cpu", lambda: False)
    monkeypatch.setattr(step_time, "on_cpu", lambda: False)
    copy = functools.partial(step_time.copy_bandwidth, 2**20)
    monkeypatch.setattr(step_time, "copy_bandwidth", copy)
    commands = [x.split() for x in lines_of_make("step-time-gpu")]
    assert len(commands) == 2
    assert all("JAX_PLATFORMS=cuda" in words for words in commands)
    for words in commands:
        assert words[words.index("benchmarks") - 1] == "-m"
        arguments = words[words.index("benchmarks") + 1 :]
        path = tmp_path / arguments[arguments.index("--json") + 1].split("/")[-1]
        arguments[arguments.index("--json") + 1] = str(path)
        with jax.numpy_rank_promotion("allow"):  # as users have it
            main([*arguments, "--optimizers", "adabelief", "--smoke"])
        out = capsys.readouterr().out
        assert re.search(r"^optax\.adam .* \d+%$", out, re.MULTILINE)
        assert "TB/s read and written" in out
        found = json.loads(path.read_text())
        assert found["copy_bytes_per_second"] > 0
        assert list(found["optimizers"]) == ["optax.adam", "adabelief"]
        assert ("whole_steps" in found) == ("--small-arrays" not in arguments)


@pytest.mark.long
def test_bfloat16(tmp_path):
    done = python("-m", "benchmarks", "bfloat16", "--smoke", "--results", tmp_path)
    assert done.returncode == 0, done.stderr
    (path,) = tmp_path.rglob("*.jsonl")
    found = {r["setting"]: r for r in map(json.loads, path.read_text().splitlines())}
    assert [r["bytes"] for r in found.values()] == [12.0, 10.0, 10.0, 6.0]
    assert 0.1 < np.mean(found["plain"]["lost"]) < 0.9
    assert all(name in done.stdout for name in found)


@pytest.mark.parametrize(
    ("arguments", "allowed"),
    [
        (["demo", "--seeds", "0"], "integer >= 2"),
        (["demo", "--epochs", "many"], "integer >= 1"),
        (["demo", "--optimizers", "adam,aido"], "ladabelief"),
        (["step-time", "--steps", "0"], "integer"),
        (["step-time", "--optimizers", "aido"], "adabelief"),
        (["traffic", "--platform", "tpu", "--optimizers", "aido"], "ladabelief"),
        (["traffic", "--platform", "cpu"], "cuda"),
        (["no-such-benchmark"], "step-time"),
    ],
)
def test_wrong_options_say_what_is_allowed(arguments, allowed, capsys):
    with pytest.raises(SystemExit) as error:
        main(arguments)
    assert error.value.code == 2
    assert allowed in capsys.readouterr().err
