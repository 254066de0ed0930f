"""Are moments in bfloat16 rounded at random, and by chance as far as they should?"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import adabelief_optax as ao

ENTRIES = 2000


@jax.jit
def average_after(count=1, nu=1.0, gradient=1.0 + 0.02):
    """Returns m after a step from m = 1, which is 1.002 for the default gradient.

    Its neighbours in bfloat16 are 1 and 1 + 1/128, so that one in four goes up.
    """
    tx = ao.scale_by_belief(mu_dtype="bfloat16", nu_dtype="bfloat16")
    state = tx.init(jnp.zeros(ENTRIES))._replace(
        count=jnp.int32(count),
        mu=jnp.ones(ENTRIES, jnp.bfloat16),
        nu=jnp.broadcast_to(jnp.bfloat16(nu), (ENTRIES,)),
    )
    _, state = tx.update(jnp.full(ENTRIES, gradient, jnp.float32), state)
    return state.mu.astype(jnp.float32)


# The entries of one state; 2,000 of them have 1,500 different numbers in bfloat16.
SPREAD = np.geomspace(1e-6, 1e6, ENTRIES, dtype=np.float32)


def test_entries_that_differ_in_nu_alone_round_apart():
    assert set(average_after(nu=SPREAD).tolist()) == {1.0, 1.0 + 1 / 128}
    assert len(set(average_after().tolist())) == 1  # no entry differs from another


def test_the_mean_is_kept():
    m = average_after(nu=SPREAD)
    up = (1.002 - 1) * 128  # the share of entries that should go up
    # Four standard errors of a mean of as many draws.
    error = 4 * np.sqrt(up * (1 - up) / ENTRIES) / 128
    assert m.mean() == pytest.approx(1.002, abs=error)


def test_steps_round_apart():
    # The same state, at other counts: without them it might never move again.
    m = jax.vmap(average_after)(jnp.arange(1, 101))[:, 0]
    assert set(m.tolist()) == {1.0, 1.0 + 1 / 128}


def test_what_is_not_finite_stays_so():
    for bad in (np.inf, -np.inf, np.nan):
        m = average_after(gradient=bad)
        np.testing.assert_array_equal(m, np.full(ENTRIES, bad, np.float32))


def test_the_derivative_is_that_of_no_rounding():
    slope = jax.grad(lambda g: average_after(gradient=g).sum())(1.02)
    np.testing.assert_allclose(slope, 0.1 * ENTRIES, rtol=1e-5)  # 1 − β₁ of each entry
