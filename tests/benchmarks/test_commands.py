"""Do the commands of the README run, and refuse what they do not know?"""

import functools
import json
import os
import re
import subprocess

import jax
import numpy as np
import pytest

from benchmarks import store, timing
from benchmarks.__main__ import main
from benchmarks.speed import step_time
from benchmarks.suite import bfloat16
from benchmarks.suite.problems import problems
from tests.helpers import ROOT, python


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
def test_bfloat16(tmp_path, monkeypatch, capsys):
    """Two seeds of a published row, and the last link for a few steps."""
    digits, rate = problems()["digits"], 1e-3
    (published,) = (
        record
        for record in store.read(store.path_of(store.RESULTS, "bfloat16", "digits"))
        if (record["setting"], record["rate"]) == ("plain", rate)
    )
    found = bfloat16.train(
        digits, "plain", published["steps"], rate, np.arange(2), digits.load()
    )
    # On another processor sums round otherwise: an image in 360 is 0.28.
    np.testing.assert_allclose(found["test"], published["test"][:2], atol=0.9)
    np.testing.assert_allclose(found["lost"], np.mean(published["lost"][:2], 1), 0.05)
    for name, value in {"PROBLEMS": ["digits"], "RATES": [rate], "SEEDS": 2}.items():
        monkeypatch.setattr(bfloat16, name, value)
    monkeypatch.setattr(digits, "steps", 40)
    main(["bfloat16", "--results", str(tmp_path)])
    (path,) = tmp_path.rglob("*.jsonl")
    made = {record["setting"]: record for record in store.read(path)}
    assert [record["bytes"] for record in made.values()] == [12.0, 10.0, 10.0, 6.0]
    assert set(made["link"]) <= set(published)
    text = path.read_text()
    capsys.readouterr()
    main(["bfloat16", "--results", str(tmp_path)])
    assert path.read_text() == text
    printed = capsys.readouterr().out
    assert all(name in printed for name in made)


@pytest.mark.parametrize(
    ("arguments", "allowed"),
    [
        (["demo", "--optimizers", "adam,aido"], "ladabelief"),
        (["toy", "--learning-rate", "0"], "number > 0"),
        (["toy", "--learning-rate", "nan"], "number > 0"),
        (["toy", "--max-steps", "none"], "integer >= 1"),
        (["report", "--out", __file__], "folder"),
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
