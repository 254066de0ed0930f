"""Does the README's code run, and is what it names there?"""

import re

import jax
import pytest

from tests.helpers import ROOT


def python_blocks(path):
    return re.findall(
        r"^```python\n(.*?)^```", path.read_text(), re.DOTALL | re.MULTILINE
    )


README = python_blocks(ROOT / "README.md")


def test_readme_has_code():
    assert len(README) >= 3


@pytest.mark.parametrize("code", README, ids=lambda c: c.split("\n", 1)[0][:40])
def test_readme_code_runs(code):
    with jax.numpy_rank_promotion("allow"):  # as users have it
        exec(compile(code, "README.md", "exec"), {"__name__": "readme"})


def test_readme_names_files_that_exist():
    for path in re.findall(
        r"`([\w./-]+/[\w.-]+\.(?:py|md|json|png))`", (ROOT / "README.md").read_text()
    ):
        assert (ROOT / path).exists(), path
