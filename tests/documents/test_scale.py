"""Is what docs/scale.md says of numbers true?"""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from adabelief_optax import adabelief, stepsizes
from benchmarks.speed import programs
from tests.helpers import ROOT

PAGE = " ".join((ROOT / "docs" / "scale.md").read_text().split())


def pairs(order):
    """Returns which donated argument each output takes over: p, m or s, in order."""
    step, takes = programs.orders(adabelief(1.0))[order]
    p = jax.ShapeDtypeStruct((64, 8), jnp.float32)
    state = jax.eval_shape(adabelief(1.0).init, p)
    trees = {"p": p, "s": state, "g": p}
    names = {"p": ["p"], "s": ["count", "m", "s"], "g": ["g"]}
    text = step.lower(*(trees[x] for x in takes)).compile().as_text()
    taken = [name for x in takes for name in names[x]]
    aliases = re.findall(r"\{(\d+)\}: \((\d+), \{\}", text.splitlines()[0])
    return {int(out): taken[int(into)] for out, into in aliases}


def test_donated_buffers_are_paired_in_their_order():
    right = pairs("params, state → params, state")
    assert right == {0: "p", 1: "count", 2: "m", 3: "s"}
    wrong = pairs("state, params → params, state")
    assert wrong == {0: "m", 1: "count", 2: "s", 3: "p"}


def test_a_spike():
    tx, spike, later = adabelief(1.0), 3000, 7000
    g = jax.random.normal(jax.random.key(0), (spike + later, 200))
    g = g.at[spike].mul(1000 / jnp.abs(g[spike]))

    def step(state, g):
        u, state = tx.update(g, state)
        return state, (u, stepsizes(state))

    _, (u, sizes) = jax.lax.scan(step, tx.init(g[0]), g)
    usual = np.median(sizes[spike - 1])
    longest, moved, smaller = 3.5, 34, 1.4
    assert f"at most {longest} learning rates, however large" in PAGE
    assert f"moves by about {moved} learning rates in all" in PAGE
    assert f"after {later:,} steps they are still {smaller} times too small" in PAGE
    assert np.abs(u[spike]).max() == pytest.approx(longest, abs=0.1)
    moves = np.median(np.abs(u[spike : spike + 100].sum(0)))
    assert moves == pytest.approx(moved, abs=3)
    assert usual / np.median(sizes[spike + 30]) == pytest.approx(30, abs=3)
    assert usual / np.median(sizes[-1]) == pytest.approx(smaller, abs=0.1)


def test_stepsizes_that_should_alarm():
    tx, params = adabelief(1.0), jnp.zeros(3)
    state = tx.init(params)
    for _ in range(3):  # no gradient, an ordinary one, and one whose square overflows
        _, state = tx.update(jnp.array([0.0, 1.0, 1e25]), state)
    none, some, overflow = stepsizes(state)
    assert none == pytest.approx((1e-3 / 1e-16) ** 0.5, rel=1e-3)
    assert 0 < some < none and overflow == 0
