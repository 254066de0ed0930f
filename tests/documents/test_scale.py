"""Is what docs/scale.md says of numbers true?"""

import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from adabelief_optax import adabelief, aida, ladabelief, ladam, stepsizes
from benchmarks.speed import traffic
from tests.helpers import ROOT

PAGE = (ROOT / "docs" / "scale.md").read_text()
LOW = {"mu_dtype": "bfloat16", "nu_dtype": "bfloat16"}


def test_the_peaks_on_the_page_are_those_of_the_results():
    path = ROOT / "benchmarks" / "results" / "traffic-tpu-v5e.json"
    results = json.loads(path.read_text())["peaks"]
    for way in ("update", "update, gradients donated", "step"):
        row = " | ".join(f"{results[name][way]:.1f}" for name in traffic.PEAKS)
        assert f" | {row} |\n" in PAGE


@pytest.mark.parametrize("way", ["explicit", "shard_map"])
@pytest.mark.parametrize(("name", "most"), [("aida", 2.3), ("ladabelief", 2.8)])
def test_sums_of_a_split_model_take_few_kernels(way, name, most):
    path = ROOT / "benchmarks" / "results" / "traffic-h200-7b.json"
    programs = json.loads(path.read_text())["programs"]
    one, many = (
        programs["unrolled, one device"],
        programs[f"unrolled, 8 devices, {way}"],
    )
    assert many[name]["kernels_an_array"] <= most
    assert many[name]["all_reduces"] == 1
    assert many[name]["compile_ratio"] <= 5
    assert many[name]["bytes_a_parameter"] == one[name]["bytes_a_parameter"]


def pairs(order):
    """Returns which donated argument each output takes over: p, m or s, in order."""
    step, takes = traffic.orders(adabelief(1.0))[order]
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


@pytest.mark.parametrize(
    ("rule", "row", "expected"),
    [
        (adabelief(1.0), "`adabelief`, `aida` (as `optax.adam`)", 12),
        (aida(1.0), "`adabelief`, `aida` (as `optax.adam`)", 12),
        (optax.adam(1.0), "`adabelief`, `aida` (as `optax.adam`)", 12),
        (aida(1.0, amsgrad=True), "the same with `amsgrad=True`", 16),
        (aida(1.0, **LOW), "the same with both moments in bfloat16", 8),
        (ladabelief(1.0), "`ladabelief`, `ladam`", 8),
        (ladam(1.0), "`ladabelief`, `ladam`", 8),
        (ladam(1.0, mu_dtype="bfloat16"), "the same with `mu_dtype=jnp.bfloat16`", 6),
    ],
)
def test_size_of_a_checkpoint(rule, row, expected):
    params = jax.ShapeDtypeStruct((1000, 1000), jnp.float32)
    leaves = jax.tree.leaves((params, jax.eval_shape(rule.init, params)))
    size = sum(x.size * x.dtype.itemsize for x in leaves) / params.size
    assert round(size) == expected and f"| {row} | {expected} |" in PAGE


def test_a_spike():
    tx, spike = adabelief(1.0), 3000
    g = jax.random.normal(jax.random.key(0), (spike + 7000, 200))
    g = g.at[spike].mul(1000 / jnp.abs(g[spike]))

    def step(state, g):
        u, state = tx.update(g, state)
        return state, (u, stepsizes(state))

    _, (u, sizes) = jax.lax.scan(step, tx.init(g[0]), g)
    usual = np.median(sizes[spike - 1])
    assert np.abs(u[spike]).max() == pytest.approx(3.5, abs=0.1)
    assert np.median(np.abs(u[spike : spike + 100].sum(0))) == pytest.approx(34, abs=3)
    assert usual / np.median(sizes[spike + 30]) == pytest.approx(30, abs=3)
    assert usual / np.median(sizes[-1]) == pytest.approx(2**0.5, abs=0.1)


def test_stepsizes_that_should_alarm():
    tx, params = adabelief(1.0), jnp.zeros(3)
    state = tx.init(params)
    for _ in range(3):  # no gradient, an ordinary one, and one whose square overflows
        _, state = tx.update(jnp.array([0.0, 1.0, 1e25]), state)
    none, some, overflow = stepsizes(state)
    assert none == pytest.approx((1e-3 / 1e-16) ** 0.5, rel=1e-3)
    assert 0 < some < none and overflow == 0
