"""What happens after a spike, after very long runs, and at the edge of a range?"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import adabelief_optax as ao
from tests.package import reference
from tests.package.methods import FAMILY

pytestmark = pytest.mark.slow

SPIKE = 1e17  # its square is finite in float32; the sum of 2e5 of them is not


@pytest.mark.parametrize(
    "factory",
    [
        *FAMILY.values(),
        lambda rate: ao.ladam(rate, processing="post"),
        lambda rate: ao.aida(rate, stacked_axes=1),
    ],
)
def test_a_spike_passes(factory):
    # A layer's sum of squares was infinite: Aida's e then is inf/inf, and LAdam's s
    # infinite for good.
    params = jnp.zeros((2, 400, 500))
    tx = factory(1e-2)
    state, update = tx.init(params), jax.jit(tx.update)
    rng = np.random.default_rng(0)
    for size in (1.0, 1.0, SPIKE, 1.0, 1.0):
        g = jnp.asarray(rng.normal(size=params.shape) * size, jnp.float32)
        updates, state = update(g, state, params)
    assert np.isfinite(updates).all()
    for x in jax.tree.leaves(state):
        assert np.isfinite(x).all()


def test_a_spike_is_a_spike():
    # The sum overflows indeed.
    g = jnp.full(400_000, SPIKE)
    assert np.isinf(jnp.sum(g * g))


@pytest.mark.parametrize("k", [1, 2, 3, 9])
def test_a_layer_whose_sums_overflow_is_not_projected(k):
    rng = np.random.default_rng(0)
    sizes = jnp.asarray([[1.0], [SPIKE], [1.0]], jnp.float32)
    g = jnp.asarray(rng.normal(size=(3, 200_000)), jnp.float32) * sizes

    m = jnp.asarray(rng.normal(size=g.shape), jnp.float32)

    def step(g, m, *before):
        tx = optax.chain(*before, ao.scale_by_belief(eps_root=1e-8))
        *marks, state = tx.init(g)
        return tx.update(g, (*marks, state._replace(mu=m)))[0]

    belief = step(g, m)
    projected = step(g, m, ao.layerwise_projection(k, stacked_axes=1))
    np.testing.assert_array_equal(projected[1], belief[1])
    alone = step(g[0], m[0], ao.layerwise_projection(k))
    np.testing.assert_allclose(projected[0], alone, rtol=1e-6)
    assert not np.allclose(projected[0], belief[0])


@pytest.mark.parametrize("b2", [0.67, 0.68, 0.7, 0.8, 0.9, 0.99, 0.999, 0.99999])
@pytest.mark.parametrize("traced", [False, True])
def test_rectification_over_long_runs(b2, traced):
    # t − 2/y·q(ty) cancels for large t: at b2 = 0.9 rₜ was off by 3 % after 10⁷ steps.
    factor = {}

    def step(b2, count):
        tx = ao.scale_by_belief(b2=b2, eps=0.0, eps_root=0.0, rectify=True)
        plain = ao.scale_by_belief(b2=b2, eps=0.0, eps_root=0.0)
        state = tx.init(jnp.ones(1))._replace(
            count=count, mu=jnp.ones(1), nu=jnp.ones(1)
        )
        g = jnp.full(1, 0.5)
        return tx.update(g, state)[0] / plain.update(g, state)[0]

    compiled = jax.jit(step) if traced else jax.jit(lambda _, count: step(b2, count))
    for t in [*range(1, 13), 20, 50, 100, 1000, *(10**i for i in range(4, 10))]:
        r = reference.rectification(b2, t)
        if r is not None:
            factor[t] = float(compiled(b2, jnp.int32(t - 1))[0]) / r
    # A traced β₂ of 0.99999 has its own rounding: 0.3 % of 1 − β₂, less of rₜ.
    np.testing.assert_allclose(
        list(factor.values()), 1, rtol=3e-3 if traced and b2 > 0.9999 else 1e-4
    )
    assert factor or b2 < 0.68


@pytest.mark.parametrize("t", [1, 10, 300])
@pytest.mark.parametrize("b2", [0.9, 0.999, 0.9999, 0.99999])
def test_the_bias_correction_keeps_its_digits(b2, t):
    grads = np.random.default_rng(t).normal(size=(t, 64))
    grads = grads.astype(np.float32).astype(np.float64)
    expected, *_ = reference.trajectory(
        grads, np.zeros(64), learning_rate=1.0, b2=b2, eps=1e-16, eps_root=1e-16
    )
    tx = ao.adabelief(1.0, b2=b2)

    def step(state, g):
        updates, state = tx.update(g, state)
        return state, updates

    start = tx.init(jnp.zeros(64))
    _, updates = jax.lax.scan(step, start, jnp.asarray(grads, jnp.float32))
    off = np.abs(updates[-1] - expected[-1]) / np.abs(expected[-1])
    # Where g − m is small beside g, its rounding is that of g.
    assert np.median(off) < 3e-6 / 5
    assert np.quantile(off, 0.9) < 3e-6


def test_nesterov_at_the_last_count():
    # t + 1 was negative, and the correction of m with it.
    tx = ao.scale_by_belief(nesterov=True)
    last = jnp.int32(2**31 - 1)
    state = tx.init(jnp.ones(1))._replace(count=last, mu=jnp.ones(1), nu=jnp.ones(1))
    updates, state = tx.update(jnp.ones(1), state)
    np.testing.assert_allclose(updates, 1 / np.sqrt(0.999), rtol=1e-5)
    assert state.count == last


def test_a_float16_average_keeps_small_gradients():
    # Rounded to float16's digits below 6e-5, where it has steps of 6e-8, m was cut off.
    tx = ao.scale_by_belief(mu_dtype="float16", eps_root=1e-20)
    state = tx.init(jnp.zeros(20_000))
    rng = np.random.default_rng(0)
    for _ in range(3):
        g = jnp.asarray(1e-7 * (1 + rng.random(20_000)), jnp.float32)
        _, state = tx.update(g, state)
    mu = np.asarray(state.mu, np.float64)
    # A few hundred of the entries have a second moment of their own to be hashed.
    np.testing.assert_allclose(np.mean(mu), 1.5e-7 * (1 - 0.9**3), rtol=0.2)
    np.testing.assert_array_equal(mu % 2.0**-24, 0)


@pytest.mark.quick
@pytest.mark.parametrize("k", [2, 9])
@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, np.float16])
def test_a_xi_of_few_bits_divides_no_zero_by_zero(dtype, k):
    # In float16 1e-20 is 0, and so was the least that stood for it.
    tx, zeros = ao.aida(0.1, k=k, xi=dtype(1e-20)), jnp.zeros(3)
    updates, state = tx.update(zeros, tx.init(zeros))
    assert not updates.any() and np.isfinite(optax.tree.get(state, "nu")).all()


@pytest.mark.parametrize("k", [2, 9])
@pytest.mark.parametrize("number", [np.float64, np.array, jnp.asarray])
def test_a_wider_xi_than_the_parameters(number, k, x64):
    g = jnp.array([1.0, -2.0, 0.5], jnp.float32)
    xi, plain = ao.aida(0.1, k=k, xi=number(0.1)), ao.aida(0.1, k=k, xi=0.1)
    updates, _ = xi.update(g, xi.init(g))
    wanted, _ = plain.update(g, plain.init(g))
    assert updates.dtype == jnp.float32
    np.testing.assert_allclose(updates, wanted, rtol=1e-6)


@pytest.mark.parametrize("k", [np.uint32(9), np.uint32(2), np.int8(3), jnp.uint32(9)])
def test_any_integer_is_a_k(k):
    g = jnp.arange(6.0) - 2
    tx, plain = ao.aida(1e-3, k=k), ao.aida(1e-3, k=int(k))
    a, _ = tx.update(g, tx.init(g))
    b, _ = plain.update(g, plain.init(g))
    np.testing.assert_allclose(a, b, rtol=1e-6)
