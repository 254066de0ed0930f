"""Does a stack of layers in one array train as the same layers apart?"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import adabelief_optax as ao
from tests.helpers import assert_close

pytestmark = pytest.mark.slow

LAYERS, WIDTH, STEPS = 3, 4, 20
# The stepsizes are bounded by √((1−b2)/eps_root), and with them what 20 steps make of
# a rounding.
OPTIMIZERS = {
    name: functools.partial(factory, eps_root=1e-6, **options)
    for name, factory, options in [
        ("aida", ao.aida, {}),
        ("aida-k5", ao.aida, dict(k=5)),
        ("ladabelief", ao.ladabelief, {}),
        ("ladam-post", ao.ladam, dict(processing="post")),
        ("ladabelief-post", ao.ladabelief, dict(processing="post")),
    ]
}
# A scan is rounded otherwise than a loop, by 1e-7, and what follows from it in 20 steps
# was up to 5e-6.
ROUNDING = 3e-5
needs_linen_scan = pytest.mark.skipif(
    not hasattr(jax.sharding.NamedSharding, "update"),
    reason="nn.scan of Flax 0.11 needs a later JAX than 0.6",
)


def data():
    x = np.random.default_rng(0).normal(size=(32, WIDTH)).astype(np.float32)
    return jnp.asarray(x), jnp.asarray(np.sin(x).sum(1, keepdims=True))


def trained(tx, model, params):
    x, y = data()

    def loss(params):
        return jnp.mean((model.apply({"params": params}, x) - y) ** 2)

    def step(carry, _):
        params, state = carry
        updates, state = tx.update(jax.grad(loss)(params), state, params)
        return (optax.apply_updates(params, updates), state), None

    start = (params, tx.init(params))
    (params, _), _ = jax.jit(lambda c: jax.lax.scan(step, c, length=STEPS))(start)
    return params


class Block(nn.Module):
    @nn.compact
    def __call__(self, x, _=None):
        return x + nn.Dense(WIDTH)(jnp.tanh(x)), None


class Scanned(nn.Module):
    axis: int

    @nn.compact
    def __call__(self, x):
        blocks = nn.scan(
            Block,
            variable_axes={"params": self.axis},
            split_rngs={"params": True},
            length=LAYERS,
        )
        x, _ = blocks(name="blocks")(x, None)
        return nn.Dense(1, name="head")(x)


class Looped(nn.Module):
    @nn.compact
    def __call__(self, x):
        for i in range(LAYERS):
            x, _ = Block(name=f"block{i}")(x)
        return nn.Dense(1, name="head")(x)


def unstack(params, axis):
    """Parameters of `Looped` from those of `Scanned`."""
    of_blocks = {
        f"block{i}": jax.tree.map(lambda p, i=i: jnp.take(p, i, axis), params["blocks"])
        for i in range(LAYERS)
    }
    return {**of_blocks, "head": params["head"]}


@functools.cache
def linen_params(axis):
    return Scanned(axis).init(jax.random.key(0), data()[0])["params"]


@needs_linen_scan
@pytest.mark.parametrize(
    ("name", "axis"),
    [("aida-k5", 0), ("aida", 1), ("ladabelief", 0), ("ladam-post", 1)],
)
def test_linen_scan(name, axis):
    factory, params = OPTIMIZERS[name], linen_params(axis)
    tx = factory(0.03, stacked_axes={"blocks": frozenset({axis}), "head": frozenset()})
    scanned = trained(tx, Scanned(axis), params)
    looped = trained(factory(0.03), Looped(), unstack(params, axis))
    assert_close(unstack(scanned, axis), looped, ROUNDING)


class NNXBlock(nnx.Module):
    def __init__(self, rngs):
        self.dense = nnx.Linear(WIDTH, WIDTH, rngs=rngs)

    def __call__(self, x):
        return x + self.dense(jnp.tanh(x))


class NNXScanned(nnx.Module):
    def __init__(self, rngs, axis):
        self.axis = axis
        make = nnx.vmap(NNXBlock, in_axes=0, out_axes=axis)
        self.blocks = nnx.split_rngs(splits=LAYERS)(make)(rngs)
        self.head = nnx.Linear(WIDTH, 1, rngs=rngs)

    def __call__(self, x):
        scan = nnx.scan(in_axes=(nnx.Carry, self.axis), out_axes=nnx.Carry)
        return self.head(scan(lambda x, block: block(x))(x, self.blocks))


class NNXLooped(nnx.Module):
    def __init__(self, scanned):
        graph, state = nnx.split(scanned.blocks)
        for i in range(LAYERS):
            layer = jax.tree.map(lambda p, i=i: jnp.take(p, i, scanned.axis), state)
            setattr(self, f"block{i}", nnx.merge(graph, layer))
        self.head = nnx.clone(scanned.head)

    def __call__(self, x):
        for i in range(LAYERS):
            x = getattr(self, f"block{i}")(x)
        return self.head(x)


def trained_nnx(model, tx):
    optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)
    x, y = data()

    @nnx.jit
    def step(model, optimizer):
        grads = nnx.grad(lambda model: jnp.mean((model(x) - y) ** 2))(model)
        optimizer.update(model, grads)

    for _ in range(STEPS):
        step(model, optimizer)
    return nnx.to_pure_dict(nnx.state(model, nnx.Param))


@pytest.mark.parametrize(
    ("name", "axis"), [("aida", 1), ("ladabelief", 0), ("ladabelief-post", 1)]
)
def test_nnx_scan(name, axis):
    factory, model = OPTIMIZERS[name], NNXScanned(nnx.Rngs(0), axis)
    looped = trained_nnx(NNXLooped(model), factory(0.03))
    axes = nnx.State({"blocks": frozenset({axis}), "head": 0})
    scanned = trained_nnx(model, factory(0.03, stacked_axes=axes))
    assert_close(unstack(scanned, axis), looped, ROUNDING)


@pytest.mark.parametrize(("name", "axis"), [("aida", 1), ("ladabelief-post", 0)])
def test_a_dict_is_a_prefix_of_the_state_of_an_nnx_model(name, axis):
    axes = {"blocks": frozenset({axis}), "head": 0}
    tx = OPTIMIZERS[name](0.1, stacked_axes=axes)
    params = nnx.state(NNXScanned(nnx.Rngs(0), axis), nnx.Param)
    expected = random_steps(tx, nnx.to_pure_dict(params))
    assert_close(nnx.to_pure_dict(random_steps(tx, params)), expected, ROUNDING)


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def random_steps(tx, params):
    """Updates of a few steps with gradients that are slices of the same arrays."""
    state, update = tx.init(params), jax.jit(tx.update)
    for i in range(5):
        g = jax.tree.map(lambda p, i=i: jnp.cos(3 * p + i), params)
        updates, state = update(g, state, params)
    return updates


# Of each part its shape, its `stacked_axes`, and what positions these are.
PARTS = {
    "experts": ((2, 3, 4), 2, (0, 1)),
    "blocks": ((3, 4, 5), 1, (0,)),
    "second": ((4, 3, 5), frozenset({1}), (1,)),
    "last": ((4, 5, 3), frozenset({-1}), (2,)),
    "first and last": ((2, 4, 3), frozenset({-1, 0}), (0, 2)),
    "entries": ((2, 3), frozenset({0, 1}), (0, 1)),
    "head": ((5,), 0, ()),
    "gain": ((), frozenset(), ()),
}


@pytest.mark.parametrize("name", ["aida-k5", "ladabelief"])
def test_each_part_of_the_model_has_its_own_stack(name):
    factory = OPTIMIZERS[name]
    params = {name: normal(i, *PARTS[name][0]) for i, name in enumerate(PARTS)}
    axes = {name: stacked for name, (_, stacked, _) in PARTS.items()}

    def unstack(tree):
        layers = {}
        for name, (shape, _, positions) in PARTS.items():
            for index in np.ndindex(*(shape[i] for i in positions)):
                at = dict(zip(positions, index, strict=True))
                key = tuple(at.get(i, slice(None)) for i in range(len(shape)))
                layers[name, index] = tree[name][key]
        return layers

    updates = random_steps(factory(0.1, stacked_axes=axes), params)
    expected = random_steps(factory(0.1), unstack(params))
    assert_close(unstack(updates), expected, ROUNDING)


def test_statistics_have_the_names_of_the_layers():
    stack, head = normal(0, 4, LAYERS, 5), normal(1, 5)
    apart = {str(i): stack[:, i] for i in range(LAYERS)}

    def statistics(blocks, stacked_axes):
        params = {"blocks": blocks, "head": head}
        tx = ao.aida(0.03, stacked_axes=stacked_axes)
        _, state = tx.update(params, tx.init(params), params)
        return ao.stepsize_statistics(state, stacked_axes=stacked_axes)

    found = statistics(stack, {"blocks": frozenset({1}), "head": 0})
    assert_close(found, statistics(apart, 0), ROUNDING)


def test_one_stepsize_a_head():
    """Adam-mini's blocks: the heads of (in, heads, dim) and of (heads, dim, out)."""
    params = {"query": normal(0, 8, 2, 3), "out": normal(1, 2, 3, 8)}
    heads = {"query": frozenset({1}), "out": frozenset({0})}
    tx = ao.ladam(0.1, eps_root=1e-12, stacked_axes=heads)
    updates, state = tx.update(params, tx.init(params), params)
    sizes = ao.stepsizes(state)
    for name, axis in (("query", 1), ("out", 0)):
        assert sizes[name].shape == (2,)
        for i in range(2):
            g, u = (jnp.take(x[name], i, axis) for x in (params, updates))
            assert_close(sizes[name][i], jnp.mean(g**2) ** -0.5)
            assert_close(u, -0.1 * g * jnp.mean(g**2) ** -0.5)


@pytest.mark.quick
@pytest.mark.parametrize("factory", [ao.aida, ao.ladabelief])
def test_a_leaf_with_too_few_axes_is_named(factory):
    params = {"blocks": jnp.ones((3, 4)), "head": {"bias": jnp.ones(4)}}
    for axes, words in (
        (2, r"2.*'head/bias'.*1"),
        (frozenset({1}), r"\[1\] for leaf 'head/bias', which has only"),
        ({"blocks": 1, "head": 2}, r"2.*'head/bias'.*1"),
    ):
        tx = factory(0.1, stacked_axes=axes)
        with pytest.raises(ValueError, match=words):
            tx.update(params, tx.init(params), params)
