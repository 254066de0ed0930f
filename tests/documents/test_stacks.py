"""Do the recipes of docs/stacks.md run?

Each has a process of its own if it needs more than the libraries that we test with: a
library may change settings of JAX for all that follows, as NetKet does.
"""

import importlib.util
import re
import warnings

import jax
import pytest

from tests.helpers import ROOT, python

PAGE = (ROOT / "docs" / "stacks.md").read_text()
RECIPES = {
    f"{section.splitlines()[0]}{f' {i + 1}' if i else ''}": code
    for section in PAGE.split("\n## ")[1:]
    for i, code in enumerate(
        re.findall(r"^```python\n(.*?)^```", section, re.DOTALL | re.MULTILINE)
    )
}


def imported(code):
    modules = re.findall(r"^from (\S+)", code, re.MULTILINE)
    for names in re.findall(r"^import (.*)", code, re.MULTILINE):
        modules += [name.split()[0] for name in names.split(", ")]
    return {module.split(".")[0] for module in modules}


WELL_BEHAVED = {"adabelief_optax", "equinox", "flax", "jax", "numpy", "optax"}


def test_the_page_has_recipes():
    assert len(RECIPES) >= 23


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_short_and_checks_what_it_did(name):
    lines = [line for line in RECIPES[name].splitlines() if line]
    assert len(lines) <= 25
    assert max(map(len, lines)) <= 88
    assert any(line.startswith("assert ") for line in lines)


# They need `jax.set_mesh`, shardings that Flax can update, and host memory on CPU.
NOT_ON_JAX_0_6 = (
    "Flax NNX 2",
    "Flax Linen 2",
    "Flax Linen 3",
    "The state in the host's memory",
)


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_recipe(name, tmp_path):
    if name in NOT_ON_JAX_0_6 and jax.__version_info__ < (0, 7):
        pytest.skip(f"{name} is written for JAX 0.7 or newer")
    code = RECIPES[name]
    for library in sorted(imported(code)):
        if importlib.util.find_spec(library) is None:
            pytest.skip(f"no {library}: make stacks")
    if imported(code) <= WELL_BEHAVED:
        with jax.numpy_rank_promotion("allow"), warnings.catch_warnings():
            warnings.simplefilter("default")
            exec(compile(code, name, "exec"), {"__name__": "__main__"})
        return
    path = tmp_path / "recipe.py"
    path.write_text(code)
    result = python(path, PYTHONPATH=str(ROOT))
    assert result.returncode == 0, result.stdout + result.stderr
