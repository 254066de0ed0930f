"""Is a state that is not the optimizer's own refused, by name?"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
import pytest

import adabelief_optax as ao
from tests.helpers import assert_close, float64, gradient, params_like, train
from tests.package.methods import FAMILY

every_family = pytest.mark.parametrize("factory", FAMILY.values(), ids=FAMILY)

STACK = {"kernel": jnp.ones((3, 2, 2)), "bias": jnp.ones((3, 2))}


def refused(mine, theirs, params, match):
    state = theirs.init(params)
    with pytest.raises(ValueError, match=match):
        mine.update(params, state, params)
    with pytest.raises(ValueError, match=match):
        jax.jit(mine.update)(params, state, params)


@pytest.mark.slow
@pytest.mark.parametrize(
    "mine, theirs",
    [
        (ao.ladabelief(1e-3), ao.adabelief(1e-3)),
        (ao.adabelief(1e-3), ao.ladabelief(1e-3)),
        (ao.ladabelief(1e-3, processing="post"), ao.ladabelief(1e-3)),
        (ao.ladabelief(1e-3, stacked_axes=1), ao.ladabelief(1e-3)),
        (ao.ladabelief(1e-3), ao.ladabelief(1e-3, stacked_axes=1)),
        (
            ao.ladabelief(1e-3, stacked_axes=1),
            ao.ladabelief(1e-3, stacked_axes=frozenset({1})),
        ),
    ],
)
def test_another_shape(mine, theirs):
    refused(mine, theirs, STACK, r"nu of leaf 'bias' must have shape")


@pytest.mark.slow
@every_family
@pytest.mark.parametrize("field", ["mu", "nu"])
def test_another_dtype(factory, field):
    low = factory(1e-3, **{f"{field}_dtype": "bfloat16"})
    refused(factory(1e-3), low, STACK, f"{field} of leaf 'bias'.*float32.*bfloat16")
    refused(low, factory(1e-3), STACK, f"{field} of leaf 'bias'.*bfloat16.*float32")


@every_family
def test_amsgrad_or_not(factory):
    with_it, without = factory(1e-3, amsgrad=True), factory(1e-3)
    refused(with_it, without, STACK, "amsgrad=True, but")
    refused(without, with_it, STACK, "amsgrad=False, but")


@every_family
def test_a_plain_dict(factory):
    tx = factory(1e-3)
    state = tx.init(STACK)
    place = next(i for i, s in enumerate(state) if hasattr(s, "nu"))
    as_dict = tuple(s._asdict() if i == place else s for i, s in enumerate(state))
    with pytest.raises(ValueError, match=r"got a dict.*eval_shape"):
        tx.update(STACK, as_dict, STACK)


def test_missing_leaves():
    tx = ao.scale_by_belief()
    state = tx.init(STACK)._replace(nu={"bias": jnp.ones((3, 2))})
    with pytest.raises(ValueError, match="nu must have 2 leaves, got 1"):
        tx.update(STACK, state)


@every_family
def test_the_state_is_optax_s_own(factory):
    state = factory(1e-3).init(STACK)
    assert any(type(s) is optax.ScaleByBeliefState for s in state)


def test_a_state_of_a_class_of_its_own_stays_one():
    class Extended(NamedTuple):
        count: Any
        mu: Any
        nu: Any
        note: str

    tx = ao.scale_by_belief()
    ours = tx.init(STACK)
    updates, state = tx.update(STACK, Extended(*ours, note="kept"))
    expected, after = tx.update(STACK, ours)
    assert type(state) is Extended and state.note == "kept"
    assert_close((updates, tuple(state)[:3]), (expected, tuple(after)), 0)


@pytest.mark.slow
@every_family
@pytest.mark.parametrize("of_gradient", [jnp.bfloat16, jnp.float32, jnp.float16])
@pytest.mark.parametrize("of_parameter", [jnp.bfloat16, jnp.float32])
def test_updates_have_the_parameters_dtype(factory, of_gradient, of_parameter):
    params = params_like(of_parameter)
    g = jax.tree.map(lambda x: x.astype(of_gradient), gradient(params))
    for options in ({}, {"weight_decay": 1e-2, "decay": "coupled"}):
        tx = factory(1e-3, **options)
        updates, _ = tx.update(g, tx.init(params), params)
        assert {u.dtype for u in jax.tree.leaves(updates)} == {jnp.dtype(of_parameter)}
    tx = factory(1e-3)
    updates, _ = tx.update(g, tx.init(params))
    assert {u.dtype for u in jax.tree.leaves(updates)} == {jnp.dtype(of_gradient)}


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


@pytest.mark.slow
@every_family
def test_what_a_state_may_be_follows_the_width_of_jax(factory):
    # It was remembered from before.
    tx, p = factory(1e-3, mu_dtype="float64"), jnp.ones((2, 2), jnp.float32)

    def dtype_of_mu():
        _, state = tx.update(p, tx.init(p), p)
        return optax.tree.get(state, "mu").dtype

    assert dtype_of_mu() == jnp.float32
    with float64():
        assert dtype_of_mu() == jnp.float64
    assert dtype_of_mu() == jnp.float32


@pytest.mark.slow
@every_family
def test_no_weight_decay_is_none(factory):
    params = params_like()
    assert_close(
        train(factory(1e-2, weight_decay=None), params), train(factory(1e-2), params), 0
    )


@every_family
def test_a_mistyped_mask_is_found_in_init(factory):
    tx = factory(1e-3, weight_decay=0.1, weight_decay_mask={"kernle": True})
    with pytest.raises((ValueError, KeyError, TypeError)):
        tx.init(STACK)
