"""Does the demo say what it found?"""

import re

import numpy as np
import pytest

from benchmarks import demo
from benchmarks.__main__ import main
from tests.helpers import ROOT


def runs(accuracy):
    """Returns what two seeds of each rate did, up to this accuracy."""
    curve = np.full((4, 2, 8), np.linspace(0.1, accuracy, 8))
    return demo.Runs(1 - curve, 1 - curve, curve, curve[..., -1])


def test_the_tables_fit_80_columns_and_show_no_infinity(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(demo, "tune", lambda *_: runs(0.9))
    main(["demo", "--out", str(tmp_path)])
    lines = capsys.readouterr().out.splitlines()
    long = [x for x in lines if len(x) > 80 and not x.startswith(("JAX", "saved"))]
    assert not long and not any("inf" in line for line in lines)
    for method in demo.METHODS.values():
        row = rf"{re.escape(method.label)} .* 90.00 ± 0.00 +– \(0 of 2\)"
        assert any(re.match(row, line) for line in lines)


def test_ctrl_c_prints_what_has_ended(tmp_path, monkeypatch, capsys):
    answers = iter([runs(0.9)])

    def tune(*_):
        for answer in answers:
            return answer
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "tune", tune)
    with pytest.raises(SystemExit, match="stopped after 1 of 2 optimizers"):
        main(["demo", "--optimizers", "adam,aida", "--out", str(tmp_path)])
    assert re.findall(r"^(Adam|Aida) .* ± ", capsys.readouterr().out, re.M) == ["Adam"]


@pytest.mark.long
def test_what_the_demo_trains(tmp_path, capsys):
    main(["demo", "--smoke", "--optimizers", "adam,aida", "--out", str(tmp_path)])
    table = re.findall(r"^(Adam|Aida) .* ± ", capsys.readouterr().out, re.M)
    assert table == ["Adam", "Aida"]
    (picture,) = tmp_path.iterdir()
    assert picture.read_bytes().startswith(b"\x89PNG")


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
