"""Do the timed models learn, and do the pages say what was measured?"""

import json
import re

import jax
import pytest

from adabelief_optax import adabelief
from benchmarks.speed.cases import TIMED, WHOLE
from benchmarks.speed.models import SCALE, models
from benchmarks.speed.parameters import random_tree
from benchmarks.speed.steps import jitted_step
from tests.helpers import ROOT

RESULTS = ROOT / "benchmarks" / "results"
PAGE = (ROOT / "docs" / "measurements.md").read_text()


@pytest.mark.long
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


def table(title):
    """Returns the numbers of a table, by row, each with those in parentheses."""
    (text,) = re.findall(rf"^\| {title} \|.*\n\|-.*\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    rows = [line.strip("|").split("|") for line in text.splitlines()]
    return {
        label.strip(): [
            [float(x) for x in re.findall(r"\d+(?:\.\d+)?", cell)] for cell in cells
        ]
        for label, *cells in rows
    }


def close(printed, numbers, digits):
    expected = [numbers[key] for key in ("median", "lower", "upper")]
    assert printed == pytest.approx(expected, abs=0.51 * 10**-digits)


@pytest.mark.parametrize(
    ("title", "record", "model", "digits"),
    [
        ("Transformer on an H100", "gpu", "Transformer", 3),
        ("Transformer on two CPU cores", "cpu-jax-0.12", "Transformer", 2),
        ("convolutional net on two CPU cores", "cpu-jax-0.12", "convolutional net", 2),
    ],
)
def test_whole_steps(title, record, model, digits):
    found = json.loads((RESULTS / f"step-time-{record}.json").read_text())
    batches = found["whole_steps"][model]["batches"].values()
    adam, *rows = table(f"the {title}").items()
    assert adam[0] == "`optax.adam`, ms" and len(adam[1]) == len(batches)
    for (milliseconds,), batch in zip(adam[1], batches, strict=True):
        seconds = batch["optax.adam"]["seconds"]["median"]
        assert milliseconds == pytest.approx(1e3 * seconds, rel=5e-3)
    names = [name for name in next(iter(batches)) if name != "optax.adam"]
    for name, (label, cells) in zip(names, rows, strict=True):
        words = f"`{name}`".replace("-bf16-moments`", "`, bfloat16 state")
        assert label == f"{words} ÷ `optax.adam`"
        for cell, batch in zip(cells, batches, strict=True):
            close(cell, batch[name]["ratio"], digits)


@pytest.mark.parametrize("version", ["0.10", "0.12"])
def test_records_have_what_the_command_times_now(version):
    path = RESULTS / f"step-time-cpu-jax-{version}.json"
    found = json.loads(path.read_text())
    assert found["versions"]["jax"].startswith(version)
    assert list(found["optimizers"]) == list(TIMED)
    sizes = {name: model.sizes for name, model in models(False, False).items()}
    for name, model in found["whole_steps"].items():
        assert tuple(map(int, model["batches"])) == sizes.pop(name)
        assert all(list(batch) == list(WHOLE) for batch in model["batches"].values())
    assert not sizes


def test_variants_on_a_gpu():
    found = json.loads((RESULTS / "step-time-gpu-variants.json").read_text())
    names = {
        "as it is: a barrier, and sums of four arrays together": "aida",
        "an added zero in place of the barrier": "aida, added zero",
        "sums array by array": "aida, sums leaf by leaf",
        "sums of sixteen arrays together": "aida, sums of sixteen",
    }
    cells = table("update of Aida")
    assert cells.keys() == names.keys()
    for label, name in names.items():
        close(cells[label][0], found["optimizers"][name]["step"]["ratio"], 2)
