"""Are the numbers of the texts those of the records, the settings and the code?

A claim is a page, a piece of its text, and numbers. The piece is a sentence with a #
for each number, or the first cell of a row that has these numbers. A text gives as many
digits as it likes. The benchmark suite has its own tests in test_suite.py.
"""

import functools
import inspect
import json
import math
import re
import tomllib
from decimal import Decimal

import jax
import jax.numpy as jnp
import nbformat
import numpy as np
import optax
import pytest

import adabelief_optax as ao
from benchmarks.speed.models import models
from benchmarks.speed.parameters import llama
from benchmarks.speed.programs import ONE_ARRAY
from tests.helpers import ROOT
from tests.package.test_trajectories import CASES, OURS

NUMBER = r"(\d[\d,]*(?:\.\d+)?(?:e-?\d+)?)"
README, MEASUREMENTS, SCALE = "README.md", "docs/measurements.md", "docs/scale.md"
BFLOAT16, CHOOSING, CAVEATS = "docs/bfloat16.md", "docs/choosing.md", "docs/caveats.md"
BENCHMARKS, PUBLISHED = "benchmarks/README.md", "benchmarks/PUBLISHED.md"
NOTEBOOKS = sorted(f"notebooks/{path.name}" for path in ROOT.glob("notebooks/*.ipynb"))
CLAIMS = []


def claim(page, piece, *values):
    CLAIMS.append((page, piece, values))


@functools.cache
def text_of(page):
    """Returns the text of a page, or of a notebook without its code."""
    text = (ROOT / page).read_text()
    if page.endswith(".ipynb"):
        cells = nbformat.reads(text, as_version=4).cells
        text = "\n".join(c.source for c in cells if c.cell_type == "markdown")
    return text


def said(page, piece):
    """Returns lists of the numbers that a page has at this piece."""
    if "#" not in piece:
        rows = re.findall(rf"(?m)^\| {re.escape(piece)} \|(.*)", text_of(page))
        return [re.findall(NUMBER, row) for row in rows]
    pattern = re.escape(piece).replace(r"\#", NUMBER)
    text = " ".join(text_of(page).split())
    return [match.groups() for match in re.finditer(pattern, text)]


def is_rounded(number, value):
    """Returns whether a number is a value, to as many digits as it is written with."""
    number = Decimal(number.replace(",", ""))
    unit = 10.0 ** number.as_tuple().exponent
    return abs(float(number) - float(value)) <= 0.501 * unit


def agree(numbers, values):
    return len(numbers) == len(values) and all(map(is_rounded, numbers, values))


@functools.cache
def record(name):
    """Returns what a program has measured."""
    return json.loads((ROOT / "benchmarks/results" / f"{name}.json").read_text())


def times(name, optimizer, kind="step"):
    """Returns how many of Adam's times an update takes, or its compilation."""
    return record(name)["optimizers"][optimizer][kind]["ratio"]["median"]


def with_quartiles(measured):
    """Returns how many of Adam's times something took."""
    return [measured["ratio"][key] for key in ("median", "lower", "upper")]


def quartiles(name, optimizer):
    """Returns the same of an update."""
    return with_quartiles(record(name)["optimizers"][optimizer]["step"])


def span(name, optimizer):
    """Returns the least and the most of Adam's times that whole steps take."""
    batches = record(name)["whole_steps"]["Transformer"]["batches"].values()
    ratios = [batch[optimizer]["ratio"]["median"] for batch in batches]
    return min(ratios), max(ratios)


def counted(platform, tree, optimizer, what):
    """Returns what a compiled step of a tree has, for each parameter or array."""
    return record(f"traffic-{platform}")["programs"][tree][optimizer][what]


def state_bytes(optimizer, **options):
    """Returns the bytes that the state takes for each of many parameters."""
    params = jnp.ones((1024, 1024))
    state = jax.eval_shape(optimizer(1e-3, **options).init, params)
    return round(
        sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state)) / params.size
    )


# The time of a whole training step.
OLD, NEW, GPU = "step-time-cpu-jax-0.10", "step-time-cpu-jax-0.12", "step-time-gpu"
for name, model in (
    (NEW, "Transformer"),
    (NEW, "convolutional net"),
    (GPU, "Transformer"),
):
    batches = record(name)["whole_steps"][model]["batches"].values()
    row = [1e3 * batch["optax.adam"]["seconds"]["median"] for batch in batches]
    claim(MEASUREMENTS, "`optax.adam`, ms", *row)
    for optimizer in list(next(iter(batches)))[1:]:
        title = f"`{optimizer}`".replace("-bf16-moments`", "`, bfloat16 state")
        row = [x for batch in batches for x in with_quartiles(batch[optimizer])]
        claim(MEASUREMENTS, f"{title} ÷ `optax.adam`", *row)
both = span(OLD, "adabelief") + span(NEW, "adabelief")
most = max(abs(100 * x - 100) for x in both)
claim(README, "Transformer on a CPU takes as long as with Adam, within # %", most)
claim(README, "up to # % longer with `aida`", 100 * span(GPU, "aida")[1] - 100)
piece = (
    "# to # times as long with `adabelief` as with Adam, and # to # times with `aida`"
)
claim(MEASUREMENTS, piece, *span(OLD, "adabelief"), *span(OLD, "aida"))
saved = sorted(100 - 100 * x for x in span(GPU, "adabelief-bf16-moments"))
claim(BFLOAT16, "saved AdaBelief # to # % of a whole training step", *saved)
for large in (False, True):
    batch = models(large, smoke=False)["Transformer"].batch(1)
    claim(MEASUREMENTS, "texts of # tokens", batch.shape[1] - 1)
piece = "# million parameters in # arrays"
for found in (*record(NEW)["whole_steps"].values(), record(NEW), record(GPU)):
    claim(MEASUREMENTS, piece, found["parameters"] / 1e6, found["arrays"])
claim(BFLOAT16, "an update of # million parameters", record(NEW)["parameters"] / 1e6)

# The time of an update and of its compilation, and the size of the state.
LOW = {"mu_dtype": "bfloat16", "nu_dtype": "bfloat16"}
adam = 1e3 * record(NEW)["optimizers"]["optax.adam"]["step"]["seconds"]["median"]
claim(MEASUREMENTS, "`optax.adam`", adam, 1, 1, 1, state_bytes(optax.adam))
for title, name, optimizer, options in (
    ("`optax.adabelief`", "optax.adabelief", optax.adabelief, {}),
    ("`adabelief`", "adabelief", ao.adabelief, {}),
    ("`aida`", "aida", ao.aida, {}),
    ("`aida`, k=8", "aida-k8", ao.aida, {}),
    ("Aida as published, written in JAX", "aida-loop", ao.aida, {}),
    ("`ladabelief`", "ladabelief", ao.ladabelief, {}),
    ("`ladam`", "ladam", ao.ladam, {}),
    ("`adabelief`, bfloat16 state", "adabelief-bf16-moments", ao.adabelief, LOW),
    ("`aida`, bfloat16 state", "aida-bf16-moments", ao.aida, LOW),
    ("`ladabelief`, bfloat16 state", "ladabelief-bf16-moments", ao.ladabelief, LOW),
    ("`adabelief`, all in bfloat16", "adabelief-bf16-all", ao.adabelief, LOW),
    ("`aida`, all in bfloat16", "aida-bf16-all", ao.aida, LOW),
    ("`ladabelief`, all in bfloat16", "ladabelief-bf16-all", ao.ladabelief, LOW),
):
    seconds = record(NEW)["optimizers"][name]["step"]["seconds"]["median"]
    row = [1e3 * seconds, *quartiles(NEW, name), times(OLD, name)]
    row += [times(NEW, name, "compile"), state_bytes(optimizer, **options)]
    claim(MEASUREMENTS, title, *row)
for title in ("AdaBelief", "Aida", "LAdaBelief"):
    name = title.lower()
    row = [*quartiles(NEW, f"{name}-bf16-all"), *quartiles(NEW, f"{name}-bf16-moments")]
    claim(BFLOAT16, title, *row, *span(NEW, f"{name}-bf16-moments"))
    small = "small-arrays-cpu-jax-0.12", "small-arrays-cpu-jax-0.10"
    row = [
        times(version, name, kind) for kind in ("step", "compile") for version in small
    ]
    claim(MEASUREMENTS, f"`{name}`", *row)
for title, name in {
    "PyTorch's fused AdamW": "torch.optim.AdamW",
    "`adabelief_pytorch`": "adabelief_pytorch.AdaBelief",
    "`pytorch_optimizer`'s AdaBelief": "pytorch_optimizer.AdaBelief",
    "`pytorch_optimizer`'s Aida": "pytorch_optimizer.Aida",
}.items():
    claim(MEASUREMENTS, title, times("step-time-cpu-torch-2.13", name))
for title, name in {
    "as it is: a barrier, and sums of four arrays together": "aida",
    "an added zero in place of the barrier": "aida, added zero",
    "sums array by array": "aida, sums leaf by leaf",
    "sums of sixteen arrays together": "aida, sums of sixteen",
}.items():
    claim(MEASUREMENTS, title, *quartiles(f"{GPU}-variants", name))


def bandwidth(optimizer):
    """Returns how fast an update moves memory, in % of how fast the GPU copies."""
    found = record(GPU)["optimizers"][optimizer]
    moved = found["least_bytes_per_parameter"] * record(GPU)["parameters"]
    rate = moved / found["step"]["seconds"]["median"]
    return 100 * rate / record(GPU)["copy_bytes_per_second"]


shares = map(bandwidth, ("optax.adam", "adabelief", "aida"))
piece = "which is # TB/s, read and written: Adam's # %, AdaBelief's # % and Aida's # %"
claim(MEASUREMENTS, piece, record(GPU)["copy_bytes_per_second"] / 1e12, *shares)
piece = "`adabelief` took # (#-#) times as long as Adam, and `aida` # (#-#) times"
row = [
    x for name in ("adabelief", "aida") for x in quartiles(f"{GPU}-small-arrays", name)
]
claim(MEASUREMENTS, piece, *row)

# The size of state and checkpoints. Parameters in float32 take 4 bytes.
full, low = state_bytes(ao.adabelief), state_bytes(ao.adabelief, **LOW)
of_layers, least = state_bytes(ao.ladabelief), state_bytes(ao.ladabelief, **LOW)
claim(README, "The state takes # bytes per parameter, # in bfloat16", full, low)
claim(SCALE, "the state takes # bytes per parameter instead of #", low, full)
claim(CHOOSING, "the state takes # bytes per parameter instead of #", of_layers, full)
claim(CHOOSING, "Both together take # bytes per parameter", least)
claim(BFLOAT16, "bytes per parameter", 4 + full, 2 + full, 2 + full, 2 + low)
claim(NOTEBOOKS[6], "take # bytes per parameter, instead of #", 2 + low, 4 + full)
claim(SCALE, "`adabelief`, `aida` (as `optax.adam`)", 4 + full)
claim(SCALE, "the same with `amsgrad=True`", 4 + state_bytes(ao.aida, amsgrad=True))
claim(SCALE, "the same with both moments in bfloat16", 4 + low)
claim(SCALE, "`ladabelief`, `ladam`", 4 + of_layers)
of_ladam = state_bytes(ao.ladam, mu_dtype="bfloat16")
claim(SCALE, "the same with `mu_dtype=jnp.bfloat16`", 4 + of_ladam)


# Trainings with parameters in bfloat16.
def trained(problem, rate, setting):
    """Returns the record of a training with all its seeds."""
    path = ROOT / "benchmarks/results/bfloat16" / f"{problem}.jsonl"
    rows = map(json.loads, path.read_text().splitlines())
    wanted = {"optimizer": "adabelief", "rate": rate, "setting": setting}.items()
    (found,) = (row for row in rows if wanted <= row.items())
    return found


def mean_and_spread(values):
    return np.mean(values), np.std(values, ddof=1)


SETTINGS = "float32", "plain", "link", "link, state"
for problem, words in {
    "char-transformer": "on Shakespeare",
    "digits": "network of the demo",
}.items():
    for rate in "1e-4", "3e-4", "1e-3", "3e-3", "1e-2":
        found = [trained(problem, float(rate), setting) for setting in SETTINGS]
        row = [x for run in found for x in mean_and_spread(run["test"])]
        lost = 100 * np.mean(found[1]["lost"])
        claim(BFLOAT16, rate, *row[:4], lost, *row[4:])
        claim(BFLOAT16, f"{words}, # steps", found[0]["steps"])
best, near, random = (
    np.array(trained("char-transformer", 1e-2, x)["test"]) for x in SETTINGS[:3]
)
piece = "The Transformer ends # ± # bits behind float32"
claim(BFLOAT16, piece, *mean_and_spread(near - best))
piece = "Rounded at random, it ends # ± # bits behind"
claim(BFLOAT16, piece, *mean_and_spread(random - best))

# What a compiled step moves in memory.
KERNELS, BYTES, COMPILE = "kernels_an_array", "bytes_a_parameter", "compile_ratio"
TPU, H200, ONE = "tpu-v5e", "h200", "one array"


def moved(name):
    """Returns the least bytes of a step of one array, and those on TPU and GPU."""
    least = counted(TPU, ONE, name, f"least_{BYTES}")
    return least, counted(TPU, ONE, name, BYTES), counted(H200, ONE, name, BYTES)


BELIEFS = "optax.adam", "optax.adabelief", "adabelief"
STACKS = [f"ladabelief-stack-{axis}" for axis in range(3)]
for title, names in {
    "`optax.adam`, `optax.adabelief`, `adabelief`": BELIEFS,
    "`aida`, k=2 and k=8": ("aida", "aida-k8"),
    "Aida as published, k=2": ("aida-loop",),
    "Aida as published, k=4": ("aida-loop-k4",),
    "`ladabelief`, `ladam`": ("ladabelief", "ladam"),
    "bfloat16 parameters and gradients: `adabelief`": ("adabelief-bf16",),
    "bfloat16 parameters and gradients: `aida`": ("aida-bf16",),
    "bfloat16 state: `adabelief`": ("adabelief-bf16-moments",),
    "bfloat16 state: `aida`": ("aida-bf16-moments",),
    "bfloat16 state: `ladabelief`": ("ladabelief-bf16-moments",),
    "16 layers scanned along axis 0 or 1: `aida`": ("aida-stack-0", "aida-stack-1"),
    "16 layers scanned along axis 2, the last: `aida`": ("aida-stack-2",),
    "16 layers scanned along axis 0, 1 or 2: `ladabelief`": STACKS,
}.items():
    for name in names:
        claim(MEASUREMENTS, title, *moved(name))
for title in ("AdaBelief", "Aida", "LAdaBelief"):
    low_and_high = moved(f"{title.lower()}-bf16-all"), moved(title.lower())
    claim(BFLOAT16, title, *np.transpose(low_and_high).flat)
size = math.prod(ONE_ARRAY) / 1e6
claim(MEASUREMENTS, "for one array of # million parameters", size)

# What a step compiled for a GPU has, and that of a large model.
OPTIMIZERS = "optax.adam", "adabelief", "aida", "ladabelief", "adabelief-bf16-moments"
THREE = "optax.adam", "aida", "ladabelief"
for title, tree, what in (
    ("Transformer: kernels per array", "transformer", KERNELS),
    ("bytes per parameter", "transformer", BYTES),
    ("compile ÷ Adam's", "transformer", COMPILE),
    ("700 small arrays: kernels per array", "small arrays", KERNELS),
    ("bytes per parameter", "small arrays", BYTES),
    ("compile ÷ Adam's", "small arrays", COMPILE),
    ("one array of 134 M: compile ÷ Adam's", ONE, COMPILE),
):
    claim(MEASUREMENTS, title, *(counted(H200, tree, x, what) for x in OPTIMIZERS))
for kind in ("unrolled", "scanned"):
    for way, words in {
        "one device": "one device",
        "8 devices, automatic": "eight devices, automatic mode",
        "8 devices, explicit": "eight devices, explicit mode",
        "8 devices, shard_map": "eight devices, `jax.shard_map`",
    }.items():
        of_way = record("traffic-h200-7b")["programs"][f"{kind}, {way}"]
        row = [of_way[name][KERNELS] for name in THREE]
        row += [of_way[name][COMPILE] for name in THREE[1:]]
        claim(MEASUREMENTS, words, *row)
        piece = "Adam moves # bytes per parameter, Aida #, and LAdaBelief #"
        claim(MEASUREMENTS, piece, *(of_way[name][BYTES] for name in THREE))
piece = "a Llama of # billion parameters, in # arrays or, with scanned layers, in #."
trees = [jax.tree.leaves(llama(32, 4096, scanned)) for scanned in (False, True)]
size = sum(math.prod(x.shape) for x in trees[0]) / 1e9
claim(MEASUREMENTS, piece, size, *map(len, trees))
explicit = record("traffic-h200-7b")["programs"]["unrolled, 8 devices, explicit"]
piece = "takes # kernels per array with Aida, and # with LAdaBelief"
claim(SCALE, piece, *(explicit[name][KERNELS] for name in THREE[1:]))

# What donation saves: bytes moved, and the peak of a device's memory.
ORDERS, PEAKS = record("traffic-h200")["orders"], record("traffic-tpu-v5e")["peaks"]
for order in ("params, state → params, state", "state, params → params, state"):
    for title, what in (
        (f"{order}: moved", BYTES),
        ("peak of the memory", f"peak_{BYTES}"),
    ):
        claim(SCALE, title, *(ORDERS[name][order][what] for name in THREE))
for title, way in {
    "`jit(tx.update)`, the state donated": "update",
    "the same, the gradients too": "update, gradients donated",
    "the step above, parameters and state donated": "step",
}.items():
    claim(SCALE, title, *(PEAKS[name][way] for name in THREE))

# Settings, and what floating-point numbers can hold.
adabelief, aida, adamw = (
    {name: x.default for name, x in inspect.signature(optimizer).parameters.items()}
    for optimizer in (ao.adabelief, ao.aida, optax.adamw)
)
b1, b2, eps = (adabelief[name] for name in ("b1", "b2", "eps"))
claim(CHOOSING, "| b1 #, b2 #, eps = eps_root = # |", b1, b2, eps)
row = [aida[name] for name in ("eps_root", "k", "xi")]
claim(CHOOSING, "| eps = eps_root = #, k #, xi # |", *row)
claim(CHOOSING, "`optax.adamw` decays by #", adamw["weight_decay"])
row = [ao.RECOMMENDED[f"aida_{task}"]["eps_root"] for task in ("cifar", "transformer")]
claim(CHOOSING, "Aida's authors used # on CIFAR and # for a Transformer", *row)
ceiling = math.sqrt((1 - b2) / eps)
claim(CHOOSING, "1e-16", ceiling / 1e6, 1 / ceiling)
claim(CHOOSING, "1e-8", ceiling / 1e4, 1e4 / ceiling)
claim(CHOOSING, "miss their prediction by less than #,", 1e4 / ceiling)
claim(CAVEATS, "entries must stay below #.", math.sqrt(np.finfo(np.float32).max))
claim(BFLOAT16, "the next number above 1 is #.", 1 + 2**-7)
claim(MEASUREMENTS, "# runs of # steps", len(OURS), CASES[0]["steps"])
images = re.search(r"test: (\d+) (\d+) (\d+)", text_of("benchmarks/results/demo.txt"))
piece = "scikit-learn's digits: # for training, # for validation, # for the test"
claim(MEASUREMENTS, piece, *images.groups())


# What other pages of the benchmarks say.
NETWORKS = "VGG-11", "ResNet-34", "DenseNet-121"
epochs = [said(PUBLISHED, network)[0][:2] for network in NETWORKS]
piece = "after #, # and # epochs, Adam after #, # and #"
claim(BENCHMARKS, piece, *np.transpose(epochs).flat)
claim(BENCHMARKS, "| # epochs, Adam #, to a training accuracy of", *epochs[1])
b1_and_b2 = re.compile(r"\(`(?:digits|wgan|toy-uneven-l1)`\).* ([\d.]+), ([\d.]+) \|")
pages = (f"benchmarks/pages/{name}.md" for name in ("digits", "wgan", "toys"))
pairs = [x for page in pages for x in b1_and_b2.search(text_of(page)).groups()]
piece = "# and #, but # and # for the GAN, and # and # for the toy function"
claim("benchmarks/SUITE.md", piece, *pairs)


@pytest.mark.parametrize(("page", "piece", "values"), CLAIMS)
def test_the_numbers_are_those_of_their_source(page, piece, values):
    found = said(page, piece)
    assert any(agree(numbers, values) for numbers in found), (found, values)


@pytest.mark.parametrize(("page", "piece"), sorted({claim[:2] for claim in CLAIMS}))
def test_a_page_says_nothing_else_there(page, piece):
    claims = [values for *where, values in CLAIMS if where == [page, piece]]
    for numbers in said(page, piece):
        assert any(agree(numbers, values) for values in claims), numbers


def test_the_versions_are_the_lowest_allowed():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lowest = dict(x.removesuffix(".0").split(">=") for x in project["dependencies"])
    python, jax = project["requires-python"].strip(">="), lowest["jax"]
    words = f"Python {python}, JAX {jax} and Optax {lowest['optax']}, or newer"
    assert words in " ".join(text_of(README).split())


def test_what_others_published_is_what_their_page_says():
    ranges = rf"{NUMBER} to {NUMBER}"
    found = re.findall(ranges, text_of(BENCHMARKS))
    assert found and set(found) <= set(re.findall(ranges, text_of(PUBLISHED)))


def test_the_sums_in_the_texts_of_notebooks_are_right():
    """Those of numbers alone, such as 6/(5·2) = 0.6."""
    text, sums = " ".join(map(text_of, NOTEBOOKS)), rf" ([\d√][^ a-df-z]*) = {NUMBER}"
    signs = str.maketrans({"·": "*", "√": "sqrt", "²": "**2", "−": "-"})
    found = re.findall(sums, text)
    assert len(found) > 7
    for term, number in found:
        value = eval(term.translate(signs), {"sqrt": math.sqrt})
        assert is_rounded(number, value), term


@pytest.mark.parametrize("page", NOTEBOOKS)
def test_the_settings_in_the_texts_of_notebooks_are_those_of_their_code(page):
    cells = nbformat.read(ROOT / page, as_version=4).cells
    code = " ".join(cell.source for cell in cells if cell.cell_type == "code")
    small = r"(?<![\w./])\d+e-\d+"
    assert set(re.findall(small, text_of(page))) <= set(re.findall(small, code))


def test_versions_and_levels_are_the_same_everywhere():
    pages = [*ROOT.glob("docs/*.md"), *ROOT.glob("benchmarks/*.md"), ROOT / README]
    text = " ".join(page.read_text() for page in pages)
    assert set(re.findall(r"(\d+) % intervals?", text)) == {"95"}
    known = {record(name)["versions"]["jax"][:4] for name in (OLD, NEW, GPU)}
    # The lowest, and what some recipes need, were not timed.
    assert set(re.findall(r"JAX (0\.\d+)", text)) <= known | {"0.6", "0.7"}
    sources = (ROOT / "tests/package/data/README.md").read_text()
    for source in re.findall(r"`[a-z]+-[a-z]+` \d[\d.]*\d", text):
        assert source in sources


def test_a_number_that_is_off_is_noticed():
    for number, value in (("5.7", 5.711872), ("1,152", 1152), ("1.8e19", 1.8447e19)):
        assert is_rounded(number, value)
    for number, value in (("5.7", 5.76), ("1,152", 1153), ("3e-7", 3.6e-7)):
        assert not is_rounded(number, value)
