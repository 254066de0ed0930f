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
        ("ladam", ao.ladam, {}),
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
every_optimizer = pytest.mark.parametrize(
    "factory", OPTIMIZERS.values(), ids=list(OPTIMIZERS)
)


def data():
    x = np.random.default_rng(0).normal(size=(32, WIDTH)).astype(np.float32)
    return jnp.asarray(x), jnp.asarray(np.sin(x).sum(1, keepdims=True))


def trained(tx, loss, params):
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
    @nn.compact
    def __call__(self, x):
        blocks = nn.scan(
            Block,
            variable_axes={"params": 0},
            split_rngs={"params": True},
            length=LAYERS,
        )
        x, _ = blocks(name="blocks")(x, None)
        return nn.Dense(1, name="head")(x)


def linen_loss(apply, params):
    x, y = data()
    return jnp.mean((apply({"params": params}, x) - y) ** 2)


class Looped(nn.Module):
    @nn.compact
    def __call__(self, x):
        for i in range(LAYERS):
            x, _ = Block(name=f"block{i}")(x)
        return nn.Dense(1, name="head")(x)


def unstack(params):
    """Parameters of `Looped` from those of `Scanned`."""
    of_blocks = {
        f"block{i}": jax.tree.map(lambda p, i=i: p[i], params["blocks"])
        for i in range(LAYERS)
    }
    return {**of_blocks, "head": params["head"]}


@functools.cache
def linen_params():
    return Scanned().init(jax.random.key(0), data()[0])["params"]


@needs_linen_scan
@every_optimizer
def test_linen_scan(factory):
    params = linen_params()
    stacked = factory(0.03, stacked_axes={"blocks": 1, "head": 0})
    scanned = trained(stacked, functools.partial(linen_loss, Scanned().apply), params)
    looped = trained(
        factory(0.03), functools.partial(linen_loss, Looped().apply), unstack(params)
    )
    assert_close(unstack(scanned), looped, ROUNDING)


@needs_linen_scan
def test_linen_scan_can_differ():
    params = linen_params()
    loss = functools.partial(linen_loss, Scanned().apply)
    one_layer = trained(ao.aida(0.03), loss, params)
    layers = trained(ao.aida(0.03, stacked_axes={"blocks": 1, "head": 0}), loss, params)
    with pytest.raises(AssertionError, match="Not equal"):
        assert_close(one_layer, layers, ROUNDING)


class NNXBlock(nnx.Module):
    def __init__(self, rngs):
        self.dense = nnx.Linear(WIDTH, WIDTH, rngs=rngs)

    def __call__(self, x):
        return x + self.dense(jnp.tanh(x))


class NNXScanned(nnx.Module):
    def __init__(self, rngs):
        make = nnx.vmap(NNXBlock, in_axes=0, out_axes=0)
        self.blocks = nnx.split_rngs(splits=LAYERS)(make)(rngs)
        self.head = nnx.Linear(WIDTH, 1, rngs=rngs)

    def __call__(self, x):
        scan = nnx.scan(in_axes=(nnx.Carry, 0), out_axes=nnx.Carry)
        return self.head(scan(lambda x, block: block(x))(x, self.blocks))


class NNXLooped(nnx.Module):
    def __init__(self, scanned):
        graph, state = nnx.split(scanned.blocks)
        for i in range(LAYERS):
            layer = jax.tree.map(lambda p, i=i: p[i], state)
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


@pytest.mark.parametrize("name", ["aida", "ladabelief", "ladam-post"])
def test_nnx_scan(name):
    factory, model = OPTIMIZERS[name], NNXScanned(nnx.Rngs(0))
    looped = trained_nnx(NNXLooped(model), factory(0.03))
    axes = nnx.State({"blocks": 1, "head": 0})
    scanned = trained_nnx(model, factory(0.03, stacked_axes=axes))
    assert_close(unstack(scanned), looped, ROUNDING)


@pytest.mark.parametrize("name", ["aida", "ladabelief", "ladabelief-post"])
def test_a_dict_is_a_prefix_of_the_state_of_an_nnx_model(name):
    tx = OPTIMIZERS[name](0.1, stacked_axes={"blocks": 1, "head": 0})
    params = nnx.state(NNXScanned(nnx.Rngs(0)), nnx.Param)
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


@every_optimizer
def test_each_part_of_the_model_has_its_own_stack(factory):
    params = {"experts": normal(0, 2, 3, 4), "blocks": {"kernel": normal(1, 3, 4, 5)}}
    params |= {"head": normal(2, 5), "gain": normal(3)}
    axes = {"experts": 2, "blocks": 1, "head": 0, "gain": 0}

    def unstack(tree):
        return {
            (name, i): jax.tree.map(lambda p, i=i: p[i], tree[name])
            for name, n in axes.items()
            for i in np.ndindex((2, 3)[2 - n :])
        }

    updates = random_steps(factory(0.1, stacked_axes=axes), params)
    expected = random_steps(factory(0.1), unstack(params))
    assert_close(unstack(updates), expected, ROUNDING)


@every_optimizer
def test_a_leaf_with_too_few_axes_is_named(factory):
    params = {"blocks": jnp.ones((3, 4)), "head": {"bias": jnp.ones(4)}}
    tx = factory(0.1, stacked_axes=2)
    with pytest.raises(ValueError, match=r"2.*'head/bias'.*1"):
        tx.update(params, tx.init(params), params)
    tx = factory(0.1, stacked_axes={"blocks": 1, "head": 2})
    with pytest.raises(ValueError, match=r"2.*'head/bias'.*1"):
        tx.update(params, tx.init(params), params)
