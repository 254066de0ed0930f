"""Do the notebooks run, and are they committed as they ran?"""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import nbformat
import pytest

from tests.helpers import QUICK, ROOT, load

SHORTER = {
    "1_quickstart": {"40, 6, 50": "40, 1, 50", "SEEDS = 3": "SEEDS = 2"},
    "2_the_family": {"3e-2, 1e-1], 3, 300": "3e-2, 1e-1], 2, 50"},
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


INSTALL = code_cells(nbformat.read(PATHS[0], as_version=4))[0].source


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
    for local in ("/home/", "/tmp/", "/Users/", "/content/", str(ROOT)):
        assert local not in text
    assert notebook.metadata.kernelspec.name == "python3"
    assert all("execution" not in cell.metadata for cell in notebook.cells)


@every_notebook
def test_begins_with_title_badge_question_and_duration(path):
    notebook = nbformat.read(path, as_version=4)
    first = notebook.cells[0]
    assert first.cell_type == "markdown"
    title, badge, question, *_, duration = first.source.split("\n\n")
    number = path.stem.partition("_")[0]
    assert re.fullmatch(rf"# {number}\. \w.*", title)
    assert badge == badge_of(path)
    assert re.fullmatch(r"\*\*[^*]+\?\*\*", question, re.DOTALL)
    assert re.fullmatch(r"\*About .* minutes? on two CPU cores\.\*", duration)


@every_notebook
def test_installs_first_and_imports_next(path):
    notebook = nbformat.read(path, as_version=4)
    install, imports = (cell.source for cell in code_cells(notebook)[:2])
    assert install == INSTALL
    assert f'    url = "{REPOSITORY}"\n' in install
    assert imports.startswith('sys.path.insert(0, "..")\n')


@every_notebook
def test_answers_last_with_what_it_computed(path):
    *_, heading, answer, onward = nbformat.read(path, as_version=4).cells
    assert heading.source.endswith("## The answer")
    assert all(text_of(output) for output in answer.outputs)
    said = [output.data["text/markdown"] for output in answer.outputs]
    assert said[0].startswith("**")
    assert re.search(r"\d", said[0])
    for target in re.findall(r"\]\((\w+\.ipynb)\)", onward.source):
        assert (FOLDER / target).exists()
    assert ".ipynb)" in onward.source


@every_notebook
def test_cells_that_draw_or_answer_do_nothing_else_and_can_be_folded(path):
    for cell in code_cells(nbformat.read(path, as_version=4))[1:]:
        shows = bool(re.search(r"looks\.(show|say)\(|display\(", cell.source))
        assert cell.metadata.get("tags", []) == (["hide-input"] if shows else [])
        assert not (shows and "print(" in cell.source)


# What Colab has: its module, and here a pip that notes its arguments and does nothing.
COLAB = """
import os, sys, types

sys.modules["google.colab"] = types.ModuleType("google.colab")
sys.executable = {pip!r}
for _ in range({times}):
    exec({install!r}, {{}})
print(os.getcwd())
"""


@pytest.fixture
def content(tmp_path, monkeypatch):
    """Returns a folder in which git clones a small copy of the project."""
    origin, folder = tmp_path / "origin", tmp_path / "my content"
    (origin / "notebooks").mkdir(parents=True)
    (origin / "notebooks" / "execute.py").touch()
    user = ["-c", "user.name=nobody", "-c", "user.email=nobody@example.org"]
    for command in (["init", "-q"], ["add", "-A"], [*user, "commit", "-qm", "all"]):
        subprocess.run(["git", *command], cwd=origin, check=True)
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", f"url.{origin}.insteadOf")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", REPOSITORY)
    folder.mkdir()
    return folder


def run_on_colab(folder, times=1, pip="true"):
    code = COLAB.format(pip=pip, times=times, install=INSTALL)
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert not done.returncode, done.stderr
    return Path(done.stdout.splitlines()[-1]).relative_to(folder.resolve()).as_posix()


@pytest.mark.parametrize(
    ("again", "there"),
    [
        (".", "adabelief_optax/notebooks"),  # where Colab starts, after a restart too
        ("adabelief_optax", "notebooks"),
        ("adabelief_optax/notebooks", "."),
    ],
)
def test_colab_may_run_the_first_cell_again(again, there, content):
    assert run_on_colab(content, times=2) == "adabelief_optax/notebooks"
    assert run_on_colab(content / again, times=2) == there


def test_colab_installs_what_a_clone_lacks(content, monkeypatch):
    """The first time git may come through and pip not."""
    pip = content / "pip"
    pip.write_text('#!/bin/sh\necho "$@" >> "$(dirname "$0")/arguments"\nexit "$PIP"\n')
    pip.chmod(0o755)
    monkeypatch.setenv("PIP", "1")
    with pytest.raises(AssertionError, match=r"This failed: .* -m pip"):
        run_on_colab(content, pip=str(pip))
    monkeypatch.setenv("PIP", "0")
    assert run_on_colab(content, pip=str(pip)).endswith("notebooks")
    line = "-m pip install -q -e adabelief_optax[notebooks]"
    assert (content / "arguments").read_text().splitlines() == [line, line]


def test_colab_hears_that_git_failed(content, monkeypatch):
    monkeypatch.setenv("GIT_CONFIG_KEY_0", f"url.{content}.insteadOf")  # no repository
    with pytest.raises(AssertionError, match="This failed: git clone"):
        run_on_colab(content)


@pytest.mark.notebook
@every_notebook
def test_runs_from_start_to_end(path):
    # Shorter than `make notebooks`, which takes a minute for each.
    notebook = nbformat.read(path, as_version=4)
    for long, short in SHORTER[path.stem].items():
        cells = [cell for cell in code_cells(notebook) if long in cell.source]
        assert cells, f"{path.name} has no {long!r}"
        for cell in cells:
            cell.source = cell.source.replace(long, short)
    assert_ran_well(load("notebooks/execute.py").execute(notebook, **QUICK))
