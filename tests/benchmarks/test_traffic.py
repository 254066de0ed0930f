"""Are the bytes that kernels move read rightly from XLA's text?"""

import json
from importlib.util import find_spec

import jax
import jax.numpy as jnp
import optax
import pytest

from benchmarks.speed import hlo, parameters, programs, traffic
from benchmarks.speed.cases import CASES, least_bytes
from benchmarks.speed.steps import shapes
from tests.helpers import python

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


def test_traffic_on_tpu_and_elsewhere():
    # t 4; start reads 128; sums: g, m 128 each, and 4, 128 written; step: flat 128,
    # total 4, and 128, 64 written. Not the copy-done, m again, or what is in a fusion.
    expected = 4 + 128 + (128 + 128 + 4 + 128) + (128 + 4 + 128 + 64)
    assert hlo.traffic(PROGRAM, hlo.ON_TPU_CHIP) == (expected, 3)
    # With every memory space: t's copy 4, the copy's target 128, and its reading 128.
    assert hlo.traffic(PROGRAM) == (expected + 4 + 128 + 128, 3)


def test_a_called_computation_is_counted_for_the_call():
    called = "  ROOT %c = f32[4,8]{1,0} call(%g), to_apply=%graph\n}\n"
    text = (
        "%graph (p: f32[4,8]) -> f32[4,8] {\n"
        "  %p = f32[4,8]{1,0} parameter(0)\n"
        "  ROOT %k = f32[4,8]{1,0} copy(%p)\n}\n\n"
        "ENTRY %main (g: f32[4,8]) -> f32[4,8] {\n"
        "  %g = f32[4,8]{1,0} parameter(0)\n" + called
    )
    assert hlo.traffic(text) == (256, 1)
    for opcode in ("while", "conditional", "async-start"):
        with pytest.raises(ValueError, match=f"what a {opcode} moves"):
            hlo.traffic(text.replace(" call(", f" {opcode}("))
    with pytest.raises(ValueError, match="not an instruction of XLA's"):
        hlo.traffic(text.replace(" copy(", " "))


def test_all_reduces_are_counted_once_each():
    text = (
        "ENTRY %main (g: f32[4]) -> f32[4] {\n"
        "  %g = f32[4]{0} parameter(0)\n"
        "  %all-reduce.1 = (f32[4]{0}, f32[4]{0}) all-reduce(%g, %g), to_apply=%add\n"
        "  %s = f32[4]{0} all-reduce-start(%g), to_apply=%add\n"
        "  ROOT %d = f32[4]{0} all-reduce-done(%s)\n}\n"
    )
    assert hlo.all_reduces(text) == 2


def test_sizes_of_dtypes():
    sizes = {"f32": 4, "s32": 4, "u32": 4, "bf16": 2, "pred": 1, "f8e4m3fn": 1}
    for dtype, size in sizes.items():
        text = f"ENTRY %f (x: {dtype}[3]) -> {dtype}[3] {{\n"
        text += f"  %x = {dtype}[3]{{0}} parameter(0)\n"
        text += f"  ROOT %y = {dtype}[3]{{0}} copy(%x)\n}}\n"
        assert hlo.traffic(text)[0] == 2 * 3 * size


def test_a_copy_moves_twice_its_size():
    x = jnp.ones((8, 16))
    text = jax.jit(lambda x: x.T + 1).lower(x).compile().as_text()
    assert hlo.traffic(text)[0] - 2 * x.nbytes in (0, 4)  # perhaps the 1


def test_least_bytes():
    assert {name: least_bytes(case) for name, case in CASES.items()} == {
        # Reads g, m, s, p and writes m, s, p.
        "optax.adam": 28,
        "optax.adabelief": 28,
        "adabelief": 28,
        # A sum over the layer comes before the step: g and m are read twice.
        **dict.fromkeys(("aida", "aida-k8", "aida-loop", "aida-loop-k4"), 36),
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
        # With g and p alone, these have two.
        "adabelief-bf16": 22,
        "aida-bf16": 28,
        # The least for a stack is that for one layer.
        **{f"aida-stack-{axis}": 36 for axis in range(3)},
        **{f"ladabelief-stack-{axis}": 24 for axis in range(3)},
    }


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_stack_has_its_layers_where_its_name_says(axis):
    case = CASES[f"ladabelief-stack-{axis}"]
    array = case.array(128, 96)
    assert array.ndim == 3 and array.shape[axis] == 16 and array.size == 128 * 96
    nu = optax.tree.get(jax.eval_shape(case.tx.init, array), "nu")
    assert nu.shape == (16,)


def test_xla_text_of_this_version_is_read_beside_adam():
    device = jax.devices()[0]
    names = ["optax.adam", "aida", "aida-loop"]
    ((_, found), *others) = programs.of_trees(names, device, smoke=True, rounds=1)
    assert list(found) == names and found["optax.adam"]["compile_ratio"] == 1
    for name, row in found.items():
        assert row["least_bytes_a_parameter"] == least_bytes(CASES[name])
        assert row["bytes_a_parameter"] >= row["least_bytes_a_parameter"]
        assert row["kernels_an_array"] > 0
    rows = traffic.table(found)
    assert rows[0][:3] == ["", "bytes", "least"]
    assert [row[0] for row in rows[1:]] == names and rows[1][2] == "28"
    for name, rows in others:
        adam, ours = (rows[x] for x in ("optax.adam", "aida"))
        assert "aida-loop" not in rows and name in ("transformer", "small arrays")
        assert ours["bytes_a_parameter"] > adam["bytes_a_parameter"]
        assert ours["kernels_an_array"] > 1


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
        assert list(found["orders"]) == ["optax.adam", "aida"]
    else:
        assert done.returncode == 1
        assert done.stderr.startswith("no ") and done.stderr.count("\n") == 1
        assert "pip install 'jax[" in done.stderr


def test_what_is_donated_is_reused():
    donated = {"p": "params", "s": "state", "g": "grads"}
    trees = dict(zip("psg", shapes(CASES["aida"].tx, jnp.ones(4)), strict=True))
    for order, (step, takes) in programs.orders(CASES["aida"].tx).items():
        given, returned = (x.strip().split(", ") for x in order.split("→"))
        assert returned[0] in ("params", "updates", "state")
        lowered = step.lower(*(trees[x] for x in takes))
        for name, infos in zip(takes, lowered.args_info[0], strict=True):
            for info in jax.tree.leaves(infos, is_leaf=lambda x: hasattr(x, "donated")):
                assert info.donated == (donated[name] in given)


def test_orders_are_counted_on_all_devices():
    devices = jax.devices()[:2]
    ((name, found),) = programs.of_orders(["aida"], devices, programs.SPLIT)
    assert name == "aida" and list(found) == list(programs.orders(CASES["aida"].tx))
    assert all(row["all_reduces"] >= 1 for row in found.values())


def test_a_large_model_has_7_b_parameters_in_one_array_or_many():
    apart, scanned = (
        [x.size for x in jax.tree.leaves(parameters.llama(32, 4096, x))]
        for x in (False, True)
    )
    assert sum(apart) == sum(scanned) == pytest.approx(7e9, rel=0.05)
    assert [len(apart), len(scanned)] == [32 * 9 + 3, 9 + 3]


@pytest.mark.skipif(not hasattr(jax, "set_mesh"), reason="needs JAX 0.7 or newer")
def test_a_model_is_split_in_every_way(monkeypatch):
    blocks = [jax.ShapeDtypeStruct((128, 256), jnp.float32)] * 2
    head = jax.ShapeDtypeStruct((128,), jnp.float32)
    tree = {"blocks": blocks, "head": head}
    monkeypatch.setattr(programs, "llama", lambda *_, **__: tree)
    names = ["optax.adam", "aida"]
    found = dict(programs.of_model(names, jax.devices()[:8], smoke=True))
    assert [name for name in found if "unrolled" in name] == [
        "unrolled, one device",
        *(f"unrolled, 8 devices, {x}" for x in ("automatic", "explicit", "shard_map")),
    ]
    for name, rows in found.items():
        assert list(rows) == names
        if "8 devices" in name:
            assert rows["optax.adam"]["all_reduces"] == 0
            assert rows["aida"]["all_reduces"] == 1
