"""What do the examples' and the pages' steps become, compiled for eight TPU v5e chips?

libtpu compiles for one on a machine that has none: `make test-tpu`.
"""

import importlib.util
import re
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import nbformat
import numpy as np
import pytest
from flax import nnx
from flax.training.train_state import TrainState
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from adabelief_optax import adabelief, aida, ladabelief
from benchmarks.speed import programs
from benchmarks.speed.compilers import topology
from benchmarks.speed.steps import compiled
from tests.helpers import ROOT, load

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="no libtpu: make test-tpu"
)


@pytest.fixture(scope="module")
def mesh():
    """Returns eight chips in a row, which share parameters and batches."""
    return Mesh(np.array(topology("tpu", eight=True).devices), ("data",))


def sharding_of(array, mesh):
    """Splits the longest axis, or, where eight do not divide it, copies the array."""
    spec = [None] * array.ndim
    if max(array.shape, default=1) % mesh.size == 0:
        spec[np.argmax(array.shape)] = "data"
    return NamedSharding(mesh, PartitionSpec(*spec))


def placed(tree, mesh, rule=sharding_of):
    """Returns the shapes of a tree's arrays, with the shardings of a rule."""
    return jax.tree.map(
        lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=rule(a, mesh)), tree
    )


def batch(example, mesh):
    """Returns the shapes of images and digits, split over the chips."""
    x = jax.ShapeDtypeStruct((example.BATCH, 64), jnp.float32)
    return placed((x, jax.ShapeDtypeStruct((example.BATCH,), jnp.int32)), mesh)


def assert_for_eight_chips(compiled):
    program = compiled.as_text()
    assert "num_partitions=8" in program.splitlines()[0]
    assert "all-reduce" in program or "reduce-scatter" in program  # of the gradients


def test_flax_linen(mesh):
    example = load("examples/flax_linen.py")
    network = example.Network(128)

    def make():
        params = network.init(jax.random.key(0), jnp.zeros((1, 64)))
        tx = example.make_optimizer()
        return TrainState.create(apply_fn=network.apply, params=params, tx=tx)

    state = placed(jax.eval_shape(make), mesh)
    lowered = example.train_step.lower(state, *batch(example, mesh))
    assert_for_eight_chips(lowered.compile())


def test_flax_nnx(mesh):
    example = load("examples/flax_nnx.py")

    def make():
        model = example.Network(128, nnx.Rngs(0))
        tx = example.make_optimizer()
        return model, nnx.Optimizer(model, tx, wrt=nnx.Param)

    both = nnx.eval_shape(make)
    nnx.update(both, placed(nnx.state(both), mesh))
    lowered = example.train_step.lower(*both, *batch(example, mesh))
    assert_for_eight_chips(lowered.compile())


def test_equinox(mesh):
    example = load("examples/equinox_loop.py")

    def make():
        model = example.make_model(128, jax.random.key(0))
        return model, example.TX.init(eqx.filter(model, eqx.is_inexact_array))

    def is_shape(leaf):
        return isinstance(leaf, jax.ShapeDtypeStruct)

    # Equinox takes a shape for no array: JAX traces it as one, around Equinox's step.
    shapes, rest = eqx.partition(eqx.filter_eval_shape(make), is_shape)

    @jax.jit
    def step(arrays, x, y):
        both = eqx.combine(arrays, rest)
        return eqx.filter(example.train_step((x, y), *both), eqx.is_array)

    lowered = step.lower(placed(shapes, mesh), *batch(example, mesh))
    assert_for_eight_chips(lowered.compile())


@pytest.fixture
def notebook():
    """Returns what notebook 6 imports and defines, up to the function `train`."""
    path = ROOT / "notebooks" / "6_many_devices.ipynb"
    cells = nbformat.read(path, as_version=4).cells
    names = {"sys": sys}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", list(sys.path))
        for beginning in ('sys.path.insert(0, "..")', "SIZES, STEPS"):
            (code,) = (c.source for c in cells if c.source.startswith(beginning))
            exec(code, names)
    return names


def test_notebook(mesh, notebook):
    tx = aida(1e-3, mu_dtype="bfloat16", nu_dtype="bfloat16")
    params, size = notebook["draw_params"](jnp.bfloat16), notebook["BATCH"]
    state = placed(jax.eval_shape(tx.init, params), mesh)
    arrays = params, notebook["x"][:size], notebook["y"][:size]
    params, x, y = placed(arrays, mesh, notebook["sharding_of"])
    with jax.numpy_rank_promotion("allow"):  # as users have it
        lowered = notebook["make_step"](tx).lower(params, state, x, y)
    assert_for_eight_chips(lowered.compile())


def documented(tx):
    """Returns the step of docs/scale.md, with another optimizer."""
    page = (ROOT / "docs" / "scale.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    (code,) = (x for x in blocks if "# not opt_state, params" in x)
    names = {}
    exec(code, names)
    names["tx"] = tx
    return names["step"]


# Bytes moved per parameter, the peak of a chip's memory, and sums over the chips.
MOVED = {
    "adabelief": (adabelief(1e-3), 28, 16.7, 0),
    "aida": (aida(1e-3), 36, 17.2, 1),
    "ladabelief": (ladabelief(1e-3), 24, 13.3, 1),
}


@pytest.mark.parametrize(("tx", "moved", "peak", "sums"), MOVED.values(), ids=MOVED)
def test_the_documented_step(tx, moved, peak, sums, mesh):
    one, many = (programs.mesh_of(mesh.devices.flat[:n]) for n in (1, 8))
    array = jax.ShapeDtypeStruct((16384, 8192), jnp.float32)
    program = compiled(documented(tx), programs.placed(tx, array, one))
    found = programs.counted(program, array, one)
    assert found["bytes_a_parameter"] == pytest.approx(moved, abs=0.1)
    assert found["temporary_bytes_a_parameter"] < 0.1

    params = programs.layers(8, 4096)
    program = compiled(documented(tx), programs.placed(tx, params, many, programs.rows))
    found = programs.counted(program, params, many)
    assert found["peak_bytes_a_parameter"] < peak
    assert found["all_reduces"] == sums


def test_in_zero_1_parameters_are_gathered_once(mesh):
    example = load("examples/many_hosts.py")
    args = example.parse(["--directory", "x"])
    program = example.Program(args, mesh)
    x = jax.ShapeDtypeStruct((args.batch_size, 64), jnp.float32, sharding=program.batch)
    y = jax.ShapeDtypeStruct((args.batch_size,), jnp.int32, sharding=program.batch)
    text = program.step.lower(*program.like, x, y).compile().as_text()
    shapes = re.findall(r"= (.*?) all-gather(?:-start)?\(", text)
    gathered = sum(
        int(np.prod([int(n) for n in dims.split(",") if n]))
        for shape in shapes
        for dims in re.findall(r"f32\[([\d,]*)\]", shape)
    )
    sizes = [x.size for x in jax.tree.leaves(program.like[0])]
    assert 0 < gathered <= 1.2 * sum(sizes)
