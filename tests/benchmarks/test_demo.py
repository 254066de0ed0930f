"""Does the demo say what it found, also where it is stopped?"""

import re

import numpy as np
import pytest

from benchmarks import demo
from benchmarks.__main__ import main
from tests.helpers import ROOT


def runs(accuracy):
    """Returns what two seeds of each rate did, up to this accuracy."""
    curve = np.full((4, 2, 8), np.linspace(0.1, accuracy, 8))
    return demo.Runs(1 - curve, 1 - curve, curve, curve[..., -1:], 1.0)


@pytest.fixture
def interrupted(monkeypatch):
    """Lets the demo train one optimizer, and stops it in the second."""

    def tune(method, *rest):
        if method.label == "Aida":
            raise KeyboardInterrupt
        return runs(0.9)

    monkeypatch.setattr(demo, "tune", tune)


def test_ctrl_c_keeps_the_table_of_what_is_done(interrupted, tmp_path, capsys):
    with pytest.raises(SystemExit) as error:
        main(["demo", "--optimizers", "adam,aida", "--out", str(tmp_path)])
    assert error.value.code == "stopped after 1 of 2 optimizers"
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("Adam ") and "90.00 ± 0.00" in line for line in lines)
    assert not list(tmp_path.iterdir())


def test_tables_fit_80_columns_and_show_no_infinity(interrupted, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(
            ["demo", "--optimizers", "adam,adabelief-bf16,aida", "--out", str(tmp_path)]
        )
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, (x for x in lines if not x.startswith("JAX")))) <= 80
    assert not any("inf" in line for line in lines)
    assert any("– (0 of 2)" in line for line in lines)


@pytest.mark.parametrize(
    ("option", "folder"), [([], "demo-output"), (["--smoke"], "smoke-output")]
)
def test_a_smoke_run_leaves_the_real_picture_alone(
    option, folder, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(demo, "tune", lambda *_: runs(0.9))
    main(["demo", "--optimizers", "adam", *option])
    assert [path.name for path in tmp_path.iterdir()] == [folder]
    assert (tmp_path / folder / "learning-curves.png").exists()


def test_the_published_table_is_that_of_the_kept_run():
    page = (ROOT / "docs/measurements.md").read_text()
    printed = (ROOT / "benchmarks/results/demo.txt").read_text()
    names = {"SGD, momentum 0.9": "SGD+momentum"}
    rows = re.findall(r"^\| ([^|]+) \| ([\d.]+) \| (.+ ± .+) \| (\d+) \|$", page, re.M)
    assert len(rows) == len(demo.METHODS)
    for name, *cells in rows:
        name = names.get(name, name.replace("bfloat16 state", "bf16"))
        (line,) = re.findall(rf"^{re.escape(name)}  +(\d.* ± .*)$", printed, re.M)
        assert re.split(r"  +| \(", line)[:3] == cells
