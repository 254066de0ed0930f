"""Do the notebooks run, and are they committed as they ran?"""

import importlib.util
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import nbformat
import pytest

from tests.helpers import QUICK, ROOT

SHORTER = {
    "1_quickstart": {"40, 6, 50": "40, 1, 50", "SEEDS = 3": "SEEDS = 2"},
    "2_the_family": {
        "3e-2, 1e-1], 3, 300": "3e-2, 1e-1], 2, 50",
    },
    "3_trajectories": {"STEPS = 30_000": "STEPS = 3_000"},
    "4_stepsizes": {
        "= 32, 3, 20, 2": "= 32, 1, 5, 2",
        "order[:3200], order[3200:]": "order[:320], order[320:480]",
    },
    "5_epsilon_and_weight_decay": {"= 300, 64, 3": "= 100, 64, 2"},
    "6_many_devices": {"100, 64, 1500": "20, 64, 1500"},
    "7_bfloat16_parameters": {"1e-4, 600, 64, 1400, 10": "1e-4, 60, 64, 1400, 2"},
}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
REPOSITORY = PROJECT["urls"]["Repository"]
FOLDER = ROOT / "notebooks"
PATHS = sorted(FOLDER.glob("*.ipynb"))
every_notebook = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def outputs(notebook):
    return [output for cell in code_cells(notebook) for output in cell.outputs]


def text_of(output):
    """Returns all that an output says in words."""
    data = {k: v for k, v in output.get("data", {}).items() if k.startswith("text/")}
    return "\n".join([output.get("text", ""), *data.values()])


def assert_ran_well(notebook):
    counts = [cell.execution_count for cell in code_cells(notebook)]
    assert counts == list(range(1, len(counts) + 1))
    for output in outputs(notebook):
        assert output.output_type != "error"
        assert output.get("name") != "stderr", output.text
        assert "warning" not in text_of(output).lower()


def badge_of(path):
    colab = REPOSITORY.replace(
        "https://github.com/", "https://colab.research.google.com/github/"
    )
    return (
        "[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
        f"({colab}/blob/main/notebooks/{path.name})"
    )


def test_there_are_notebooks():
    assert PATHS


@every_notebook
def test_is_committed_as_it_ran(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert_ran_well(notebook)
    assert path.stat().st_size < 200_000
    text = path.read_text()
    for local in (
        "/home/",
        str(Path.home()),
        "/tmp/",
        "/Users/",
        "/content/",
        str(ROOT),
    ):
        assert local not in text
    assert notebook.metadata.kernelspec.name == "python3"
    assert all("execution" not in cell.metadata for cell in notebook.cells)


@every_notebook
def test_begins_with_title_badge_and_installation(path):
    notebook = nbformat.read(path, as_version=4)
    first = notebook.cells[0]
    assert first.cell_type == "markdown"
    number = path.stem.partition("_")[0]
    assert re.match(rf"# {number}\. \w", first.source)
    assert badge_of(path) in first.source
    install, imports = (cell.source for cell in code_cells(notebook)[:2])
    assert install == code_cells(nbformat.read(PATHS[0], as_version=4))[0].source
    assert 'if "google.colab" in sys.modules and not' in install
    assert f'    url = "{REPOSITORY}"\n' in install
    assert imports.startswith('sys.path.insert(0, "..")\n')


@every_notebook
def test_asks_first_and_answers_last(path):
    first, *_, last = nbformat.read(path, as_version=4).cells
    assert re.search(r"\*\*[^*]+\?\*\*", first.source)
    answer = last.source.partition("## The answer\n")[2]
    assert re.search(r"\d", re.sub(r"\]\(.*?\)", "", answer)), "an answer has a number"
    for onward in re.findall(r"\]\((\w+\.ipynb)\)", last.source):
        assert (FOLDER / onward).exists()
    assert ".ipynb)" in last.source


@every_notebook
def test_cells_that_draw_do_nothing_else_and_can_be_folded(path):
    for cell in code_cells(nbformat.read(path, as_version=4)):
        draws = bool(re.search(r"looks\.show\(|display\(", cell.source))
        assert cell.metadata.get("tags", []) == (["hide-input"] if draws else [])
        assert not (draws and "print(" in cell.source)


@pytest.mark.parametrize("failing", ["git", "pip"])
def test_colab_hears_what_failed(failing, tmp_path, monkeypatch):
    install = code_cells(nbformat.read(PATHS[0], as_version=4))[0].source
    monkeypatch.setitem(sys.modules, "google.colab", None)
    monkeypatch.chdir(tmp_path)
    commands = []

    def run(command):
        commands.append(command)
        return subprocess.CompletedProcess(command, int(failing in command))

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(RuntimeError, match=f"This failed: .*{failing}"):
        exec(install, {})
    assert len(commands) == (1 if failing == "git" else 2)


@pytest.mark.slow
@every_notebook
def test_runs_from_start_to_end(path):
    # Shorter than `make notebooks`, which takes a minute for each.
    spec = importlib.util.spec_from_file_location("execute", FOLDER / "execute.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    notebook = nbformat.read(path, as_version=4)
    for long, short in SHORTER[path.stem].items():
        cells = [cell for cell in code_cells(notebook) if long in cell.source]
        assert cells, f"{path.name} has no {long!r}"
        for cell in cells:
            cell.source = cell.source.replace(long, short)
    assert_ran_well(script.execute(notebook, **QUICK))
