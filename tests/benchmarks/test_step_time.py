"""Do the timed models learn, and do the pages say what was measured?"""

import json
import re

import jax
import pytest

from adabelief_optax import adabelief
from benchmarks.speed.models import SCALE, models
from benchmarks.speed.parameters import random_tree
from benchmarks.speed.steps import jitted_step
from tests.helpers import ROOT

RESULTS = ROOT / "benchmarks" / "results"
PAGE = (ROOT / "docs" / "measurements.md").read_text()


@pytest.mark.parametrize("name", ["Transformer", "convolutional net"])
def test_models_learn(name):
    model = models(large=False, smoke=True)[name]
    params, batch = random_tree(0, model.shapes, SCALE), model.batch(4)
    tx = adabelief(1e-2)
    step, state = jitted_step(tx, jax.grad(model.loss)), tx.init(params)
    with jax.numpy_rank_promotion("allow"):  # as users have it
        before = model.loss(params, batch)
        for _ in range(30):
            params, state = step(params, state, batch)
        assert model.loss(params, batch) < 0.7 * before


def row(label):
    """Returns the numbers of that row of a table, each with those in brackets."""
    (line,) = re.findall(rf"^\| {re.escape(label)} \|(.*)\|$", PAGE, re.MULTILINE)
    return [
        [float(x) for x in re.findall(r"\d+\.\d+", cell)] for cell in line.split("|")
    ]


def close(printed, numbers, digits):
    expected = [numbers[key] for key in ("median", "lower", "upper")]
    assert printed == pytest.approx(expected, abs=0.51 * 10**-digits)


@pytest.mark.parametrize(
    "name",
    [
        "optax.adabelief",
        "adabelief",
        "aida",
        "ladabelief",
        "adabelief-bf16-moments",
    ],
)
def test_whole_steps_on_a_gpu(name):
    found = json.loads((RESULTS / "step-time-gpu.json").read_text())
    batches = found["whole_steps"]["Transformer"]["batches"].values()
    label = f"`{name}`".replace("-bf16-moments`", "`, bfloat16 state")
    cells = row(f"{label} ÷ `optax.adam`")
    for cell, batch in zip(cells, batches, strict=True):
        close(cell, batch[name]["ratio"], 3)


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("as it is: a barrier, and sums of four arrays together", "aida"),
        ("an added zero in place of the barrier", "aida, added zero"),
        ("sums array by array", "aida, sums leaf by leaf"),
        ("sums of sixteen arrays together", "aida, sums of sixteen"),
    ],
)
def test_variants_on_a_gpu(label, name):
    found = json.loads((RESULTS / "step-time-gpu-variants.json").read_text())
    (cell,) = row(label)
    close(cell, found["optimizers"][name]["step"]["ratio"], 2)
