"""Does an optimizer do to sharded parameters what it does to whole ones?"""

import contextlib
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import adabelief_optax as ao
from tests.methods import FAMILY
from tests.test_contract import assert_close, gradient

# A bfloat16 or per-layer state takes the buffer of no gradient.
pytestmark = pytest.mark.filterwarnings("ignore:.*donated buffers were not usable")

SPECS = {
    "alone": {
        "rows": P("x"),
        "columns": P(None, "x"),
        "both": P("x", "y"),
        "replicated": P(),
        "gain": P(),
    },
    "stack": {
        "across": P(None, "y", "x"),
        "along and across": P("y", None, "x"),
    },
}
SHAPES = {"alone": (8, 16), "stack": (4, 8, 16)}

SWITCHES = dict(
    b2=0.9, nesterov=True, amsgrad=True, rectify=True, weight_decay=0.1, decay="coupled"
)
STACKED = {
    name: functools.partial(factory, stacked_axes={"alone": 0, "stack": 1})
    for name, factory in FAMILY.items()
    if name != "adabelief"
}
OPTIMIZERS = {
    "adabelief": ao.adabelief,
    **STACKED,
    "aida-k5": functools.partial(STACKED["aida"], k=5),
    "ladam-post": functools.partial(STACKED["ladam"], processing="post"),
    "ladabelief-post": functools.partial(STACKED["ladabelief"], processing="post"),
}
OPTIMIZERS |= {
    f"{name}-switches": functools.partial(factory, **SWITCHES)
    for name, factory in OPTIMIZERS.items()
    if name in FAMILY
}
every_optimizer = pytest.mark.parametrize("name", OPTIMIZERS)
every_kind = pytest.mark.parametrize(
    "kind", [AxisType.Auto, AxisType.Explicit], ids=["auto", "explicit"]
)


@contextlib.contextmanager
def mesh_of(kind, shape=(4, 2)):
    mesh = jax.make_mesh(shape, ("x", "y"), axis_types=(kind,) * 2)
    use = jax.set_mesh if hasattr(jax, "set_mesh") else jax.sharding.use_mesh
    # Most code with automatic axes sets no mesh.
    with use(mesh) if kind is AxisType.Explicit else contextlib.nullcontext():
        yield mesh


def shard(tree, mesh, specs=SPECS):
    return jax.tree.map(
        lambda x, spec: jax.device_put(x, NamedSharding(mesh, spec)), tree, specs
    )


def whole_params():
    shapes = {
        part: dict.fromkeys(specs, SHAPES[part]) for part, specs in SPECS.items()
    }
    shapes["alone"]["gain"] = ()
    zeros = jax.tree.map(jnp.zeros, shapes, is_leaf=lambda x: isinstance(x, tuple))
    return gradient(zeros, seed=100)


@functools.cache
def trained_whole(name, steps):
    tx, params = OPTIMIZERS[name](0.1), whole_params()
    state, update = tx.init(params), jax.jit(tx.update)
    for i in range(steps):
        updates, state = update(gradient(params, i), state, params)
        params = optax.apply_updates(params, updates)
    return params, state


def shardings_of_state(tx, state, specs, mesh):
    """Those of the parameters; of a number a layer, those of its axes."""
    return optax.tree.map_params(
        tx,
        lambda x, spec: NamedSharding(mesh, P(*spec[: x.ndim])),
        state,
        specs,
        transform_non_params=lambda _: NamedSharding(mesh, P()),
    )


def assert_sharded(tree, shardings):
    def check(path, x, expected):
        # A scalar that came from nowhere is on one device until the first step.
        same = x.sharding.is_equivalent_to(expected, x.ndim) or (
            x.ndim == 0 and x.sharding.is_fully_replicated
        )
        assert same, f"{jax.tree_util.keystr(path)} is {x.sharding}, not {expected}"

    jax.tree_util.tree_map_with_path(check, tree, shardings)


def compiled(f, *args, **kwargs):
    return jax.jit(f, **kwargs).lower(*args).compile()


def count(instruction, hlo):
    return len(re.findall(rf"\b{instruction}(?:-start)?\(", hlo))


def moved(hlo):
    moves = ("all-gather", "all-to-all", "collective-permute", "collective-broadcast")
    return [name for name in moves if count(name, hlo)]


@every_kind
@every_optimizer
def test_sharded_equals_whole(name, kind, steps=8):
    tx = OPTIMIZERS[name](0.1)
    with mesh_of(kind) as mesh:
        params = shard(whole_params(), mesh)
        state = tx.init(params)
        of_params = jax.tree.map(lambda p: p.sharding, params)
        of_state = shardings_of_state(tx, state, SPECS, mesh)
        assert_sharded(state, of_state)

        def step(g, state, params):
            updates, state = tx.update(g, state, params)
            return optax.apply_updates(params, updates), state

        # No shardings are asked for: the compiler has to find them.
        step = compiled(step, params, state, params, donate_argnums=(0, 1, 2))
        assert not moved(step.as_text())
        for i in range(steps):
            g = shard(gradient(whole_params(), i), mesh)
            params, state = step(g, state, params)
            assert_sharded(params, of_params)
            assert_sharded(state, of_state)
    # Sums over devices round otherwise than sums over one.
    assert_close((params, state), trained_whole(name, steps), rtol=1e-4)


@every_kind
@every_optimizer
def test_init_inside_jit_shards_the_state(name, kind):
    tx = OPTIMIZERS[name](0.1)
    with mesh_of(kind) as mesh:
        params = shard(whole_params(), mesh)
        state = jax.jit(tx.init)(params)
        assert_sharded(state, shardings_of_state(tx, state, SPECS, mesh))
        assert_close(state, tx.init(params))


@every_kind
@every_optimizer
def test_the_shape_of_the_state_takes_shardings(name, kind):
    tx = OPTIMIZERS[name](0.1)
    with mesh_of(kind) as mesh:
        params = shard(whole_params(), mesh)
        shape = jax.eval_shape(tx.init, params)
        shardings = shardings_of_state(tx, shape, SPECS, mesh)
        state = jax.jit(tx.init, out_shardings=shardings)(params)
        assert_sharded(state, shardings)
        assert_close(state, tx.init(params))


def test_the_check_for_moved_arrays_can_fail():
    with mesh_of(AxisType.Auto) as mesh:
        x = jax.device_put(jnp.ones((8, 16)), NamedSharding(mesh, P("x")))
        columns, whole = (NamedSharding(mesh, spec) for spec in (P(None, "x"), P()))
        for f, out in ((jnp.sort, whole), (jnp.negative, columns)):
            assert moved(compiled(f, x, out_shardings=out).as_text())


def layers_of(n, mesh, specs):
    """n layers, to each of which the next of the specs."""
    of_layer = {f"layer{i}": specs[i % len(specs)] for i in range(n)}
    return shard({name: jnp.ones((8, 16)) for name in of_layer}, mesh, of_layer)


def all_reduces_of_update(tx, params):
    update = compiled(tx.update, params, tx.init(params), params)
    return count("all-reduce", update.as_text())


@pytest.mark.parametrize("layers", [3, 12])
@pytest.mark.parametrize(
    ("tx", "expected"),
    [
        (ao.adabelief(0.1), 0),
        (ao.aida(0.1, k=1), 1),
        (ao.aida(0.1), 1),
        (ao.aida(0.1, k=8), 1),
        (ao.ladam(0.1), 1),
        (ao.ladabelief(0.1), 1),
        (ao.ladabelief(0.1, processing="post"), 1),
    ],
    ids=["adabelief", "aida-1", "aida-2", "aida-8", "ladam", "ladabelief", "post"],
)
def test_one_all_reduce_for_all_layers_whatever_k(tx, expected, layers):
    with mesh_of(AxisType.Auto, (8, 1)) as mesh:
        params = layers_of(layers, mesh, [P("x"), P(None, "x")])
        assert all_reduces_of_update(tx, params) == expected


# XLA sums over one mesh axis after the other where they split different axes of an
# array, and over different sets of devices apart. So does any sum of these arrays.
@every_kind
@pytest.mark.parametrize(
    ("specs", "expected"),
    [
        ([P()], 0),
        ([P("x"), P(None, "x")], 1),
        ([P(("x", "y"))], 1),
        ([P("x"), P("y")], 2),
        ([P("x", "y")], 2),
        ([P("x"), P(), P("x", "y"), P(None, "y")], 2),
        ([P("x", "y"), P("y", "x")], 3),
    ],
    ids=str,
)
def test_all_reduces_of_a_mesh_of_two_axes(specs, expected, kind):
    with mesh_of(kind) as mesh:
        params = layers_of(4, mesh, specs)
        for tx in (ao.aida(0.1), ao.ladabelief(0.1)):
            assert all_reduces_of_update(tx, params) == expected
        sums = compiled(lambda tree: jax.tree.map(jnp.sum, tree), params)
        assert count("all-reduce", sums.as_text()) == expected


@pytest.mark.parametrize("k", [1, 2, 8])
def test_the_published_loop_takes_an_all_reduce_a_round(k):
    def project(g, m, xi=1e-20):
        for _ in range(k):
            inner = (g * m).sum()
            g, m = inner / ((g * g).sum() + xi) * g, inner / ((m * m).sum() + xi) * m
        return g - m

    with mesh_of(AxisType.Auto, (8, 1)) as mesh:
        params = layers_of(3, mesh, [P("x"), P(None, "x")])
        loop = compiled(lambda g, m: jax.tree.map(project, g, m), params, params)
        assert count("all-reduce", loop.as_text()) == k


def shard_map(f, mesh, in_specs, out_specs):
    if hasattr(jax, "shard_map"):
        shard_map = jax.shard_map
    else:
        from jax.experimental.shard_map import shard_map
    return shard_map(f, mesh=mesh, in_specs=in_specs, out_specs=out_specs)


@every_kind
@pytest.mark.parametrize(
    ("axis_name", "specs", "stacked_axes"),
    [
        ("x", {"a": P("x"), "b": P(None, "x"), "c": P("x", "y")}, 0),
        (("x", "y"), {"a": P("x", "y"), "b": P(None, ("x", "y")), "c": P()}, 0),
        ("x", {"a": P("y", "x"), "b": P(None, "x"), "c": P("y", None)}, 1),
    ],
    ids=["string", "tuple", "stacked"],
)
@pytest.mark.parametrize("name", ["aida", "ladam", "ladabelief", "ladabelief-post"])
def test_inside_shard_map(name, axis_name, specs, stacked_axes, kind, steps=3):
    if "post" in name:
        factory = functools.partial(ao.ladabelief, processing="post")
    else:
        factory = FAMILY[name]
    tx = factory(0.1, stacked_axes=stacked_axes, axis_name=axis_name)
    whole_tx = factory(0.1, stacked_axes=stacked_axes)
    zeros = {"a": jnp.zeros((8, 16)), "b": jnp.zeros((3, 8)), "c": jnp.zeros((8, 2))}
    whole = gradient(zeros, seed=100)
    with mesh_of(kind) as mesh:
        params = shard(whole, mesh, specs)
        state = whole_tx.init(params)
        of_state = shardings_of_state(whole_tx, state, specs, mesh)
        of_state = jax.tree.map(lambda s: s.spec, of_state)
        update = shard_map(
            tx.update, mesh, (specs, of_state, specs), (specs, of_state)
        )
        update = jax.jit(update)
        text = update.lower(params, state, params).compile().as_text()
        for i in range(steps):
            g = shard(gradient(whole, i), mesh, specs)
            updates, state = update(g, state, params)
    whole_state = whole_tx.init(whole)
    for i in range(steps):
        whole_updates, whole_state = whole_tx.update(
            gradient(whole, i), whole_state, whole
        )
    assert_close((updates, state), (whole_updates, whole_state), rtol=1e-4)
    assert count("all-reduce", text) == 1 and not moved(text)
