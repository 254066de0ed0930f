"""Do the examples' training steps and notebook 6's compile for a TPU v5e with 8 chips?

libtpu compiles for one on a machine that has none: `make test-tpu`.
"""

import importlib.util
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
from benchmarks.speed.compilers import topology
from tests.helpers import ROOT

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="no libtpu: make test-tpu"
)
BFLOAT16 = {"mu_dtype": "bfloat16", "nu_dtype": "bfloat16"}
OPTIMIZERS = {
    "adabelief": (adabelief(1e-3), jnp.float32),
    "aida": (aida(1e-3), jnp.float32),
    "ladabelief": (ladabelief(1e-3), jnp.float32),
    "aida in bfloat16": (aida(1e-3, **BFLOAT16), jnp.bfloat16),
}


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


def load(name):
    """Returns an example as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / f"examples/{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def assert_for_eight_chips(compiled):
    program = compiled.as_text()
    assert "num_partitions=8" in program.splitlines()[0]
    assert "all-reduce" in program or "reduce-scatter" in program  # of the gradients


def test_flax_linen(mesh):
    example = load("flax_linen")
    network = example.Network(128)

    def make():
        params = network.init(jax.random.key(0), jnp.zeros((1, 64)))
        tx = example.make_optimizer()
        return TrainState.create(apply_fn=network.apply, params=params, tx=tx)

    state = placed(jax.eval_shape(make), mesh)
    lowered = example.train_step.lower(state, *batch(example, mesh))
    assert_for_eight_chips(lowered.compile())


def test_flax_nnx(mesh):
    example = load("flax_nnx")

    def make():
        model = example.Network(128, nnx.Rngs(0))
        tx = example.make_optimizer()
        return model, nnx.Optimizer(model, tx, wrt=nnx.Param)

    both = nnx.eval_shape(make)
    nnx.update(both, placed(nnx.state(both), mesh))
    lowered = example.train_step.lower(*both, *batch(example, mesh))
    assert_for_eight_chips(lowered.compile())


def test_equinox(mesh):
    example = load("equinox_loop")

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


@pytest.fixture(scope="module")
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


@pytest.mark.parametrize(("tx", "dtype"), OPTIMIZERS.values(), ids=list(OPTIMIZERS))
def test_notebook(tx, dtype, mesh, notebook):
    params, size = notebook["draw_params"](dtype), notebook["BATCH"]
    state = placed(jax.eval_shape(tx.init, params), mesh)
    arrays = params, notebook["x"][:size], notebook["y"][:size]
    params, x, y = placed(arrays, mesh, notebook["sharding_of"])
    with jax.numpy_rank_promotion("allow"):  # as users have it
        lowered = notebook["make_step"](tx).lower(params, state, x, y)
    assert_for_eight_chips(lowered.compile())
