"""Can one differentiate through steps, forwards and backwards?"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import adabelief_optax as ao
from tests.helpers import assert_close, gradient, params_like
from tests.package.methods import METHODS, every


@pytest.mark.long
@every(METHODS)
def test_finite_gradients_through_the_update(factory):
    params = params_like()

    def loss(learning_rate, b1, eps_root, g):
        tx = factory(learning_rate, b1=b1, eps_root=eps_root)

        def step(state, _):
            updates, state = tx.update(g, state, params)
            return state, optax.tree.norm(updates, squared=True)

        # Past the fifth step, from which on rectified ones adapt.
        return jax.lax.scan(step, tx.init(params), length=7)[1].sum()

    derivatives = jax.jit(jax.grad(loss, argnums=(0, 1, 2, 3)))
    for scale in (0.0, 1.0):
        g = jax.tree.map(lambda g, scale=scale: scale * g, gradient(params))
        found = derivatives(1e-2, 0.9, 1e-8, g)
        assert all(np.isfinite(d).all() for d in jax.tree.leaves(found))


def loss(x, k, xi=1e-20):
    """Depends on two steps of Aida, of gradients that depend on x."""
    tx = ao.aida(0.1, k=k, xi=xi, eps_root=1e-4)
    _, state = tx.update(x, tx.init(x))
    return jnp.sum(tx.update(x**2, state)[0] ** 2)


X = np.array([1.0, -0.5, 2.0])


@pytest.mark.long
@pytest.mark.parametrize("k", [2, 9])
def test_second_derivatives_of_a_known_k(x64, k):
    backwards = jax.jit(jax.jacrev(jax.jacrev(loss)), static_argnums=1)(X, k)
    forwards = jax.jit(jax.jacfwd(jax.jacfwd(loss)), static_argnums=1)(X, k)
    assert np.isfinite(backwards).all() and np.abs(backwards).max() > 0
    assert_close(backwards, forwards, 1e-9)


@pytest.mark.long
def test_a_traced_k_has_a_first_derivative_backwards_and_more_forwards(x64):
    slopes = jax.grad(loss, (0, 2))
    assert_close(jax.jit(slopes)(X, 3, 0.3), slopes(X, 3, 0.3), 1e-9)
    second = jax.jit(jax.jacfwd(jax.jacfwd(loss)))(X, 3)
    assert_close(second, jax.jacfwd(jax.jacfwd(loss))(X, 3), 1e-9)


def test_the_derivative_by_xi_is_the_slope(x64):
    h, f = 1e-6, jax.jit(lambda xi: loss(X, 3, xi))
    numeric = (f(0.3 + h) - f(0.3 - h)) / (2 * h)
    np.testing.assert_allclose(jax.jit(jax.grad(f))(0.3), numeric, rtol=1e-6)
