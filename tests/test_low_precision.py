"""Is training in float16 and bfloat16 safe, and float32 at its extremes?"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import adabelief_optax as ao
from tests.methods import FAMILY

every_family = pytest.mark.parametrize("factory", FAMILY.values(), ids=list(FAMILY))


def run(tx, gradient, steps, params):
    """Returns the last state, and whether every update was finite."""

    def step(state, i):
        updates, state = tx.update(gradient(i), state, params)
        return state, jnp.isfinite(updates).all()

    return jax.lax.scan(step, tx.init(params), jnp.arange(steps))


@every_family
@pytest.mark.parametrize("size", [0.0, 1e-7, 1.0, 6e4])
@pytest.mark.parametrize("options", [{}, {"amsgrad": True}, {"rectify": True}])
def test_constant_float16_gradients(factory, size, options):
    # With 6e4, e vanishes in time and the step itself passes 65504.
    params = jnp.ones(8, jnp.float16)
    g = jnp.full(8, size, jnp.float16)
    tx = factory(1e-3, **options)
    _, finite = run(tx, lambda i: g, 40_000, params)
    assert finite.all()


@every_family
def test_float16_noise(factory):
    params = jnp.ones(64, jnp.float16)

    def gradient(i):
        return jax.random.normal(jax.random.key(i), (64,), jnp.float16) * 1e4

    _, finite = run(factory(1e-3), gradient, 500, params)
    assert finite.all()


def noise(dtype):
    return lambda i: jax.random.normal(jax.random.key(i), (256,)).astype(dtype)


def mean_nu(tx, dtype):
    state, _ = run(tx, noise(dtype), 5000, jnp.zeros(256, dtype))
    return float(jnp.mean(optax.tree.get(state, "nu").astype(jnp.float32)))


@pytest.mark.slow
@every_family
def test_nu_after_5000_steps_of_bfloat16_noise(factory):
    low, high = (mean_nu(factory(1e-3), d) for d in (jnp.bfloat16, jnp.float32))
    assert low == pytest.approx(high, rel=0.01)


def test_stalled_average_of_optax():
    # What the default protects from: nu of bfloat16 parameters, rounded to nearest.
    expected = mean_nu(ao.scale_by_belief(), jnp.float32)
    assert mean_nu(optax.scale_by_belief(), jnp.bfloat16) > 1.8 * expected


def means(tx):
    """Returns the means of mu², nu and |update| after 5,000 steps of noise."""
    params = jnp.zeros((4, 256))

    def step(state, i):
        g = jax.random.normal(jax.random.key(i), params.shape) * 1e-2
        updates, state = tx.update(g, state, params)
        return state, jnp.abs(updates).mean()

    state, sizes = jax.jit(
        lambda: jax.lax.scan(step, tx.init(params), jnp.arange(5000))
    )()
    mu, nu = (optax.tree.get(state, key).astype(jnp.float32) for key in ("mu", "nu"))
    return np.array([jnp.mean(mu**2), jnp.mean(nu), sizes[-1]])


@pytest.mark.slow
@every_family
@pytest.mark.parametrize("dtypes", [("bfloat16",) * 2, ("float32", "bfloat16")])
@pytest.mark.parametrize("options", [{}, {"stacked_axes": 1}])
def test_bfloat16_moments_do_not_stall(factory, dtypes, options):
    if factory is ao.adabelief and options:
        factory, options = ao.aida, {"k": 0}
    low = factory(1e-3, mu_dtype=dtypes[0], nu_dtype=dtypes[1], **options)
    np.testing.assert_allclose(means(low), means(factory(1e-3, **options)), rtol=0.02)


@every_family
@pytest.mark.parametrize("exponent", range(-30, 16, 5))
@pytest.mark.parametrize("options", [{}, {"rectify": True}, {"amsgrad": True}])
def test_float32_from_1e_minus_30_to_1e15(factory, exponent, options):
    params = jnp.ones(32)

    def gradient(i):
        return 10.0**exponent * jax.random.normal(jax.random.key(i), (32,))

    state, finite = run(factory(1e-3, **options), gradient, 60, params)
    assert finite.all()
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(state))


@pytest.mark.parametrize("k", [1, 2, 7, 50])
@pytest.mark.parametrize("xi", [0.0, 1e-20])
def test_projection_between_extremes(k, xi):
    # One gradient of every size after another: the quotients are at their worst.
    sizes = 10.0 ** np.array([15, -30, 10, -20, 0, -30, 15, -10, 5, -25], np.float32)

    def gradient(i):
        g = jax.random.normal(jax.random.key(i), (32,))
        return g * jnp.asarray(sizes, jnp.float32)[i % 10]

    state, finite = run(ao.aida(1e-3, k=k, xi=xi), gradient, 60, jnp.ones(32))
    assert finite.all()
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(state))


@pytest.mark.parametrize("given", ["bfloat16", jnp.float16, np.dtype("float32")])
def test_moments_have_the_dtype_asked_for(given):
    params = {"real": jnp.ones(2, jnp.float32), "complex": jnp.ones(2, jnp.complex64)}
    for amsgrad in (False, True):
        tx = ao.scale_by_belief(mu_dtype=given, nu_dtype=given, amsgrad=amsgrad)
        state = tx.init(params)
        _, state = tx.update(params, state)
        assert state.mu["real"].dtype == given
        assert state.mu["complex"].dtype == jnp.complex64  # not half of it
        assert state.nu["real"].dtype == state.nu["complex"].dtype == given


def test_float16_moments_saturate():
    tx = ao.scale_by_belief(mu_dtype="float16", nu_dtype="float16")
    updates, state = tx.update(jnp.full(2, 1e6), tx.init(jnp.ones(2)))
    assert np.isfinite(updates).all() and np.isfinite(state.nu).all()


def test_the_transformation_alone_keeps_float16_finite():
    # Without a learning rate behind it, at its ceiling of 316 times the gradient.
    params = jnp.ones(4, jnp.float16)
    tx = ao.scale_by_belief(eps=0.0, eps_root=1e-8)
    _, finite = run(tx, lambda i: jnp.full(4, 6e4, jnp.float16), 40_000, params)
    assert finite.all()
    assert tx.update(params, tx.init(params))[0].dtype == jnp.float16
