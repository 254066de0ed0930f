"""Are the bytes that kernels move read rightly from XLA's text?"""

import json
import math
from importlib.util import find_spec

import jax
import jax.numpy as jnp
import optax
import pytest
from jax.sharding import SingleDeviceSharding

from benchmarks.speed import hlo, parameters, programs, traffic
from benchmarks.speed.cases import CASES, TIMED, least_bytes
from benchmarks.speed.steps import Trial
from tests.helpers import ROOT, python

# 4 x 8 = 32 entries. Two kernels over the array, as for Aida; the second reads the new
# average through a bitcast, and a copy of the gradient that was brought on the chip.
PROGRAM = """
HloModule jit_step, is_scheduled=true

%add (x: f32[], y: f32[]) -> f32[] {
  %x = f32[] parameter(0)
  %y = f32[] parameter(1)
  ROOT %sum = f32[] add(%x, %y)
}

%inner (a: f32[4,8], b: f32[4,8]) -> (f32[], f32[4,8]) {
  %a = f32[4,8]{1,0} parameter(0)
  %b = f32[4,8]{1,0} parameter(1)
  %unseen = f32[4,8]{1,0} multiply(%a, %b)
  ROOT %pair = (f32[], f32[4,8]{1,0}) tuple(%a, %unseen)
}

ENTRY %main.1 (g: f32[4,8], m: f32[4,8], t: s32[]) -> (f32[32], bf16[4,8]) {
  %g = f32[4,8]{1,0:T(8,128)} parameter(0), metadata={op_name="f(%m)"}
  %m = f32[4,8]{1,0:T(8,128)} parameter(1)
  %t = s32[]{:T(128)} parameter(2)
  %t_on_chip = s32[]{:T(128)S(6)} copy(%t)
  %start = (f32[4,8]{1,0:T(8,128)S(1)}, f32[4,8]{1,0:T(8,128)}, u32[]{:S(2)}) copy-start(%g)
  %sums = (f32[]{:T(128)}, /*index=1*/f32[4,8]{1,0:T(8,128)}) fusion(%g, %m, /*index=2*/%m), kind=kLoop, calls=%inner
  %total = f32[]{:T(128)} get-tuple-element(%sums), index=0
  %average = f32[4,8]{1,0:T(8,128)} get-tuple-element(%sums), index=1
  %flat = f32[32]{0:T(128)} bitcast(%average)
  %here = f32[4,8]{1,0:T(8,128)S(1)} copy-done(%start)
  %step = (f32[32]{0:T(128)}, bf16[4,8]{1,0:T(8,128)(2,1)}) fusion(%flat, %here, %total), kind=kLoop, calls=%inner
  %x = f32[32]{0:T(128)} get-tuple-element(%step), index=0
  %y = bf16[4,8]{1,0:T(8,128)(2,1)} get-tuple-element(%step), index=1
  ROOT %result = (f32[32]{0:T(128)}, bf16[4,8]{1,0:T(8,128)(2,1)}) tuple(%x, %y)
}
"""  # noqa: E501


def test_traffic_on_tpu():
    # t 4; start reads 128; sums: g, m 128 each, and 4, 128 written; step: flat 128,
    # total 4, and 128, 64 written. Not the copy-done, m again, or what is in a fusion.
    expected = 4 + 128 + (128 + 128 + 4 + 128) + (128 + 4 + 128 + 64)
    found = hlo.traffic(PROGRAM, 32, hlo.ON_TPU_CHIP)
    assert found == hlo.Traffic(expected, large=3, small=0)


def test_traffic_elsewhere_counts_every_memory_space():
    # More: t's copy 4, the copy's target 128, and the step's reading of that 128.
    on_tpu = hlo.traffic(PROGRAM, 32, hlo.ON_TPU_CHIP)
    assert hlo.traffic(PROGRAM, 32).moved == on_tpu.moved + 4 + 128 + 128


def test_small_kernels_are_told_from_large():
    assert hlo.traffic(PROGRAM, 33, hlo.ON_TPU_CHIP)[1:] == (0, 3)


def test_a_called_computation_is_counted_for_the_call():
    called = "  ROOT %c = f32[4,8]{1,0} call(%g), to_apply=%graph\n}\n"
    text = (
        "%graph (p: f32[4,8]) -> f32[4,8] {\n"
        "  %p = f32[4,8]{1,0} parameter(0)\n"
        "  ROOT %k = f32[4,8]{1,0} copy(%p)\n}\n\n"
        "ENTRY %main (g: f32[4,8]) -> f32[4,8] {\n"
        "  %g = f32[4,8]{1,0} parameter(0)\n" + called
    )
    assert hlo.traffic(text, 32) == hlo.Traffic(256, large=1, small=0)
    for opcode in ("while", "conditional", "async-start"):
        with pytest.raises(hlo.UnreadableError, match=f"has a {opcode}"):
            hlo.traffic(text.replace(" call(", f" {opcode}("), 32)


def test_all_reduces_are_counted_once_each():
    text = (
        "ENTRY %main (g: f32[4]) -> f32[4] {\n"
        "  %g = f32[4]{0} parameter(0)\n"
        "  %all-reduce.1 = (f32[4]{0}, f32[4]{0}) all-reduce(%g, %g), to_apply=%add\n"
        "  %s = f32[4]{0} all-reduce-start(%g), to_apply=%add\n"
        "  ROOT %d = f32[4]{0} all-reduce-done(%s)\n}\n"
    )
    assert hlo.all_reduces(text) == 2


@pytest.mark.parametrize("dtype", ["f32", "s32", "u32", "bf16", "pred", "f8e4m3fn"])
def test_sizes_of_dtypes(dtype):
    size = {"f32": 4, "s32": 4, "u32": 4, "bf16": 2, "pred": 1, "f8e4m3fn": 1}[dtype]
    text = f"ENTRY %f (x: {dtype}[3]) -> {dtype}[3] {{\n"
    text += f"  %x = {dtype}[3]{{0}} parameter(0)\n"
    text += f"  ROOT %y = {dtype}[3]{{0}} copy(%x)\n}}\n"
    assert hlo.traffic(text, 3).moved == 2 * 3 * size


def test_least_bytes_of_what_is_timed():
    assert {name: least_bytes(case) for name, case in TIMED.items()} == {
        # Reads g, m, s, p and writes m, s, p.
        "optax.adam": 28,
        "optax.adabelief": 28,
        "adabelief": 28,
        # A sum over the layer comes before the step: g and m are read twice.
        "aida": 36,
        "aida-k8": 36,
        "aida-loop": 36,
        # One stepsize a layer leaves g, m in and m out, then m, p in and p out.
        "ladabelief": 24,
        "ladam": 24,
        # In bfloat16: g, m, s, p in and m, s, p out; g and m again for Aida's sums, and
        # the new m for LAdaBelief's, which has no s.
        "adabelief-bf16-all": 14,
        "aida-bf16-all": 18,
        "ladabelief-bf16-all": 12,
        # With moments alone in bfloat16, g and p have four bytes.
        "adabelief-bf16-moments": 20,
        "aida-bf16-moments": 26,
        "ladabelief-bf16-moments": 18,
    }


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("adabelief-bf16", 2 + 2 * (4 + 4 + 2)),  # g; m, s, p in and out
        ("aida-bf16", 2 + 2 * (4 + 4 + 2) + 2 + 4),  # and g, m for the sums
        ("adabelief-bf16-moments", 4 + 2 * (2 + 2 + 4)),
        ("aida-bf16-moments", 4 + 2 * (2 + 2 + 4) + 4 + 2),
        # No s. The step reads the new m in place of g and the old one.
        ("ladabelief-bf16-moments", 4 + 2 * (2 + 4) + 2),
    ],
)
def test_least_bytes_in_bfloat16(name, least):
    assert least_bytes(CASES[name]) == least


@pytest.mark.parametrize("name", ["optax.adam", "aida", "aida-loop"])
def test_xla_text_of_this_version_is_read(name):
    device = jax.devices()[0]
    ((_, found),) = programs.of_array([name], 16, device, rounds=1)
    row = found[name]
    assert row["passes_an_array"] > 0
    assert row["bytes_a_parameter"] >= row["least_bytes_a_parameter"]
    assert row["least_bytes_a_parameter"] == least_bytes(CASES[name])


def test_a_copy_moves_twice_its_size():
    x = jnp.ones((8, 16))
    text = jax.jit(lambda x: x.T + 1).lower(x).compile().as_text()
    assert hlo.traffic(text, x.size).moved - 2 * x.nbytes in (0, 4)  # perhaps the 1


def test_a_row_that_is_not_counted_says_why():
    read = {"bytes_a_parameter": 28.0, "least_bytes_a_parameter": 28}
    unread = {"not_counted": "has a while", "least_bytes_a_parameter": 28}
    assert traffic.table({"x": read, "y": unread}) == [
        ["optimizer", "bytes", "least"],
        ["x", "28.0", "28"],
        ["y", "not counted: has a while", "28"],
    ]


@pytest.mark.parametrize(
    ("platform", "plugin"), [("tpu", "libtpu"), ("cuda", "jax_plugins.xla_cuda13")]
)
def test_without_the_compiler_one_line_says_what_to_install(platform, plugin, tmp_path):
    path = tmp_path / "traffic.json"
    options = ["--smoke", "--optimizers", "aida", "--json", path]
    done = python("-m", "benchmarks", "traffic", "--platform", platform, *options)
    try:
        present = find_spec(plugin) is not None
    except ModuleNotFoundError:
        present = False
    if present:
        assert done.returncode == 0, done.stderr
        found = json.loads(path.read_text())
        row = found["programs"]["one array"]["aida"]
        assert row["least_bytes_a_parameter"] == 36
        assert set(found["orders"]) == set(traffic.PEAKS)
    else:
        assert done.returncode == 1
        assert done.stderr.startswith("no ") and done.stderr.count("\n") == 1
        assert "pip install 'jax[" in done.stderr


@pytest.fixture(scope="module")
def counted_orders():
    return traffic.of_orders("aida", jax.devices()[:2], 32)


@pytest.mark.parametrize("order", traffic.orders(CASES["aida"].tx))
def test_what_is_donated_is_reused(order, counted_orders):
    step, takes = traffic.orders(CASES["aida"].tx)[order]
    donated = {"p": "params", "s": "state", "g": "grads"}
    assert counted_orders[order]["all_reduces"] >= 1
    given, returned = (x.strip().split(", ") for x in order.split("→"))
    assert {"params": 1, "updates": 1}.get(returned[0]) or returned[0] == "state"
    trial = Trial(CASES["aida"].tx, [jnp.ones(4)], lambda _: None)
    trees = dict(zip("psg", trial.arguments(), strict=True))
    lowered = step.lower(*(trees[x] for x in takes))
    for name, infos in zip(takes, lowered.args_info[0], strict=True):
        for info in jax.tree.leaves(infos, is_leaf=lambda x: hasattr(x, "donated")):
            assert info.donated == (donated[name] in given)


def test_the_second_moment_of_a_layer_is_one_number():
    state = jax.eval_shape(CASES["ladam"].tx.init, jnp.ones((2, 2)))
    assert optax.tree.get(state, "nu").ndim == 0  # what `least_bytes` goes by


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_stack_has_its_layers_where_its_name_says(axis):
    case = CASES[f"ladabelief-stack-{axis}"]
    shape = case.shape(128, 96)
    assert len(shape) == 3 and shape[axis] == 16 and math.prod(shape) == 128 * 96
    nu = optax.tree.get(jax.eval_shape(case.tx.init, jnp.ones(shape)), "nu")
    assert nu.shape == (16,)
    # 36 and 24 bytes are the least for a stack as for one layer.
    assert least_bytes(case) == 24 and least_bytes(CASES[f"aida-stack-{axis}"]) == 36


def test_a_large_model_has_7_b_parameters_in_one_array_or_many():
    apart, scanned = (parameters.llama(32, 4096, x) for x in (False, True))
    sizes = [
        sum(math.prod(x.shape) for x in jax.tree.leaves(y)) for y in (apart, scanned)
    ]
    assert sizes[0] == sizes[1] == pytest.approx(7e9, rel=0.05)
    assert [len(jax.tree.leaves(x)) for x in (apart, scanned)] == [32 * 9 + 3, 9 + 3]


@pytest.mark.skipif(not hasattr(jax, "set_mesh"), reason="needs a newer JAX")
def test_a_model_is_split_in_every_way(monkeypatch):
    monkeypatch.setattr(programs, "llama", lambda *_: {"blocks": blocks, "head": head})
    blocks = [jax.ShapeDtypeStruct((128, 256), jnp.float32)] * 2
    head = jax.ShapeDtypeStruct((128,), jnp.float32)
    devices = jax.devices()[:8]
    found = dict(programs.of_model(["aida"], devices, smoke=True, rounds=1))
    assert [name for name in found if "unrolled" in name] == [
        "unrolled, one device",
        *(f"unrolled, 8 devices, {x}" for x in ("automatic", "explicit", "shard_map")),
    ]
    for name, rows in found.items():
        assert list(rows) == ["optax.adam", "aida"]
        if "8 devices" in name:
            assert rows["optax.adam"]["all_reduces"] == 0
            assert rows["aida"]["all_reduces"] == 1


def test_programs_are_counted_beside_adam():
    device = jax.devices()[0]
    params, place = parameters.small_arrays(4), SingleDeviceSharding(device)
    trials = {
        name: Trial(CASES[name].tx, params, lambda _: place)
        for name in ("optax.adam", "aida")
    }
    found = programs.count(trials, [device], rounds=1)
    assert found["optax.adam"]["compile_ratio"] == 1
    assert found["aida"]["bytes_a_parameter"] > found["optax.adam"]["bytes_a_parameter"]
    assert found["aida"]["kernels_an_array"] > 1
    rows = traffic.table(found)
    assert [row[0] for row in rows] == ["optimizer", "optax.adam", "aida"]
    assert all(len(row) == len(rows[0]) for row in rows)


@pytest.mark.parametrize(
    ("tree", "name", "kernels", "size"),
    [
        ("transformer", "adabelief", 1.1, 28.0),
        ("transformer", "aida", 2.3, 36.0),
        ("transformer", "ladabelief", 2.3, 24.0),
        ("small arrays", "aida", 1.6, 36.1),  # the sums themselves are a tenth
        ("small arrays", "ladabelief", 2.1, 28.0),
    ],
)
def test_published_kernels_of_a_gpu(tree, name, kernels, size):
    path = ROOT / "benchmarks" / "results" / "traffic-h200.json"
    found = json.loads(path.read_text())["programs"][tree][name]
    assert found["kernels_an_array"] <= kernels
    assert found["bytes_a_parameter"] <= size
