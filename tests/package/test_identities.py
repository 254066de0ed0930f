"""Do the members of the family meet where the equations say they do?"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import adabelief_optax as ao
from tests.helpers import assert_close, run

SHAPES = {"kernel": (5, 3), "bias": (4,), "gain": ()}


def grads(steps=30, seed=0, **kwargs):
    rng = np.random.default_rng(seed)
    trees = [{k: rng.normal(size=s) for k, s in SHAPES.items()} for _ in range(steps)]
    return jax.tree.map(lambda *x: jnp.asarray(np.stack(x), **kwargs), *trees)


@pytest.mark.parametrize("nesterov", [False, True])
def test_drop_in_for_optax(x64, nesterov):
    gradients = grads(200)
    ours, state = run(ao.adabelief(1e-3, nesterov=nesterov), gradients)
    theirs, reference = run(optax.adabelief(1e-3, nesterov=nesterov), gradients)
    assert_close(ours, theirs, 1e-12)
    for field in ("count", "mu", "nu"):
        assert_close(
            optax.tree.get(state, field), optax.tree.get(reference, field), 1e-12
        )


def test_drop_in_for_optax_in_float32():
    # Optax's 1 − b2ᵗ has 1e-5 of rounding in the first steps, and ours has none.
    gradients = grads(200)
    ours, _ = run(ao.adabelief(1e-3), gradients)
    theirs, _ = run(optax.adabelief(1e-3), gradients)
    assert_close(ours, theirs, 2e-5)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.complex64], ids=["bf16", "c64"])
def test_state_of_optax_goes_on_in_its_dtypes(dtype):
    params = jnp.ones(3, dtype)
    theirs, ours = optax.adabelief(1e-3), ao.adabelief(1e-3)
    state = theirs.init(params)
    _, state = theirs.update(params, state, params)
    updates, after = jax.jit(ours.update)(params, state, params)
    jax.lax.cond(jnp.array(True), lambda: state, lambda: after)  # all of one type
    expected, _ = theirs.update(params, state, params)
    np.testing.assert_allclose(updates, expected, rtol=2e-2)


def test_k_0_is_adabelief():
    gradients = grads()
    a, _ = run(ao.aida(0.1, k=0), gradients)
    b, _ = run(ao.adabelief(0.1), gradients)
    assert_close(a, b, 0)


@pytest.mark.parametrize("traced", [False, True])
def test_two_projections_of_k_1_are_one_of_k_2(x64, traced):
    gradients = grads()
    k = jnp.asarray if traced else int
    twice = optax.chain(
        ao.layerwise_projection(k=k(1)),
        ao.layerwise_projection(k=k(1)),
        ao.scale_by_belief(),
    )
    once = optax.chain(ao.layerwise_projection(k=k(2)), ao.scale_by_belief())
    assert_close(run(twice, gradients)[0], run(once, gradients)[0], 1e-12)


def test_stages_keep_their_own_xi(x64):
    first, g = jnp.array([3.0, 1.0]), jnp.array([1.0, 2.0])
    chain = optax.chain(
        ao.layerwise_projection(k=1, xi=1.0),
        ao.layerwise_projection(k=1, xi=4.0),
        ao.scale_by_belief(b2=0.0, eps_root=0.0),
    )
    _, state = chain.update(first, chain.init(g))
    _, state = chain.update(g, state)
    m = 0.9 * 0.1 * first + 0.1 * g
    for xi in (1.0, 4.0):
        inner = g @ m
        g, m = inner / (g @ g + xi) * g, inner / (m @ m + xi) * m
    assert_close(optax.tree.get(state, "nu"), (g - m) ** 2, 1e-12)


def test_ignored_prediction_is_adam(x64):
    gradients = grads()
    tx = optax.chain(ao.ignore_prediction(), ao.scale_by_belief(eps=1e-8, eps_root=0.0))
    assert_close(run(tx, gradients)[0], run(optax.scale_by_adam(), gradients)[0], 1e-12)


@pytest.mark.parametrize("k", [2, 4, 6])
def test_projection_scales_the_residual_by_a_power_of_the_cosine(x64, k):
    # Two steps: nu after them, less b2 times nu before, is the residual's square.
    rng = np.random.default_rng(k)
    g1, g2 = rng.normal(size=(2, 4, 3))
    tx = optax.chain(ao.layerwise_projection(k=k), ao.scale_by_belief(eps_root=0.0))
    _, state = tx.update(g1, tx.init(jnp.zeros((4, 3))))
    before = state[1].nu
    _, state = tx.update(g2, state)
    square = (state[1].nu - 0.999 * before) / (1 - 0.999)
    m = 0.9 * 0.1 * g1 + 0.1 * g2
    cosine = np.sum(g2 * m) / np.sqrt(np.sum(g2**2) * np.sum(m**2))
    # xi → 0 is 1e-20 here.
    np.testing.assert_allclose(square, cosine ** (2 * k) * (g2 - m) ** 2, rtol=1e-9)


@pytest.mark.parametrize(
    "k", [0, 2, 9, *(pytest.param(k, marks=pytest.mark.slow) for k in (8, 30))]
)
def test_traced_k_is_static_k(x64, k):
    gradients = grads()

    def updates(k):
        return run(ao.aida(0.1, k=k), gradients)[0]

    assert_close(jax.jit(updates)(k), updates(k), 1e-12)


@pytest.mark.slow
def test_vmap_over_k():
    gradients = grads(10)
    ks = [0, 1, 2, 5]
    batched = jax.vmap(lambda k: run(ao.aida(0.1, k=k), gradients)[0])(jnp.array(ks))
    for i, k in enumerate(ks):
        one = jax.tree.map(lambda u, i=i: u[i], batched)
        assert_close(one, run(ao.aida(0.1, k=k), gradients)[0], 1e-4)


@pytest.mark.parametrize("processing", ["pre", "post"])
def test_entries_as_layers_are_elementwise(processing):
    gradients = grads()
    axes = {k: len(s) for k, s in SHAPES.items()}
    a, _ = run(ao.ladabelief(0.1, processing=processing, stacked_axes=axes), gradients)
    b, _ = run(ao.adabelief(0.1), gradients)
    assert_close(a, b, 1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("rectify", [False, True])
def test_amsgrad_divides_by_the_largest_s(rectify):
    # Large gradients first, then small ones, until s has fallen far below its maximum.
    sizes = jnp.where(jnp.arange(60) < 20, 1.0, 1e-3)
    gradients = jax.tree.map(
        lambda g: g * sizes.reshape((60,) + (1,) * (g.ndim - 1)), grads(60)
    )
    options = {"b2": 0.9, "rectify": rectify}
    a, state = run(ao.adabelief(0.1, amsgrad=True, **options), gradients)
    b, _ = run(ao.adabelief(0.1, **options), gradients)
    s, d = (optax.tree.get(state, name) for name in ("nu", "nu_max"))
    shorter = jax.tree.map(lambda s, d: jnp.sqrt(s / d), s, d)
    assert max(x.max() for x in jax.tree.leaves(shorter)) < 0.3
    expected = jax.tree.map(lambda u, x: u[-1] * x, b, shorter)
    assert_close(jax.tree.map(lambda u: u[-1], a), expected)


def test_rectified_becomes_plain():
    # rₜ reaches 1 as t grows; b2 = 0.9 gets there soon.
    gradients = grads(200)
    a, _ = run(ao.adabelief(0.1, b2=0.9, rectify=True), gradients)
    b, _ = run(ao.adabelief(0.1, b2=0.9), gradients)
    last = jax.tree.map(lambda u: u[-1], a), jax.tree.map(lambda u: u[-1], b)
    assert_close(*last, 1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("decay", "expected"),
    [
        ("decoupled", lambda plain, p: plain - 0.1 * 0.01 * p),
        ("fixed", lambda plain, p: plain - 0.01 * p),
    ],
)
def test_decay_modes(x64, decay, expected):
    gradients = grads(1)
    p = jax.tree.map(lambda g: g[0] + 1, grads(1, seed=1))
    plain, _ = run(ao.adabelief(0.1), gradients, p)
    decayed, _ = run(ao.adabelief(0.1, weight_decay=0.01, decay=decay), gradients, p)
    p_then = jax.tree.map(lambda x: x[None], p)
    assert_close(decayed, jax.tree.map(expected, plain, p_then), 1e-9)
    schedule = ao.adabelief(0.1, weight_decay=lambda t: 0.01 + 0 * t, decay=decay)
    assert_close(run(schedule, gradients, p)[0], decayed, 1e-9)


def steps_decay(curvature, eps, learning_rate=1e-3):
    """Whether steps on λx²/2 have died out after 200,000 of them."""
    tx = ao.adabelief(learning_rate, eps=eps, eps_root=eps)

    def step(carry, _):
        x, state = carry
        u, state = tx.update(curvature * x, state)
        return (x + u, state), jnp.abs(u)

    x = jnp.asarray(1e-3)
    _, sizes = jax.lax.scan(step, (x, tx.init(x)), length=200_000)
    return sizes[-1000:].max() < 1e-9


@pytest.mark.slow
@pytest.mark.parametrize(("eps", "bound"), [(1e-8, 120.167), (1e-16, 0.0120167)])
def test_stability_bound(x64, eps, bound):
    assert steps_decay(0.97 * bound, eps)
    assert not steps_decay(1.03 * bound, eps)
