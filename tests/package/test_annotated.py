"""Do LAdam and LAdaBelief train models whose parameters name their axes?

Their `nu` has fewer axes than its parameter, and so fewer names.
"""

import dataclasses
import functools
import warnings

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
from flax import nnx
from flax.training.train_state import TrainState
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import adabelief_optax as ao
from tests.helpers import assert_close

pytestmark = pytest.mark.slow

LAYERS, WIDTH = 4, 8
RULES = [("layers", "x"), ("in", None), ("out", "y")]
OPTIMIZERS = {
    "ladam": ao.ladam,
    "ladabelief": ao.ladabelief,
    "ladabelief-amsgrad": functools.partial(ao.ladabelief, amsgrad=True),
}
every_optimizer = pytest.mark.parametrize(
    "factory", OPTIMIZERS.values(), ids=list(OPTIMIZERS)
)
every_kind = pytest.mark.parametrize(
    "kind", [AxisType.Auto, AxisType.Explicit], ids=["auto", "explicit"]
)
# Of the layers of a stack, where its axis is in the middle, and of one layer.
STACKED = {"stack": frozenset({1}), "alone": 0}
SHAPES = {"stack": (WIDTH, LAYERS, 2), "alone": (WIDTH, 2)}
NAMES = {"stack": ("in", "layers", "out"), "alone": ("in", "out")}
MESH_NAMES = {"stack": (None, "x", "y"), "alone": (None, "y")}
OF_NU = {"stack": P("x"), "alone": P()}


def mesh_of(kind=AxisType.Auto):
    return jax.make_mesh((4, 2), ("x", "y"), axis_types=(kind,) * 2)


def use_mesh(mesh):
    return getattr(jax, "set_mesh", getattr(jax.sharding, "use_mesh", None))(mesh)


def normal(shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def data():
    x = normal((32, WIDTH), seed=1)
    return x, jnp.sin(x[:, :2]).sum(1, keepdims=True)


def predict(stack, alone, x):
    for i in range(LAYERS):
        x = x + jnp.pad(jnp.tanh(x @ stack[:, i]), ((0, 0), (0, WIDTH - 2)))
    return (x @ alone).sum(1, keepdims=True)


def loss_of(prediction):
    return jnp.mean((prediction - data()[1]) ** 2)


def plain_params():
    return {name: 0.3 * normal(shape, len(shape)) for name, shape in SHAPES.items()}


@functools.cache
def trained_plain(name, steps=4):
    """Returns parameters and state of a model of plain arrays on one device."""
    tx, params = OPTIMIZERS[name](0.05, stacked_axes=STACKED), plain_params()
    state = tx.init(params)
    for _ in range(steps):
        g = jax.grad(lambda p: loss_of(predict(**p, x=data()[0])))(params)
        updates, state = jax.jit(tx.update)(g, state, params)
        params = optax.apply_updates(params, updates)
    return params, state


def belief(state):
    """Returns the state with the moments of a chain's."""
    return next(part for part in state if hasattr(part, "nu"))


def assert_nu(nu, expected):
    """Asserts the numbers, and that they are laid out as the layer axes are."""
    for name, x in nu.items():
        assert_close(x, expected[name])
        assert x.sharding.spec == OF_NU[name] or x.ndim == 0, (name, x.sharding)


def assert_restored(path, state):
    """Asserts that a saved state is read again into its own shape and sharding."""
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(path, state)
        checkpointer.wait_until_finished()
        shapes = jax.tree.map(ocp.utils.to_shape_dtype_struct, state)
        again = checkpointer.restore(path, shapes)
    assert_close(again, state, 0)
    for x, y in zip(jax.tree.leaves(again), jax.tree.leaves(state), strict=True):
        assert x.sharding == y.sharding


class Linen(nn.Module):
    logical: bool

    @nn.compact
    def __call__(self, x):
        annotate = (
            nn.with_logical_partitioning if self.logical else nn.with_partitioning
        )
        names = NAMES if self.logical else MESH_NAMES
        params = {
            name: self.param(
                name, annotate(lambda _, name=name: plain_params()[name], names[name])
            )
            for name in SHAPES
        }
        return predict(**params, x=x)


def linen_shardings(tree, mesh, logical):
    if logical:
        specs = nn.get_partition_spec(tree)
        return nn.logical_to_mesh_sharding(specs, mesh, RULES)
    return nn.get_sharding(tree, mesh)


@pytest.mark.parametrize(
    ("name", "logical"),
    [("ladam", False), ("ladabelief", True), ("ladabelief-amsgrad", True)],
)
def test_train_state_of_boxed_parameters(name, logical, tmp_path):
    model, mesh = Linen(logical), mesh_of()
    tx = OPTIMIZERS[name](0.05, stacked_axes=STACKED)

    def init():
        params = model.init(jax.random.key(0), data()[0])["params"]
        return TrainState.create(apply_fn=model.apply, params=params, tx=tx)

    shardings = linen_shardings(jax.eval_shape(init), mesh, logical)
    state = jax.jit(init, out_shardings=shardings)()

    @functools.partial(jax.jit, out_shardings=shardings)
    def step(state):
        def loss(params):
            return loss_of(state.apply_fn({"params": params}, data()[0]))

        return state.apply_gradients(grads=jax.grad(loss)(state.params))

    for _ in range(4):
        state = step(state)
    params, expected = trained_plain(name)
    assert_close(nn.unbox(state.params), params)
    boxes = belief(state.opt_state).nu
    assert_nu(nn.unbox(boxes), belief(expected).nu)
    names = NAMES if logical else MESH_NAMES
    assert boxes["stack"].names == names["stack"][1:2]
    assert boxes["alone"].names == ()
    assert_restored(tmp_path / "state", state)


@pytest.mark.quick
@pytest.mark.parametrize("boxed", [False, True], ids=["plain", "boxed"])
def test_map_params_of_boxed_parameters(boxed):
    mesh, tx = mesh_of(), ao.ladabelief(0.05)
    params = jax.eval_shape(Linen(False).init, jax.random.key(0), data()[0])["params"]
    specs = nn.get_partition_spec(params)
    params = params if boxed else nn.unbox(params)

    def sharding(leaf, spec):
        of_array = lambda x: NamedSharding(mesh, P(*spec[: x.ndim]))  # noqa: E731
        return jax.tree.map(of_array, leaf)

    shape = jax.eval_shape(tx.init, params)
    shardings = optax.tree.map_params(
        tx,
        sharding,
        shape,
        specs,
        transform_non_params=lambda _: NamedSharding(mesh, P()),
        is_leaf=lambda x: isinstance(x, nn.meta.AxisMetadata),
    )
    assert jax.tree.structure(shardings) == jax.tree.structure(shape)
    of_arrays = nn.unbox(shardings)[0]
    assert of_arrays.mu["stack"].spec == P(None, "x", "y")
    assert of_arrays.nu["stack"].spec == of_arrays.nu["alone"].spec == P()


@every_optimizer
def test_stepsizes_of_boxed_parameters(factory):
    params = Linen(True).init(jax.random.key(0), data()[0])["params"]
    tx = factory(0.05, stacked_axes=STACKED)
    _, state = tx.update(params, tx.init(params), params)
    sizes, plain = ao.stepsizes(state), nn.unbox(params)
    _, expected = tx.update(plain, tx.init(plain), plain)
    assert_close(sizes, ao.stepsizes(expected))
    names = ao.stepsize_statistics(sizes, stacked_axes={"stack": 1, "alone": 0})
    assert "stepsize/stack/3/mean" in names
    assert "stepsize/alone/mean" in names


class NNX(nnx.Module):
    def __init__(self):
        for name, value in plain_params().items():
            init = nnx.with_partitioning(lambda _, v=value: v, MESH_NAMES[name])
            setattr(self, name, nnx.Param(init(None)))

    def __call__(self, x):
        return predict(self.stack[...], self.alone[...], x)


needs_mesh_of_nnx = pytest.mark.skipif(
    not hasattr(jax, "set_mesh"), reason="JAX 0.6 has no jax.set_mesh"
)


@needs_mesh_of_nnx
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_nnx_optimizer_of_annotated_parameters(name):
    tx = OPTIMIZERS[name](0.05, stacked_axes=STACKED)

    @nnx.jit
    def make():
        model = NNX()
        optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)
        for part in (model, optimizer):
            state = nnx.state(part)
            specs = nnx.get_partition_spec(state)
            nnx.update(part, jax.lax.with_sharding_constraint(state, specs))
        return model, optimizer

    @nnx.jit
    def step(model, optimizer):
        grads = nnx.grad(lambda model: loss_of(model(data()[0])))(model)
        optimizer.update(model, grads)

    with use_mesh(mesh_of()):
        model, optimizer = make()
        for _ in range(4):
            step(model, optimizer)
    params, expected = trained_plain(name)
    assert_close(nnx.to_pure_dict(nnx.state(model, nnx.Param)), params)
    nu = belief(optimizer.opt_state).nu
    assert nnx.to_pure_dict(nnx.get_partition_spec(nu)) == OF_NU
    assert_nu(nnx.to_pure_dict(nu), belief(expected).nu)


@needs_mesh_of_nnx
@every_kind
@every_optimizer
def test_nnx_lays_nu_out_without_being_asked(factory, kind):
    with use_mesh(mesh_of(kind)):
        model = NNX()
        optimizer = nnx.Optimizer(
            model, factory(0.05, stacked_axes=STACKED), wrt=nnx.Param
        )
        before = nnx.to_pure_dict(belief(optimizer.opt_state).nu)
        optimizer.update(model, nnx.state(model, nnx.Param))
        after = nnx.to_pure_dict(belief(optimizer.opt_state).nu)
    for nu in (before, after):
        assert {name: x.sharding.spec for name, x in nu.items()} == OF_NU


@needs_mesh_of_nnx
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_haliax_under_named_jit(name, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own
        hax = pytest.importorskip(
            "haliax", reason="no haliax: make stacks", exc_type=ImportError
        )
    size = {"in": WIDTH, "layers": LAYERS, "out": 2}
    axes = {n: tuple(hax.Axis(a, size[a]) for a in of) for n, of in NAMES.items()}
    tx = OPTIMIZERS[name](0.05, stacked_axes=STACKED)
    jit = functools.partial(hax.named_jit, axis_resources={"layers": "x", "out": "y"})

    @jit
    def init():
        params = {n: hax.named(p, axes[n]) for n, p in plain_params().items()}
        return params, tx.init(params)

    @jit
    def step(params, state):
        def loss(params):
            arrays = {n: p.array for n, p in params.items()}
            return loss_of(predict(**arrays, x=data()[0]))

        updates, state = tx.update(jax.grad(loss)(params), state, params)
        return optax.apply_updates(params, updates), state

    with use_mesh(mesh_of()):
        params, state = init()
        for _ in range(4):
            params, state = step(params, state)
    expected, expected_state = trained_plain(name)
    assert_close({n: p.array for n, p in params.items()}, expected)
    nu = belief(state).nu
    assert {n: tuple(a.name for a in x.axes) for n, x in nu.items()} == {
        "stack": ("layers",),
        "alone": (),
    }
    assert_nu({n: x.array for n, x in nu.items()}, belief(expected_state).nu)
    assert_restored(tmp_path / "state", state)
    assert ao.stepsizes(state)["stack"].axes == axes["stack"][1:2]


class Refuses:
    """A node that takes no array with fewer than two axes."""

    def __init__(self, array):
        if isinstance(array, jax.Array) and array.ndim < 2:
            raise TypeError("two axes at least")
        self.array = array


jax.tree_util.register_pytree_node(
    Refuses, lambda x: ((x.array,), None), lambda _, arrays: Refuses(*arrays)
)


@dataclasses.dataclass
class Pair:
    """A node that takes no other children than these."""

    first: Refuses
    second: jax.Array

    def __post_init__(self):
        if not isinstance(self.first, Refuses):
            raise TypeError("its first must be a Refuses")


jax.tree_util.register_dataclass(Pair, ["first", "second"], [])


@every_optimizer
@pytest.mark.parametrize("kind", ["single", "pair"])
def test_a_node_that_refuses_gives_way_to_what_it_holds(factory, kind):
    a, b = normal((3, 4)), normal(3)
    params = {"a": Refuses(a), "b": b}
    if kind == "pair":
        params = {"pair": Pair(*params.values())}
    tx = factory(0.05)
    updates, state = tx.update(params, tx.init(params), params)
    expected, of_plain = tx.update([a, b], tx.init([a, b]), [a, b])
    assert jax.tree.structure(updates) == jax.tree.structure(params)
    assert_close(jax.tree.leaves(updates), expected)
    nu = {"a": 0, "b": 0} if kind == "single" else {"pair": (0, 0)}
    assert jax.tree.structure(belief(state).nu) == jax.tree.structure(nu)
    assert_close(jax.tree.leaves(ao.stepsizes(state)), ao.stepsizes(of_plain))
