"""Do the commands of the README run, and refuse what they do not know?"""

import json

import numpy as np
import pytest

from benchmarks.__main__ import main
from tests.helpers import python


@pytest.mark.slow
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
    done = python("-m", "benchmarks", "step-time", "--smoke", "--json", str(path))
    assert done.returncode == 0, done.stderr
    assert "optax.adam" in done.stdout and "aida" in done.stdout
    assert json.loads(path.read_text())


@pytest.mark.slow
def test_bfloat16(tmp_path):
    done = python("-m", "benchmarks", "bfloat16", "--smoke", "--results", tmp_path)
    assert done.returncode == 0, done.stderr
    (path,) = tmp_path.rglob("*.jsonl")
    found = {r["setting"]: r for r in map(json.loads, path.read_text().splitlines())}
    assert [r["bytes"] for r in found.values()] == [12.0, 10.0, 10.0, 6.0]
    assert 0.1 < np.mean(found["plain"]["lost"]) < 0.9
    assert all(name in done.stdout for name in found)


@pytest.mark.slow
def test_rounding():
    done = python("-m", "benchmarks", "rounding", "--smoke")
    assert done.returncode == 0, done.stderr
    assert "dense1.kernel" in done.stdout and "root mean square" in done.stdout


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
        (["train", "--batch-size", "2000"], "1 to 1500"),
        (["no-such-benchmark"], "step-time"),
    ],
)
def test_wrong_options_say_what_is_allowed(arguments, allowed, capsys):
    with pytest.raises(SystemExit) as error:
        main(arguments)
    assert error.value.code == 2
    assert allowed in capsys.readouterr().err
