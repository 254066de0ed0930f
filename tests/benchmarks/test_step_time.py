"""Do the pages say what the measured step times say?"""

import json
import re

import pytest

from tests.helpers import ROOT

RESULTS = ROOT / "benchmarks" / "results"
PAGE = (ROOT / "docs" / "measurements.md").read_text()


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
