"""Do the timed models learn, and have the records what is timed now?

What the pages say of them is in tests/documents/test_numbers.py.
"""

import json

import jax
import pytest

from adabelief_optax import adabelief
from benchmarks.speed.cases import TIMED, WHOLE
from benchmarks.speed.models import SCALE, models
from benchmarks.speed.parameters import random_tree
from benchmarks.speed.steps import jitted_step
from tests.helpers import ROOT

RESULTS = ROOT / "benchmarks" / "results"


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
