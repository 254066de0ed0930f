"""Does each option reach every optimizer, and do there what it says?"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import adabelief_optax as ao
from tests.helpers import assert_close, gradient, params_like, run
from tests.package.methods import FAMILY, every

every_family = every(FAMILY)


def moment_dtypes(state):
    return [
        {x.dtype for x in jax.tree.leaves(optax.tree.get(state, moment))}
        for moment in ("mu", "nu", "nu_max")
    ]


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
def test_dtypes_of_moments(factory, given, mu, nu):
    tx, params = factory(1e-2, amsgrad=True, **given), params_like()
    state = tx.init(params)
    _, after = tx.update(gradient(params), state, params)
    for x in (state, after):
        assert moment_dtypes(x) == [{jnp.dtype(mu)}, {jnp.dtype(nu)}, {jnp.dtype(nu)}]


@pytest.mark.parametrize("given", ["bfloat16", jnp.bfloat16, np.dtype("float32")])
@pytest.mark.parametrize("amsgrad", [False, True])
def test_a_complex_average_stays_complex(given, amsgrad):
    params = {"real": jnp.ones(2, jnp.float32), "complex": jnp.ones(2, jnp.complex64)}
    tx = ao.scale_by_belief(mu_dtype=given, nu_dtype=given, amsgrad=amsgrad)
    _, state = tx.update(params, tx.init(params))
    assert state.mu["real"].dtype == given
    assert state.mu["complex"].dtype == jnp.complex64  # not half of it
    assert state.nu["real"].dtype == state.nu["complex"].dtype == given


@every_family
@pytest.mark.parametrize(
    "mask",
    [
        {"kernel": True, "bias": False, "gain": False},
        lambda params: jax.tree.map(lambda x: x.ndim > 1, params),
    ],
    ids=["tree", "function"],
)
@pytest.mark.parametrize("decay", ["decoupled", "coupled", "fixed"])
def test_mask_of_weight_decay(factory, mask, decay):
    params = jax.tree.map(jnp.ones_like, params_like())
    tx = factory(0.1, weight_decay=0.1, weight_decay_mask=mask, decay=decay)
    zero = optax.tree.zeros_like(params)
    updates, _ = tx.update(zero, tx.init(params), params)
    assert np.all(updates["kernel"] != 0)
    assert np.all(updates["bias"] == 0) and updates["gain"] == 0


@functools.cache
def after_shrinking_gradients(factory, **options):
    """Updates of four steps, whose largest second moment is not the last."""
    params, sizes = params_like(), [2.0, 1.0, 0.5, 0.1]
    gradients = [
        jax.tree.map(lambda g, size=size: size * g, gradient(params, i))
        for i, size in enumerate(sizes)
    ]
    g = jax.tree.map(lambda *x: jnp.stack(x), *gradients)
    return run(factory(0.1, **{"b2": 0.5, **options}), g, params)[0]


@pytest.mark.slow
@every({name: FAMILY[name] for name in ("adabelief", "ladabelief")})
@pytest.mark.parametrize(
    "option",
    [
        {"b1": 0.5},
        {"b2": 0.9},
        {"eps": 1e-2},
        {"eps_root": 1e-2},
        {"weight_decay": 0.1},
        {"nesterov": True},
        {"amsgrad": True},
        {"rectify": True},
        {"rectify": True, "degenerate_to_sgd": False},
    ],
    ids=str,
)
def test_every_option_changes_the_step(factory, option):
    # What it changes is compared with the papers elsewhere.
    without = {k: v for k, v in option.items() if k == "rectify" and len(option) > 1}
    plain = after_shrinking_gradients(factory, **without)
    changed = after_shrinking_gradients(factory, **option)
    with pytest.raises(AssertionError, match="Not equal"):
        assert_close(changed, plain, 1e-3)


def test_the_count_of_steps_does_not_overflow():
    tx, params = ao.adabelief(0.1), jnp.ones(2)
    last = jnp.iinfo(jnp.int32).max
    state = optax.tree.set(tx.init(params), count=jnp.int32(last))
    updates, state = tx.update(params, state)
    assert optax.tree.get(state, "count") == last
    assert np.isfinite(updates).all()
