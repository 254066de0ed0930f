"""Is training in float16 and bfloat16 safe, and float32 at its extremes?"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import adabelief_optax as ao
from tests.helpers import run
from tests.package.methods import FAMILY, every

pytestmark = pytest.mark.slow


def noise(steps, shape):
    """Returns standard normal gradients."""
    return jax.random.normal(jax.random.key(0), (steps, *shape))


def assert_finite(*trees):
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(trees))


# The step of `ladam` is that of `ladabelief` with another residual.
every_family = every({n: f for n, f in FAMILY.items() if n != "ladam"})
some_options = pytest.mark.parametrize(
    "options", [{}, {"amsgrad": True}, {"rectify": True}], ids=str
)


def of_layers(factory, **options):
    """Returns an optimizer of one stack of layers."""
    elementwise = factory is ao.adabelief
    return factory(1e-3, **options, **({} if elementwise else {"stacked_axes": 1}))


@every_family
@some_options
def test_constant_float16_gradients(factory, options):
    # With 6e4, e vanishes in time and the step itself passes 65504.
    sizes = jnp.array([0.0, 1e-7, 1.0, 6e4], jnp.float16)
    gradients = jnp.broadcast_to(sizes[:, None], (40_000, 4, 8))
    assert_finite(run(of_layers(factory, **options), gradients)[0])


def mean_nu(tx, dtype):
    params = jnp.zeros(256, dtype)

    # XLA widens all of a bfloat16 array to take or to write a row of it: keep them out.
    def step(state, g):
        return tx.update(g.astype(dtype), state, params)[1], None

    state, _ = jax.lax.scan(step, tx.init(params), noise(5000, (256,)))
    return float(jnp.mean(optax.tree.get(state, "nu").astype(jnp.float32)))


@every({name: FAMILY[name] for name in ("aida", "ladabelief")})
def test_nu_after_5000_steps_of_bfloat16_noise(factory):
    low, high = (mean_nu(factory(1e-3), d) for d in (jnp.bfloat16, jnp.float32))
    assert low == pytest.approx(high, rel=0.01)


def test_stalled_average_of_optax():
    # What the default protects from: nu of bfloat16 parameters, rounded to nearest.
    expected = mean_nu(ao.scale_by_belief(), jnp.float32)
    assert mean_nu(optax.scale_by_belief(), jnp.bfloat16) > 1.8 * expected


@every_family
@some_options
def test_float32_from_1e_minus_30_to_1e15(factory, options):
    sizes = 10.0 ** np.arange(-30, 16, 5, dtype=np.float32)[None, :, None]
    assert_finite(run(of_layers(factory, **options), sizes * noise(60, (1, 32))))


@pytest.mark.parametrize("k", [1, 2, 7, 50])
@pytest.mark.parametrize("xi", [0.0, 1e-20])
def test_projection_between_extremes(k, xi):
    # One gradient of every size after another: the quotients are at their worst.
    exponents = [15, -30, 10, -20, 0, -30, 15, -10, 5, -25]
    sizes = np.tile(10.0 ** np.array(exponents, np.float32), 6)[:, None]
    assert_finite(run(ao.aida(1e-3, k=k, xi=xi), sizes * noise(60, (32,))))


@pytest.mark.quick
def test_float16_moments_saturate():
    tx = ao.scale_by_belief(mu_dtype="float16")
    updates, state = tx.update(jnp.full(2, 1e6), tx.init(jnp.ones(2)))
    assert np.isfinite(updates).all() and np.isfinite(state.mu).all()


def test_the_transformation_alone_keeps_float16_finite():
    # Without a learning rate behind it, at its ceiling of 316 times the gradient.
    tx = ao.scale_by_belief(eps=0.0, eps_root=1e-8)
    updates, _ = run(tx, jnp.full((40_000, 4), 6e4, jnp.float16))
    assert_finite(updates)
    assert updates.dtype == jnp.float16
