"""Does the README's code run, and is what it names there?"""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from adabelief_optax import scale_by_belief
from benchmarks.toy import streams
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
    assert sum(block.values[0] == "README.md" for block in BLOCKS) >= 3
    assert len(BLOCKS) >= 9


def test_the_readme_is_read_in_a_minute_or_two():
    text = PAGES["README.md"].read_text()
    assert len(text.split()) <= 800
    before = text.split("\n## Results\n")[0]
    assert not re.search(r"\[[−+-]?\d[\d.]*, |bytes", before), "numbers before Results"
    screen = before.split("\n## ")[0]
    for bullet in re.findall(r"^- (.*(?:\n  .*)*)", screen, re.MULTILINE):
        assert len(re.findall(r"(?<!bfloat)\b\d+", bullet)) <= 1, bullet


def test_the_readme_says_what_its_picture_shows():
    """Long steps where gradients come as predicted, and nowhere else."""
    sizes = streams.lengths()
    ratios = [
        np.median(sizes[title, "AdaBelief"][100:] / sizes[title, "Adam+"][100:])
        for title in streams.STREAMS
    ]
    assert min(ratios[:2]) > 3
    assert max(ratios[2:]) < 1.1
    (picture,) = re.findall(
        r"<picture>.*?</picture>", PAGES["README.md"].read_text(), re.DOTALL
    )
    names = re.findall(r'src(?:set)?="docs/([\w-]+\.png)"', picture)
    assert names == ["streams-dark.png", "streams-light.png"]
    assert all((ROOT / "docs" / name).exists() for name in names)
    assert "AdaBelief's are longer where gradients are predicted" in picture


def test_steps_of_a_clamped_gradient_are_as_long_as_the_caveats_say():
    tx = scale_by_belief()

    def step(state, _):
        update, state = tx.update(jnp.ones(1), state)
        return state, update[0]

    _, lengths = jax.lax.scan(step, tx.init(jnp.ones(1)), length=10_000)
    text = " ".join(PAGES["caveats.md"].read_text().split())
    (found,) = re.findall(
        r"to (\d+) learning rates after 200 such steps, and to ([\d,]+) after 10,000",
        text,
    )
    expected = [int(number.replace(",", "")) for number in found]
    np.testing.assert_allclose(lengths[np.array([199, 9_999])], expected, atol=0.51)


@pytest.mark.parametrize(("name", "code"), BLOCKS)
def test_code_runs(name, code):
    if "jax.shard_map" in code and not hasattr(jax, "shard_map"):
        pytest.skip("jax.shard_map needs JAX 0.7 or newer")
    with jax.numpy_rank_promotion("allow"):  # as users have it
        exec(compile(code, name, "exec"), {"__name__": "readme"})


@pytest.mark.parametrize("name", PAGES)
def test_files_that_are_named_exist(name):
    text = PAGES[name].read_text()
    for path in re.findall(r"`([\w./-]+/[\w.-]+\.(?:py|md|json|png|ipynb))`", text):
        assert (ROOT / path).exists(), path
