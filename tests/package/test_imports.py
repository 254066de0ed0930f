"""Does the package import what it says, and that in silence?"""

import ast
import sys

import pytest

from tests.helpers import ROOT, python

SOURCES = sorted((ROOT / "adabelief_optax").glob("*.py"))


def imported_packages(source):
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.name)
def test_imports(path):
    for name in imported_packages(path.read_text()):
        top = name.split(".")[0]
        assert top in {
            "jax",
            "optax",
            "chex",
            "adabelief_optax",
            *sys.stdlib_module_names,
        }
        assert "_src" not in name


def test_import_is_silent_and_light():
    code = (
        "import sys, adabelief_optax\n"
        "heavy = {'flax', 'matplotlib', 'sklearn', 'tqdm'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = python("-W", "error", "-c", code)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_check_of_silence_can_fail():
    done = python("-W", "error", "-c", "import warnings; warnings.warn('x')")
    assert done.returncode != 0
