"""Do the workflows and the Makefile do what they and .ci/run say, safely?"""

import re
import shutil
import stat
import subprocess
import sys

import pytest
import yaml

from tests.helpers import ROOT, python

MAKEFILE = (ROOT / "Makefile").read_text()
RUN = (ROOT / ".ci/run").read_text()
WORKFLOWS = {
    path.stem: yaml.safe_load(path.read_text())
    for path in sorted(ROOT.glob(".github/workflows/*.yml"))
}
JOBS = {
    f"{workflow}-{name}": job
    for workflow, content in WORKFLOWS.items()
    for name, job in content["jobs"].items()
}
STEPS = [step for job in JOBS.values() for step in job.get("steps", [])]
# In a run that nobody waits for: the notebooks in full, and an environment for Optax's
# main branch.
ON_GITHUB_ALONE = {"notebooks", "environment"}


def called_by(job):
    """Returns the targets of the Makefile that a job calls."""
    runs = (step.get("run", "") for step in job.get("steps", []))
    return [run.split()[1] for run in runs if run.startswith("make ")]


def test_jobs_call_targets_of_the_makefile():
    called = {target for job in JOBS.values() for target in called_by(job)}
    assert called <= set(re.findall(r"(?m)^([a-z-]+):", MAKEFILE))


def test_ci_run_does_what_github_does():
    jobs = WORKFLOWS["tests"]["jobs"].values()
    on_github = {target for job in jobs for target in called_by(job)}
    here = set(re.findall(r"(?m)^(?:with_python \S+|tpu|make) ([a-z-]+)", RUN))
    assert on_github - ON_GITHUB_ALONE <= here


def test_a_job_ends_in_time():
    own = [job for job in JOBS.values() if "uses" not in job]
    assert all(job["timeout-minutes"] <= 60 for job in own)


def test_only_what_publishes_may_write():
    assert all(w["permissions"] == {"contents": "read"} for w in WORKFLOWS.values())
    allowed = {
        name: job["permissions"] for name, job in JOBS.items() if "permissions" in job
    }
    assert allowed == {
        "main-publish": {"pages": "write", "id-token": "write"},
        "release-upload": {"id-token": "write"},
    }


def test_nothing_is_published_before_the_tests_pass():
    tests = "./.github/workflows/tests.yml"
    assert JOBS["main-tests"]["uses"] == JOBS["release-test"]["uses"] == tests
    assert JOBS["main-publish"]["needs"] == "tests"
    assert JOBS["release-build"]["needs"] == "test"
    assert JOBS["release-upload"]["needs"] == "build"


def test_a_newer_push_stops_the_tests_of_an_older_one():
    group = WORKFLOWS["tests"]["concurrency"]
    assert group["cancel-in-progress"] is True
    # Were the workflow that calls these tests in their group, it would end itself.
    assert "${{ github.ref }}" in group["group"]
    assert group["group"] != WORKFLOWS["release"]["concurrency"]["group"]


# A Python that says when it begins and ends to install, and takes its time. Its uv
# fails if another program holds the lock that uv itself takes.
SLOW_PYTHON = """#!/bin/sh
case "$1 $2" in
  *alone.py*) exec {python} "$@" ;;
  "-m venv") mkdir -p "$3/bin" && cp "$0" "$3/bin/python"; exit ;;
  "-m {missing}") exit 1 ;;
  "-m uv"*) [ ! -e .venv/.lock ] || exit 1 ;;
esac
case "$1" in
  -m) echo begin "$2" >> log; sleep 0.3; echo end >> log ;;
esac
"""


@pytest.mark.parametrize("missing, installer", [("nothing", "uv"), ("uv", "pip")])
def test_two_targets_at_once_install_one_after_the_other(missing, installer, tmp_path):
    folder = tmp_path / "a folder"
    (folder / ".ci").mkdir(parents=True)
    for path in ("Makefile", ".ci/alone.py", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / path, folder / path)
    slow = folder / "python"
    slow.write_text(SLOW_PYTHON.format(python=sys.executable, missing=missing))
    slow.chmod(slow.stat().st_mode | stat.S_IXUSR)
    make = ["make", "--silent", "PYTHON=./python", ".venv/.installed"]
    both = [
        subprocess.Popen(make, cwd=folder, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [process.communicate(timeout=60)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    # pip installs uv, which installs the packages and then the clone.
    log = (folder / "log").read_text().split()
    assert log == [
        *("begin", "pip", "end"),
        *("begin", installer, "end"),
        *("begin", installer, "end"),
    ]
    assert any("waiting" in text for text in said)


@pytest.mark.long
def test_where_nothing_can_be_written_the_tests_run(tmp_path):
    # As in a clone that may only be read: pytest warns, and warnings are errors.
    (tmp_path / "a file").touch()
    done = python(
        *("-m", "pytest", "-n", "0", "-q", "tests/package/test_imports.py"),
        *("-o", f"cache_dir={tmp_path / 'a file' / 'cache'}"),
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
@pytest.mark.long
def test_the_fast_tests_have_some_of_every_file():
    (command,) = re.findall(r"pytest -m \"(quick.*)\" tests/package", MAKEFILE)
    done = python(
        *("-m", "pytest", "-n", "0", "-q", "--collect-only", "-p", "no:cacheprovider"),
        *("-m", command, "tests/package"),
    )
    assert done.returncode == 0, done.stdout
    found = set(re.findall(r"(?m)^tests/package/(\w+)\.py::", done.stdout))
    assert found == {path.stem for path in ROOT.glob("tests/package/test_*.py")}
