"""Are the numbers of the texts those of the records, the settings and the code?

A claim is a piece of a page, with a # for each number and … for words between, and the
numbers that must stand there, as they are written. So a text and its source can only
change together. Those of the benchmark suite have their tests in test_suite.py.
"""

import functools
import itertools
import json
import re
import tomllib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import adabelief_optax as ao
from tests.helpers import ROOT
from tests.package.test_trajectories import CASES, OURS

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
README, MEASUREMENTS = "README.md", "docs/measurements.md"
SCALE = "docs/scale.md"


def said(page, piece):
    """Returns the numbers that stand for the #s of a piece, which a page has once."""
    text = " ".join((ROOT / page).read_text().split())
    pattern = re.escape(piece).replace(r"\#", r"([\d.,]*\d)").replace("…", ".*?")
    found = [match.groups() for match in re.finditer(pattern, text)]
    assert len(found) == 1, f"{page} has this {len(found)} times: {piece}"
    return list(found[0])


@functools.cache
def record(name):
    """Returns what a program has measured."""
    return json.loads((ROOT / "benchmarks/results" / f"{name}.json").read_text())


def times(name, optimizer, kind="step", digits=2):
    """Returns how many of Adam's times an optimizer takes for a step or to compile."""
    found = record(name)["optimizers"][optimizer][kind]["ratio"]["median"]
    return f"{found:.{digits}f}" if found < 10 else f"{found:.1f}"


def spread(name, optimizer, digits=2):
    """Returns the quartiles of the same."""
    found = record(name)["optimizers"][optimizer]["step"]["ratio"]
    return [f"{found[key]:.{digits}f}" for key in ("lower", "upper")]


def milliseconds(name, optimizer):
    found = record(name)["optimizers"][optimizer]["step"]["seconds"]["median"]
    return f"{1e3 * found:.1f}" if found < 0.1 else f"{1e3 * found:.0f}"


def counted(platform, tree, optimizer, what, digits=0):
    """Returns what a compiled step of a tree has, for each parameter or array."""
    found = record(f"traffic-{platform}")["programs"][tree][optimizer][what]
    return f"{found:.{digits}f}"


def state_bytes(optimizer, **options):
    """Returns the bytes that the state takes for each of many parameters."""
    params = jnp.ones((1024, 1024))
    state = jax.eval_shape(optimizer(1e-3, **options).init, params)
    return round(
        sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state)) / params.size
    )


def lowest(package):
    """Returns the lowest version of a package that is allowed."""
    (found,) = (x for x in PROJECT["dependencies"] if x.startswith(f"{package}>="))
    return found.partition(">=")[2].removesuffix(".0")


CLAIMS = [
    (
        README,
        "You need Python #, JAX # and Optax #, or newer",
        [PROJECT["requires-python"].strip(">="), lowest("jax"), lowest("optax")],
    ),
    (MEASUREMENTS, "# runs of # steps", [len(OURS), CASES[0]["steps"]]),
]

# The time of a whole training step.
CPU, SMALL = "step-time-cpu-jax", "small-arrays-cpu"


def span(versions, optimizer):
    """Returns the least and the most of Adam's times that whole steps take."""
    steps = [record(f"{CPU}-{version}")["whole_steps"] for version in versions]
    batches = [x for step in steps for x in step["Transformer"]["batches"].values()]
    ratios = [x[optimizer]["ratio"]["median"] for x in batches]
    return [f"{min(ratios):.2f}", f"{max(ratios):.2f}"]


WITH_BOTH = span(["0.10", "0.12"], "adabelief")
CLAIMS += [
    (
        README,
        "a small Transformer on a CPU takes as long as with Adam, within # %",
        [f"{max(abs(100 * float(x) - 100) for x in WITH_BOTH):.0f}"],
    ),
    (
        MEASUREMENTS,
        "# to # times as long with `adabelief` as with Adam, and # to # times with "
        "`aida`",
        span(["0.10"], "adabelief") + span(["0.10"], "aida"),
    ),
]

# The time of an update and of its compilation, and the size of the state.
LOW = {"mu_dtype": "bfloat16", "nu_dtype": "bfloat16"}
for title, name, optimizer, options in (
    ("`optax.adabelief`", "optax.adabelief", None, {}),
    ("`adabelief`", "adabelief", ao.adabelief, {}),
    ("`aida`", "aida", ao.aida, {}),
    ("`aida`, k=8", "aida-k8", ao.aida, {}),
    ("Aida as published, written in JAX", "aida-loop", None, {}),
    ("`ladabelief`", "ladabelief", ao.ladabelief, {}),
    ("`ladam`", "ladam", ao.ladam, {}),
    ("`adabelief`, bfloat16 state", "adabelief-bf16-moments", ao.adabelief, LOW),
    ("`aida`, bfloat16 state", "aida-bf16-moments", ao.aida, LOW),
    ("`ladabelief`, bfloat16 state", "ladabelief-bf16-moments", ao.ladabelief, LOW),
    ("`adabelief`, all in bfloat16", "adabelief-bf16-all", ao.adabelief, LOW),
    ("`aida`, all in bfloat16", "aida-bf16-all", ao.aida, LOW),
    ("`ladabelief`, all in bfloat16", "ladabelief-bf16-all", ao.ladabelief, LOW),
):
    row = [what(f"{CPU}-0.12", name) for what in (milliseconds, times)]
    row += [*spread(f"{CPU}-0.12", name), times(f"{CPU}-0.10", name)]
    row += [times(f"{CPU}-0.12", name, "compile")]
    row += [state_bytes(optimizer, **options) if optimizer else 8]
    CLAIMS.append(
        (
            MEASUREMENTS,
            f"÷ `optax.adam` | with … | {title} | # | # (#-#) | # | # | # |",
            row,
        )
    )
for title, name in {
    "AdaBelief": "adabelief",
    "Aida": "aida",
    "LAdaBelief": "ladabelief",
}.items():
    row = []
    for of in (f"{name}-bf16-all", f"{name}-bf16-moments"):
        row += [times(f"{CPU}-0.12", of, digits=1), *spread(f"{CPU}-0.12", of, 1)]
    row += span(["0.12"], f"{name}-bf16-moments")
    piece = f"| {title} | # (# to #) | # (# to #) | # to # |"
    CLAIMS.append(("docs/bfloat16.md", piece, row))
for name in ("adabelief", "aida", "ladabelief"):
    row = [
        times(f"{SMALL}-jax-{version}", name, kind)
        for kind in ("step", "compile")
        for version in ("0.12", "0.10")
    ]
    CLAIMS.append(
        (MEASUREMENTS, f"| compile, JAX 0.10 | … | `{name}` | # | # | # | # |", row)
    )
for title, name in {
    "PyTorch's fused AdamW": "torch.optim.AdamW",
    "`adabelief_pytorch`": "adabelief_pytorch.AdaBelief",
    "`pytorch_optimizer`'s AdaBelief": "pytorch_optimizer.AdaBelief",
    "`pytorch_optimizer`'s Aida": "pytorch_optimizer.Aida",
}.items():
    row = [times("step-time-cpu-torch-2.13", name)]
    CLAIMS.append((MEASUREMENTS, f"| {title} | # |", row))


# Trainings with parameters in bfloat16.
def trained(problem, rate, setting):
    """Returns what each seed of a training ended at."""
    path = ROOT / "benchmarks/results/bfloat16" / f"{problem}.jsonl"
    rows = map(json.loads, path.read_text().splitlines())
    wanted = {"optimizer": "adabelief", "rate": rate, "setting": setting}.items()
    (found,) = (row for row in rows if wanted <= row.items())
    return np.array(found["test"]), 100 * np.mean(found["lost"])


def mean_and_spread(values, digits):
    return [f"{x:.{digits}f}" for x in (values.mean(), values.std(ddof=1))]


BFLOAT16 = "docs/bfloat16.md"
for problem, title, digits, rates in (
    ("char-transformer", "(less is better)", 3, ("1e-4", "1e-3", "1e-2")),
    ("digits", "accuracy in %", 1, ("1e-4", "3e-4", "1e-3", "3e-3", "1e-2")),
):
    for rate in rates:
        row = []
        for setting in ("float32", "plain", "link", "link, state"):
            values, lost = trained(problem, float(rate), setting)
            row += mean_and_spread(values, digits)
            row += [f"{lost:.0f}"] if setting == "plain" else []
        piece = f"{title}: … | {rate} | # ± # | # ± # | # % | # ± # | # ± # |"
        CLAIMS.append((BFLOAT16, piece, row))
best = trained("char-transformer", 1e-2, "float32")[0]
CLAIMS += [
    (
        BFLOAT16,
        piece,
        mean_and_spread(trained("char-transformer", 1e-2, setting)[0] - best, 3),
    )
    for setting, piece in {
        "plain": "The Transformer ends # ± # bits behind float32",
        "link": "Rounded at random, it ends # ± # bits behind",
    }.items()
]

# What a step compiled for a GPU has.
OPTIMIZERS = (
    *("optax.adam", "adabelief", "aida", "ladabelief"),
    "adabelief-bf16-moments",
)
KERNELS, BYTES, COMPILE = "kernels_an_array", "bytes_a_parameter", "compile_ratio"
for title, tree in (
    ("Transformer", "transformer"),
    ("700 small arrays", "small arrays"),
):
    rows = [
        [counted("h200", tree, name, what, digits) for name in OPTIMIZERS]
        for what, digits in ((KERNELS, 2), (BYTES, 1), (COMPILE, 1))
    ]
    piece = " …".join(
        f"| {words} | # | # | # | # | # |"
        for words in (
            f"{title}: kernels per array",
            "bytes per parameter",
            "compile ÷ Adam's",
        )
    )
    CLAIMS.append((MEASUREMENTS, piece, list(itertools.chain(*rows))))
row = [counted("h200", "one array", name, COMPILE, 1) for name in OPTIMIZERS]
title = "one array of 134 M: compile ÷ Adam's"
CLAIMS.append((MEASUREMENTS, f"| {title} | # | # | # | # | # |", row))

# What a large model has.
WAYS = {
    "one device": "one device",
    "8 devices, automatic": "eight devices, automatic mode",
    "8 devices, explicit": "eight devices, explicit mode",
    "8 devices, shard_map": "eight devices, `jax.shard_map`",
}
for kind, arrays in {"unrolled": "291 arrays", "scanned": "12 arrays, scanned"}.items():
    names, row = ("optax.adam", "aida", "ladabelief"), []
    for way in WAYS:
        of_way = f"{kind}, {way}"
        row += [counted("h200-7b", of_way, name, KERNELS, 2) for name in names]
        row += [counted("h200-7b", of_way, name, COMPILE, 1) for name in names[1:]]
    rows = "".join(f"| {words} | # | # | # | # | # | " for words in WAYS.values())
    title = f"| {arrays}: kernels per array, compile ÷ Adam's | … "
    CLAIMS.append((MEASUREMENTS, f"{title}{rows}".rstrip(), row))
row = [
    counted("h200-7b", "unrolled, 8 devices, explicit", name, KERNELS, 2)
    for name in ("aida", "ladabelief")
]
piece = "then takes # kernels per array with Aida, and # with LAdaBelief"
CLAIMS.append((SCALE, piece, row))

# What donation saves: bytes moved, and the peak of a device's memory.
GOOD, WRONG = "params, state → params, state", "state, params → params, state"
PEAK = "peak_bytes_a_parameter"


def of_orders(platform, order, what, digits):
    """Returns what is counted of three optimizers, compiled with this donation."""
    found = record(f"traffic-{platform}")["orders"]
    names = "optax.adam", "aida", "ladabelief"
    return [f"{found[name][order][what]:.{digits}f}" for name in names]


for order in (GOOD, WRONG):
    rows = of_orders("h200", order, BYTES, 0), of_orders("h200", order, PEAK, 1)
    piece = f"| {order}: moved | # | # | # | | peak of the memory | # | # | # |"
    CLAIMS.append((SCALE, piece, list(itertools.chain(*rows))))


@pytest.mark.parametrize(("page", "piece", "numbers"), CLAIMS)
def test_the_number_is_that_of_its_source(page, piece, numbers):
    assert said(page, piece) == [str(x) for x in numbers]


@pytest.mark.parametrize(
    ("options", "size"),
    [({}, 8), ({"mu_dtype": "bfloat16", "nu_dtype": "bfloat16"}, 4)],
    ids=str,
)
def test_the_state_is_as_large_as_adams_and_half_of_that_in_bfloat16(options, size):
    assert state_bytes(ao.adabelief, **options) == state_bytes(ao.aida, **options)
    assert state_bytes(ao.adabelief, **options) == size
    assert state_bytes(ao.ladabelief, **options) == size / 2
