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
from tests.helpers import as_on, assert_close, gradient
from tests.package.methods import FAMILY

# A bfloat16 or per-layer state takes the buffer of no gradient.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*donated buffers were not usable"),
]

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
    "second": {"across": P(None, None, ("y", "x"))},
}
SHAPES = {"alone": (8, 16), "stack": (4, 8, 16), "second": (4, 8, 16)}
AXES = {"alone": 0, "stack": 1, "second": frozenset({1})}

SWITCHES = dict(
    b2=0.9, nesterov=True, amsgrad=True, rectify=True, weight_decay=0.1, decay="coupled"
)
ALONE = {
    **FAMILY,
    "aida-k5": functools.partial(ao.aida, k=5),
    "ladam-post": functools.partial(ao.ladam, processing="post"),
    "ladabelief-post": functools.partial(ao.ladabelief, processing="post"),
}
OPTIMIZERS = {
    name: functools.partial(factory, stacked_axes=AXES)
    for name, factory in ALONE.items()
    if name != "adabelief"
}
OPTIMIZERS["adabelief"] = ao.adabelief
OPTIMIZERS |= {
    f"{name}-switches": functools.partial(factory, **SWITCHES)
    for name, factory in OPTIMIZERS.items()
    if name in ("aida", "ladabelief")
}
# Before Shardy (JAX 0.7), XLA shares a broadcast constant among arrays of different
# shardings, moves it, shards what was replicated, and combines no all-reduces on CPU.
SHARDY = getattr(jax.config, "jax_use_shardy_partitioner", True)
needs_shardy = pytest.mark.skipif(not SHARDY, reason="the compiler is older")

# Sums over devices are rounded otherwise than sums over one, by 1e-7, and what follows
# from it in eight steps was up to 6e-6.
ROUNDING = 3e-5

every_state = pytest.mark.parametrize(
    "name", ["adabelief", "ladabelief", "ladabelief-post", "ladabelief-switches"]
)
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
    shapes = {part: dict.fromkeys(specs, SHAPES[part]) for part, specs in SPECS.items()}
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


def specs_of_state(tx, whole, specs, mesh):
    shardings = shardings_of_state(tx, tx.init(whole), specs, mesh)
    return jax.tree.map(lambda x: x.spec, shardings)


def shard_map(f, mesh, in_specs, out_specs):
    if hasattr(jax, "shard_map"):
        shard_map = jax.shard_map
    else:
        from jax.experimental.shard_map import shard_map
    return shard_map(f, mesh=mesh, in_specs=in_specs, out_specs=out_specs)


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


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("aida", AxisType.Explicit),
        ("ladabelief", AxisType.Explicit),
        *(
            pytest.param(name, kind, marks=pytest.mark.long)
            for kind, names in {
                AxisType.Explicit: OPTIMIZERS.keys() - {"aida", "ladabelief"},
                AxisType.Auto: {"aida-switches", "ladabelief-post"},
            }.items()
            for name in sorted(names)
        ),
    ],
)
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

        # No shardings are asked for, where the compiler can find them.
        asked = {} if SHARDY else dict(out_shardings=(of_params, of_state))
        step = compiled(step, params, state, params, donate_argnums=(0, 1, 2), **asked)
        hlo = step.as_text()
        assert not (SHARDY and (moved(hlo) or "transpose(" in hlo))
        for i in range(steps):
            g = shard(gradient(whole_params(), i), mesh)
            params, state = step(g, state, params)
            assert_sharded(params, of_params)
            assert_sharded(state, of_state)
    assert_close((params, state), trained_whole(name, steps), ROUNDING)


@every_kind
@every_state
def test_init_inside_jit_shards_the_state(name, kind):
    tx = OPTIMIZERS[name](0.1)
    with mesh_of(kind) as mesh:
        params = shard(whole_params(), mesh)
        shape = jax.eval_shape(tx.init, params)
        shardings = shardings_of_state(tx, shape, SPECS, mesh)
        asked = jax.jit(tx.init, out_shardings=shardings)
        # Shardy leaves whole what is whole, without being asked.
        for init in (asked, jax.jit(tx.init)) if SHARDY else (asked,):
            state = init(params)
            assert_sharded(state, shardings)
            assert_close(state, tx.init(params), 0)


@pytest.mark.quick
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


@needs_shardy
@pytest.mark.parametrize(
    ("tx", "layers", "expected"),
    [
        (ao.adabelief(0.1), 3, 0),
        (ao.aida(0.1, k=1), 3, 1),
        pytest.param(ao.aida(0.1, k=8), 12, 1, marks=pytest.mark.quick),
        (ao.ladam(0.1), 3, 1),
        pytest.param(ao.ladabelief(0.1), 12, 1, marks=pytest.mark.quick),
        (ao.ladabelief(0.1, processing="post"), 3, 1),
    ],
    ids=["adabelief", "aida-k1", "aida-k8", "ladam", "ladabelief", "ladabelief-post"],
)
def test_one_all_reduce_for_all_layers(tx, layers, expected):
    with mesh_of(AxisType.Auto, (8, 1)) as mesh:
        params = layers_of(layers, mesh, [P("x"), P(None, "x")])
        assert all_reduces_of_update(tx, params) == expected


ONE_AXIS = [P("x"), P(None, "x"), P("x"), P()]
TWO_AXES = [P("x", "y"), P("y", "x"), P(None, "x"), P()]


@pytest.mark.long
@needs_shardy
@pytest.mark.parametrize(
    ("name", "kind", "specs", "all_reduces"),
    [
        ("aida", AxisType.Auto, ONE_AXIS, 1),
        ("ladabelief", AxisType.Auto, ONE_AXIS, 1),
        ("aida", AxisType.Explicit, ONE_AXIS, 1),
        ("aida-k5", AxisType.Explicit, TWO_AXES, 2),
        ("ladabelief", AxisType.Explicit, TWO_AXES, 2),
    ],
    ids=str,
)
def test_on_gpu_shards_equal_whole(name, kind, specs, all_reduces):
    specs = dict(zip("abcd", specs, strict=True))
    whole = gradient({key: jnp.zeros((264, 256)) for key in specs}, seed=1)
    tx = ALONE[name](0.1)
    expected = jax.jit(tx.update)(whole, tx.init(whole), whole)
    with mesh_of(kind, (2, 4)) as mesh, as_on("cuda"):
        params = shard(whole, mesh, specs)
        state = tx.init(params)
        update = compiled(tx.update, params, state, params)
        found = update(params, state, params)
    assert_close(jax.device_get(found), jax.device_get(expected), ROUNDING)
    hlo = update.as_text()
    assert count("all-reduce", hlo) == all_reduces and not moved(hlo)


@pytest.mark.long
@needs_shardy
@pytest.mark.parametrize("name", ["aida", "ladabelief"])
def test_on_gpu_inside_shard_map_equals_whole(name):
    # Four alike, whose sums are made together, and some that are alone.
    specs = dict.fromkeys("abcd", P("x", "y")) | {"e": P(None, "x"), "f": P("y")}
    sizes = dict.fromkeys("abcd", (512, 1024)) | {"e": (8, 16), "f": (16,)}
    whole = gradient({key: jnp.zeros(size) for key, size in sizes.items()}, seed=1)
    whole_tx = ALONE[name](0.1)
    state = whole_tx.init(whole)
    expected = jax.jit(whole_tx.update)(whole, state, whole)
    of_each = {key: tuple(n for n in "xy" if n in str(x)) for key, x in specs.items()}
    tx = ALONE[name](0.1, axis_name=of_each)
    with mesh_of(AxisType.Auto, (2, 4)) as mesh, as_on("cuda"):
        params = shard(whole, mesh, specs)
        of_state = specs_of_state(whole_tx, whole, specs, mesh)
        update = shard_map(tx.update, mesh, (specs, of_state, specs), (specs, of_state))
        found = jax.jit(update)(params, state, params)
    assert_close(jax.device_get(found), jax.device_get(expected), ROUNDING)


# A CPU sums an average of 16 bits by rows where XLA splits no array by itself.
# Elsewhere it needs the average in float32.
@needs_shardy
@pytest.mark.parametrize(
    ("kind", "bytes_a_parameter"), [(AxisType.Auto, 4.2), (AxisType.Explicit, 0.3)]
)
@pytest.mark.parametrize("name", ["aida", "ladabelief"])
def test_sums_of_an_average_of_16_bits(name, kind, bytes_a_parameter):
    whole = gradient({key: jnp.zeros((512, 512)) for key in "abcd"}, seed=1)
    specs = dict(zip("abcd", ONE_AXIS, strict=True))
    tx = ALONE[name](0.1, mu_dtype="bfloat16")
    with mesh_of(kind, (2, 4)) as mesh:
        params = shard(whole, mesh, specs)
        state = tx.init(params)
        update = jax.jit(tx.update, donate_argnums=1).lower(params, state, params)
        update = update.compile()
        _, found = update(params, state, params)
    hlo, here = update.as_text(), [x.addressable_shards[0] for x in params.values()]
    held = sum(x.data.size for x in here)
    assert not moved(hlo) and count("all-reduce", hlo) == 1
    assert update.memory_analysis().temp_size_in_bytes < bytes_a_parameter * held
    _, expected = jax.jit(tx.update)(whole, tx.init(whole), whole)
    found, expected = (optax.tree.get(state, "nu") for state in (found, expected))
    assert_close(jax.device_get(found), expected, ROUNDING)


@pytest.mark.long
@needs_shardy
def test_one_all_reduce_for_more_layers_than_xla_combines():
    # XLA puts up to 256 sums into one all-reduce: 85 leaves of three sums.
    specs = [P("x", "y"), P("y", "x")]
    with mesh_of(AxisType.Explicit, (2, 4)) as mesh:
        params = {f"layer{i}": jnp.ones((128, 64)) for i in range(88)}
        where = {name: specs[i % 2] for i, name in enumerate(params)}
        params = shard(params, mesh, where)
        tx = ao.aida(0.1)
        hlo = compiled(tx.update, params, tx.init(params), params).as_text()
    assert count("all-reduce", hlo) == 1 and not moved(hlo)


def test_init_outside_jit_of_many_layers():
    # With an all-reduce for each, eight devices of a CPU came to a stop.
    with mesh_of(AxisType.Explicit, (2, 4)) as mesh:
        params = layers_of(300, mesh, [P("x", "y"), P("y", "x")])
        state = jax.block_until_ready(ao.ladabelief(0.1).init(params))
    assert all(x.sharding.is_fully_replicated for x in jax.tree.leaves(state[0].nu))


@needs_shardy
@pytest.mark.parametrize(
    ("of_gradient", "of_state", "size", "jit"),
    [
        (P(), P("x"), (8, 16), False),
        (P(), P("x"), (8, 16), True),
        (P(), P("x"), (128, 64), True),
        (P("x"), P("x", "y"), (8, 16), True),
        (P("x"), P(), (128, 64), True),
        (P("x"), P(None, "y"), (8, 16), True),
    ],
    ids=str,
)
@pytest.mark.parametrize(
    ("name", "stacked_axes"),
    [
        ("aida", None),
        ("aida", 1),
        ("ladabelief", 1),
        ("ladabelief", None),
        ("ladabelief-post", None),
    ],
)
def test_a_state_laid_out_otherwise_than_its_gradient(
    name, stacked_axes, of_gradient, of_state, size, jit
):
    """As in ZeRO-1, which splits the state more than parameters and gradients."""
    tx = ALONE[name](0.1, stacked_axes=stacked_axes)
    whole = gradient(jnp.zeros(size), seed=3)
    expected = tx.update(whole, tx.init(whole), whole)
    with mesh_of(AxisType.Explicit, (2, 4)) as mesh:
        state = jax.tree.map(
            lambda x: jax.device_put(x, NamedSharding(mesh, P(*of_state[: x.ndim]))),
            tx.init(whole),
        )
        g = jax.device_put(whole, NamedSharding(mesh, of_gradient))
        found = (jax.jit(tx.update) if jit else tx.update)(g, state, g)
        assert_sharded(found[1], jax.tree.map(lambda x: x.sharding, state))
    assert_close(jax.device_get(found), jax.device_get(expected), ROUNDING)


# XLA sums over one mesh axis after the other where they split different axes of an
# array, and over different sets of devices apart. So does any sum of these arrays.
@needs_shardy
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
        ours = expected
        if kind is AxisType.Explicit:  # one for each set of axes that split a leaf
            split = {frozenset(str(spec)) & {"x", "y"} for spec in specs}
            ours = len(split - {frozenset()})
        assert all_reduces_of_update(ao.aida(0.1), params) == ours
        sums = compiled(lambda tree: jax.tree.map(jnp.sum, tree), params)
        assert count("all-reduce", sums.as_text()) == expected


@pytest.mark.parametrize(
    ("axis_name", "specs", "stacked_axes"),
    [
        ("x", {"a": P("x"), "b": P(None, "x"), "c": P("x")}, 0),
        (("x", "y"), {"a": P("x", "y"), "b": P(None, ("x", "y")), "c": P()}, 0),
        ("x", {"a": P("y", "x"), "b": P(None, "x"), "c": P("y", None)}, 1),
    ],
    ids=["string", "tuple", "stacked"],
)
@pytest.mark.parametrize("name", ["aida", "ladam", "ladabelief-post"])
def test_inside_shard_map(name, axis_name, specs, stacked_axes, steps=3):
    whole_tx = ALONE[name](0.1, stacked_axes=stacked_axes)
    tx = ALONE[name](0.1, stacked_axes=stacked_axes, axis_name=axis_name)
    zeros = {"a": jnp.zeros((8, 16)), "b": jnp.zeros((3, 8)), "c": jnp.zeros((8, 2))}
    whole = gradient(zeros, seed=100)
    with mesh_of(AxisType.Auto) as mesh:
        params = shard(whole, mesh, specs)
        state = whole_tx.init(params)
        of_state = specs_of_state(whole_tx, whole, specs, mesh)
        update = shard_map(tx.update, mesh, (specs, of_state, specs), (specs, of_state))
        update = compiled(update, params, state, params)
        for i in range(steps):
            g = shard(gradient(whole, i), mesh, specs)
            updates, state = update(g, state, params)
    expected_state, whole_update = whole_tx.init(whole), jax.jit(whole_tx.update)
    for i in range(steps):
        expected, expected_state = whole_update(
            gradient(whole, i), expected_state, whole
        )
    assert_close((updates, state), (expected, expected_state), ROUNDING)
    assert not SHARDY or count("all-reduce", update.as_text()) == 1
    assert not moved(update.as_text())


@pytest.mark.parametrize("name", ["aida", "ladam", "ladabelief", "ladabelief-post"])
def test_one_mesh_axis_may_split_layers_and_their_inside(name):
    """A pipeline: "x" has other layers of the stack, and parts of the other leaf."""
    stacked_axes = {"stack": 1}
    whole = gradient({"stack": jnp.zeros((8, 4)), "w": jnp.zeros((16, 4))}, seed=2)
    whole_tx = ALONE[name](0.1, stacked_axes=stacked_axes)
    expected = whole_tx.update(whole, whole_tx.init(whole), whole)
    tx = ALONE[name](0.1, stacked_axes=stacked_axes, axis_name={"w": "x"})
    specs = {"stack": P("x"), "w": P("x")}
    with mesh_of(AxisType.Auto, (8, 1)) as mesh:
        params = shard(whole, mesh, specs)
        of_state = specs_of_state(whole_tx, whole, specs, mesh)

        def step(params):  # with JAX's check of what varies over the mesh
            return tx.update(params, tx.init(params), params)

        found = jax.jit(shard_map(step, mesh, (specs,), (specs, of_state)))(params)
    assert_close(found, expected, ROUNDING)


def test_an_unknown_name_of_an_axis_name_tree():
    tx = ao.ladabelief(0.1, axis_name={"v": "x"})
    with pytest.raises(ValueError, match="axis_name names 'v'"):
        tx.init({"w": jnp.ones(3)})


@pytest.mark.long
@every_kind
def test_low_precision_rounds_alike_sharded_or_not(kind):
    tx = ao.adabelief(0.1, mu_dtype="bfloat16", nu_dtype="bfloat16")
    grads = [
        jax.tree.map(lambda p, i=i: jnp.cos(p * (i + 1)), whole_params())
        for i in range(3)
    ]

    def trained(put):
        state = tx.init(put(whole_params()))
        for g in grads:
            updates, state = jax.jit(tx.update)(put(g), state)
        return jax.device_get((updates, state))

    whole = trained(lambda tree: tree)
    with mesh_of(kind) as mesh:
        sharded = trained(lambda tree: shard(tree, mesh))
    assert_close(sharded[0], whole[0], ROUNDING)
    jax.tree.map(np.testing.assert_array_equal, sharded[1], whole[1])
