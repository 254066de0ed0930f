"""Has a release what it needs, and do its files agree?"""

import re
import tarfile
import tomllib
import zipfile
from importlib import metadata

import pytest
import yaml

from tests.helpers import ROOT, load, python

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
VERSION = PYPROJECT["project"]["version"]
LOCK = (ROOT / "constraints.txt").read_text()
CONTENTS = {
    *("adabelief_optax", "pyproject.toml", "PKG-INFO", ".gitignore"),
    *("README.md", "CHANGELOG.md", "CITATION.cff", "LICENSE"),
}
USE = """
import doctest
from pathlib import Path
import adabelief_optax as ao

assert (Path(ao.__file__).parent / "py.typed").exists()
find = doctest.DocTestFinder().find
runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
for function in (ao.adabelief, ao.aida):
    for test in find(function, globs={}):
        runner.run(test)
assert runner.tries > 4 and runner.failures == 0
print(ao.__version__, ao.__file__)
"""


@pytest.mark.long
def test_a_release_works(tmp_path):
    # It makes the wheel from the sdist. What the package imports is tested elsewhere.
    done = python("-m", "build", "--no-isolation", "--outdir", tmp_path, ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    (sdist,), (wheel,) = tmp_path.glob("*.tar.gz"), tmp_path.glob("*.whl")
    with tarfile.open(sdist) as files:
        assert {name.split("/")[1] for name in files.getnames()} == CONTENTS
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    names = {path.name for path in (tmp_path / "site").iterdir()}
    assert names == {"adabelief_optax", f"adabelief_optax-{VERSION}.dist-info"}
    # -P: not the package of this folder.
    used = python("-P", "-W", "error", "-c", USE, PYTHONPATH=str(tmp_path / "site"))
    assert used.returncode == 0, used.stderr
    assert used.stdout.startswith(f"{VERSION} {tmp_path / 'site'}")


def test_a_source_tree_that_is_not_installed_says_so(monkeypatch):
    def version(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", version)
    assert load("adabelief_optax/_version.py").__version__ == "0+unknown"


def test_all_files_have_the_same_version():
    changes = re.findall(r"(?m)^## \[([^]]+)\]", (ROOT / "CHANGELOG.md").read_text())
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert changes[:2] == ["Unreleased", VERSION]
    assert citation["version"] == VERSION


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
