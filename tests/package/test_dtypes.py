"""Which dtypes have moments and updates, and is nothing lost between them?"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import adabelief_optax as ao
from tests.helpers import assert_close, float64, gradient, params_like
from tests.package.methods import FAMILY, METHODS, every

every_method, every_family = every(METHODS), every(FAMILY)
some = every({name: FAMILY[name] for name in ("aida", "ladabelief")})
LOW = [jnp.float16, jnp.bfloat16, jnp.float32, jnp.complex64]
HIGH = [jnp.float64, jnp.complex128]


def dtypes(tree):
    return {x.dtype for x in jax.tree.leaves(tree)}


def dtypes_of_moments(state):
    return [dtypes(optax.tree.get(state, name)) for name in ("mu", "nu", "nu_max")]


def one_step(tx, dtype):
    """Returns the updates and the states before and after a step."""
    params = params_like(dtype)
    state = tx.init(params)
    updates, after = jax.jit(tx.update)(gradient(params), state, params)
    # Of one structure, with the same shapes and dtypes.
    jax.lax.cond(jnp.array(True), lambda: state, lambda: after)
    assert all(np.isfinite(u).all() for u in jax.tree.leaves(updates))
    return updates, state, after


@some
@pytest.mark.parametrize("dtype", LOW + HIGH, ids=lambda d: jnp.dtype(d).name)
def test_moments_have_at_least_32_bits(factory, dtype):
    with float64() if dtype in HIGH else np.errstate():
        updates, *states = one_step(factory(1e-2, amsgrad=True), dtype)
        wide = jnp.promote_types(dtype, jnp.float32)
        squares = jnp.finfo(wide).dtype
        assert dtypes(updates) == {jnp.dtype(dtype)}
        for state in states:
            assert dtypes_of_moments(state) == [{wide}, {squares}, {squares}]


@every_method
def test_a_step_of_bfloat16_parameters(factory):
    updates, *_ = one_step(factory(1e-2), jnp.bfloat16)
    assert dtypes(updates) == {jnp.dtype(jnp.bfloat16)}


@pytest.mark.slow
@every_family
@pytest.mark.parametrize(
    ("given", "mu", "nu"),
    [
        ({"mu_dtype": "bfloat16"}, jnp.bfloat16, jnp.float32),
        ({"nu_dtype": jnp.bfloat16}, jnp.float32, jnp.bfloat16),
        ({"mu_dtype": "float16", "nu_dtype": "bfloat16"}, jnp.float16, jnp.bfloat16),
    ],
    ids=str,
)
def test_moments_have_the_dtypes_that_are_asked_for(factory, given, mu, nu):
    _, *states = one_step(factory(1e-2, amsgrad=True, **given), jnp.float32)
    expected = [{jnp.dtype(dtype)} for dtype in (mu, nu, nu)]
    for state in states:
        assert dtypes_of_moments(state) == expected


@pytest.mark.parametrize("given", ["bfloat16", jnp.bfloat16, np.dtype("float32")])
def test_a_complex_average_stays_complex(given):
    params = {"real": jnp.ones(2, jnp.float32), "complex": jnp.ones(2, jnp.complex64)}
    tx = ao.scale_by_belief(mu_dtype=given, nu_dtype=given)
    _, state = tx.update(params, tx.init(params))
    assert state.mu["real"].dtype == given
    assert state.mu["complex"].dtype == jnp.complex64  # not half of it
    assert state.nu["real"].dtype == state.nu["complex"].dtype == given


@pytest.mark.parametrize("of_gradient", [jnp.bfloat16, jnp.float32, jnp.float16])
@pytest.mark.parametrize("of_parameter", [jnp.bfloat16, jnp.float32])
def test_updates_have_the_parameters_dtype(of_gradient, of_parameter):
    params = params_like(of_parameter)
    g = jax.tree.map(lambda x: x.astype(of_gradient), gradient(params))
    for options in ({}, {"weight_decay": 1e-2, "decay": "coupled"}):
        tx = ao.aida(jnp.float32(1e-3), **options)
        updates, _ = tx.update(g, tx.init(params), params)
        assert dtypes(updates) == {jnp.dtype(of_parameter)}
    tx = ao.aida(1e-3)
    assert dtypes(tx.update(g, tx.init(params))[0]) == {jnp.dtype(of_gradient)}


def test_updates_beside_a_gradient_of_none_have_the_parameters_dtype():
    params = {"a": jnp.ones(2, jnp.bfloat16), "b": jnp.ones(2, jnp.bfloat16)}
    tx = optax.chain(ao.aida(0.1), ao.stochastic_rounding())
    g = {"a": jnp.ones(2), "b": None}
    updates, _ = tx.update(g, tx.init(params), params)
    assert updates["a"].dtype == jnp.bfloat16 and updates["b"] is None


def test_float32_parameters_lose_nothing_to_bfloat16_gradients():
    # Updates in the gradient's dtype had eight bits.
    params = params_like()
    tx = ao.adabelief(1e-3)
    low = jax.tree.map(lambda x: x.astype(jnp.bfloat16), gradient(params))
    high = jax.tree.map(lambda x: x.astype(jnp.float32), low)
    a, _ = tx.update(low, tx.init(params), params)
    b, _ = tx.update(high, tx.init(params), params)
    assert_close(a, b, 0)


def test_other_parameters_than_the_gradients():
    # As a whole Equinox model, of which the gradients leave out functions.
    tx = ao.adabelief(1e-3)
    g = {"w": jnp.ones(2), "activation": None}
    updates, _ = tx.update(g, tx.init(g), {"w": jnp.ones(2), "activation": jax.nn.relu})
    assert updates["w"].dtype == jnp.float32


@every_method
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
def test_jax_may_be_told_to_promote_nothing(factory, dtype):
    tx, params = (
        optax.chain(factory(1e-3), ao.stochastic_rounding()),
        params_like(dtype),
    )

    def step(params):
        updates, state = tx.update(params, tx.init(params), params)
        return updates, ao.stepsizes(state)

    with jax.numpy_dtype_promotion("strict"):
        updates, _ = jax.eval_shape(step, params)
    assert dtypes(updates) == {jnp.dtype(dtype)}
