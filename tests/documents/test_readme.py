"""Does the README's code run, and is what it names there?"""

import re

import jax
import pytest

from tests.helpers import ROOT


def python_blocks(path):
    return re.findall(
        r"^```python\n(.*?)^```", path.read_text(), re.DOTALL | re.MULTILINE
    )


# The recipes of stacks.md have a test of their own.
PAGES = {
    path.name: path
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    if path.name != "stacks.md"
}
BLOCKS = [
    pytest.param(name, code, id=f"{name}-{i}")
    for name, path in PAGES.items()
    for i, code in enumerate(python_blocks(path))
]


def test_pages_have_code():
    assert sum(block.values[0] == "README.md" for block in BLOCKS) >= 4
    assert len(BLOCKS) >= 9


def test_the_readme_is_read_in_a_minute_or_two():
    assert len(PAGES["README.md"].read_text().split()) <= 1200


@pytest.mark.parametrize(("name", "code"), BLOCKS)
def test_code_runs(name, code):
    with jax.numpy_rank_promotion("allow"):  # as users have it
        exec(compile(code, name, "exec"), {"__name__": "readme"})


@pytest.mark.parametrize("name", PAGES)
def test_files_that_are_named_exist(name):
    text = PAGES[name].read_text()
    for path in re.findall(r"`([\w./-]+/[\w.-]+\.(?:py|md|json|png|ipynb))`", text):
        assert (ROOT / path).exists(), path
