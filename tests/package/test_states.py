"""May a state change, and is one that is not the optimizer's own refused, by name?"""

import re
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import adabelief_optax as ao
from tests.helpers import assert_close, float64, gradient, params_like
from tests.package.methods import FAMILY

every_family = pytest.mark.parametrize("factory", FAMILY.values(), ids=FAMILY)
some = pytest.mark.parametrize(
    "factory", [ao.adabelief, ao.ladabelief], ids=["adabelief", "ladabelief"]
)

LOW = {"mu_dtype": "bfloat16", "nu_dtype": "bfloat16"}
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
@some
@pytest.mark.parametrize("field", ["mu", "nu"])
def test_another_dtype(factory, field):
    low = factory(1e-3, **{f"{field}_dtype": "bfloat16"})
    refused(factory(1e-3), low, STACK, f"{field} of leaf 'bias'.*float32.*bfloat16")
    refused(low, factory(1e-3), STACK, f"{field} of leaf 'bias'.*bfloat16.*float32")


@some
@pytest.mark.parametrize("to_low", [True, False])
def test_another_dtype_is_converted_as_the_error_says(factory, to_low):
    params = params_like()
    wide, low = factory(0.1), factory(0.1, **LOW)
    old, new = (wide, low) if to_low else (low, wide)
    _, state = old.update(params, old.init(params), params)
    dtype = "bfloat16" if to_low else "float32"
    with pytest.raises(ValueError, match=f"must have dtype .*{dtype}") as error:
        new.update(params, state, params)
    assert "complex" not in str(error.value)
    line = re.search(r"convert the state: (.*)", str(error.value))[1]
    converted = eval(line, {"jax": jax, "state": state, "tx": new, "params": params})
    updates, _ = new.update(params, converted, params)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(updates))


@every_family
def test_amsgrad_or_not(factory):
    with_it, without = factory(1e-3, amsgrad=True), factory(1e-3)
    refused(with_it, without, STACK, "amsgrad=True, but")
    refused(without, with_it, STACK, "amsgrad=False, but")


def test_that_of_adam():
    tx = ao.scale_by_belief()
    with pytest.raises(ValueError, match="ScaleByAdamState"):
        tx.update(STACK, optax.scale_by_adam().init(STACK), STACK)


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
@some
@pytest.mark.parametrize(
    ("options", "jit"),
    [({}, False), ({"amsgrad": True}, False), (LOW, True)],
    ids=str,
)
def test_a_gradient_of_none_leaves_its_moments(factory, jit, options):
    params = {"frozen": jnp.ones(3), "part": {"a": jnp.ones(2), "b": jnp.ones(2)}}
    tx = factory(0.1, weight_decay=0.1, **options)
    update = jax.jit(tx.update) if jit else tx.update
    g = gradient(params, 1)
    _, before = update(g, tx.init(params), params)
    for frozen in ({"frozen": None, "part": g["part"]}, {**g, "part": None}):
        updates, after = update(frozen, before, params)
        assert jax.tree.structure(after) == jax.tree.structure(before)
        assert jax.tree.structure(updates) == jax.tree.structure(frozen)
        for name, part in frozen.items():
            for old, new in zip(before, after, strict=True):
                if part is None and hasattr(old, "mu"):
                    assert_close(new.mu[name], old.mu[name], 0)
                    assert_close(new.nu[name], old.nu[name], 0)
    # A leaf that is thawed goes on as if the steps of the others had not been.
    thawed, _ = update(g, after, params)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(thawed))
