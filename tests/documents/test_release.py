"""Would a release work where nothing else is, and do its files agree?"""

import os
import re
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
LOCK = (ROOT / "constraints.txt").read_text()


def run(*command, **options):
    """Returns what a command prints, which must not fail."""
    done = subprocess.run(
        [str(c) for c in command],
        capture_output=True,
        text=True,
        check=False,
        **options,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def needed(requirements):
    """Returns the names of packages that installing these requirements brings."""
    names = set()
    for requirement in map(Requirement, requirements):
        if requirement.name not in names and (
            requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        ):
            names |= {requirement.name}
            names |= needed(distribution(requirement.name).requires or [])
    return names


def environment(folder, requirements):
    """Makes an environment of these alone, from those of this one, with no network."""
    venv.create(folder, symlinks=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    for name in needed(requirements):
        files = distribution(name).files
        for top in {f.parts[0] for f in files} - {"..", "__pycache__"}:
            (packages / top).symlink_to(distribution(name).locate_file(top))
    return folder / "bin" / "python"


def names_in(archive):
    """Returns the names of the files and folders at the top of an archive."""
    if archive.suffix == ".whl":
        return {name.split("/")[0] for name in zipfile.ZipFile(archive).namelist()}
    with tarfile.open(archive) as files:
        return {name.split("/")[1] for name in files.getnames()}


VERSION = PROJECT["version"]
CONTENTS = {
    "wheel": {"adabelief_optax", f"adabelief_optax-{VERSION}.dist-info"},
    "sdist": {
        *("adabelief_optax", "pyproject.toml", "PKG-INFO", ".gitignore"),
        *("README.md", "CHANGELOG.md", "CITATION.cff", "LICENSE"),
    },
}
USE = """
import doctest, importlib.util, sys
from pathlib import Path
import adabelief_optax as ao

folder = Path(ao.__file__).parent
assert folder.is_relative_to(sys.prefix), folder
assert (folder / "py.typed").exists()
assert not [n for n in ("tests", "benchmarks", "flax") if importlib.util.find_spec(n)]
find = doctest.DocTestFinder().find
runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
for function in (ao.adabelief, ao.aida):
    for test in find(function, globs={}):
        runner.run(test)
assert runner.tries > 4 and runner.failures == 0
print(ao.__version__)
"""


@pytest.mark.long
@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_a_release_works_alone(kind, tmp_path):
    run(
        *(sys.executable, "-m", "build", "--no-isolation", f"--{kind}"),
        *("--outdir", tmp_path / "dist", ROOT),
    )
    (archive,) = (tmp_path / "dist").iterdir()
    assert names_in(archive) == CONTENTS[kind]

    backend = PYPROJECT["build-system"]["requires"] if kind == "sdist" else []
    python = environment(tmp_path / "env", PROJECT["dependencies"] + backend)
    run(
        *(sys.executable, "-m", "pip", "--python", python, "install", "--no-index"),
        *("--no-deps", "--no-build-isolation", archive),
    )
    used = run(python, "-I", "-W", "error", "-c", USE, cwd=tmp_path)
    assert used == f"{VERSION}\n"


def test_a_source_tree_that_is_not_installed_says_so(tmp_path):
    python = environment(tmp_path / "env", PROJECT["dependencies"])
    code = "import adabelief_optax; print(adabelief_optax.__version__)"
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    assert run(python, "-c", code, cwd=tmp_path, env=env) == "0+unknown\n"


def test_all_files_have_the_same_version():
    changes = re.findall(r"(?m)^## \[([^]]+)\]", (ROOT / "CHANGELOG.md").read_text())
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert changes[:2] == ["Unreleased", VERSION]
    assert citation["version"] == VERSION


def test_every_locked_package_has_hashes():
    packages = re.split(r"(?m)^(?=[a-z])", LOCK)[1:]
    assert len(packages) > 100
    assert not [p for p in packages if "--hash=sha256:" not in p]


def test_the_backend_is_pinned_once():
    assert PYPROJECT["build-system"]["requires"] == [
        r
        for r in PROJECT["optional-dependencies"]["build"]
        if r.startswith("hatchling")
    ]


def test_every_locked_package_has_its_licence_in_the_table():
    page = (ROOT / "CONTRIBUTING.md").read_text()
    table = re.search(r"(?m)^\| licence \|.*\n(?:\|.*\n)*", page)[0]
    cells = [line.split(" | ")[1] for line in table.splitlines()[2:]]
    listed = re.findall(r"[\w-]+", " ".join(cells))
    locked = set(re.findall(r"(?m)^([a-z][\w-]*)==", LOCK))
    assert sorted(listed) == sorted(locked), "python .ci/licences.py"


def test_hooks_use_the_locked_ruff():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    (rev,) = (h["rev"] for h in hooks if h["repo"].endswith("/ruff-pre-commit"))
    assert f"\nruff=={rev.removeprefix('v')} " in LOCK
