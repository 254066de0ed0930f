"""Do the uses that failed users elsewhere work, and fail with a word that helps?"""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import adabelief_optax as ao
from tests.helpers import assert_close, gradient, params_like, python
from tests.package import reference
from tests.package.methods import FAMILY, every

every_family = every(FAMILY)
LOW = {"mu_dtype": "bfloat16", "nu_dtype": "bfloat16"}


def belief_state(state):
    return next(x for x in state if hasattr(x, "mu"))


@pytest.mark.slow
@every_family
@pytest.mark.parametrize(
    ("options", "jit"),
    [({}, False), ({}, True), ({"amsgrad": True}, False), (LOW, True)],
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


def test_updates_beside_a_gradient_of_none_have_the_parameters_dtype():
    params = {"a": jnp.ones(2, jnp.bfloat16), "b": jnp.ones(2, jnp.bfloat16)}
    tx = optax.chain(ao.aida(0.1), ao.stochastic_rounding())
    g = {"a": jnp.ones(2), "b": None}
    updates, _ = tx.update(g, tx.init(params), params)
    assert updates["a"].dtype == jnp.bfloat16 and updates["b"] is None


def test_integers_of_an_equinox_model_are_named():
    with pytest.raises(ValueError, match=r"'count'.*eqx\.is_inexact_array"):
        ao.adabelief(0.1).init({"count": jnp.arange(3)})


@pytest.mark.slow
@every_family
@pytest.mark.parametrize("to_low", [True, False])
def test_a_state_in_other_dtypes_is_converted_as_the_error_says(factory, to_low):
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


STRICT = """
import jax, jax.numpy as jnp, optax
jax.config.update("jax_numpy_dtype_promotion", "strict")
import adabelief_optax as ao
low = dict(mu_dtype="bfloat16", nu_dtype="bfloat16")
for dtype in (jnp.bfloat16, jnp.float32):
    for f in (ao.adabelief, ao.aida, ao.ladam, ao.ladabelief):
        for options in ({}, dict(low, momentum=False), dict(
            nesterov=True, amsgrad=True, rectify=True, weight_decay=0.1, decay="coupled"
        )):
            p = {"w": jnp.ones((3, 2), dtype), "b": jnp.ones(2, dtype)}
            tx = optax.chain(f(1e-3, **options), ao.stochastic_rounding())
            state = tx.init(p)
            u, state = jax.jit(tx.update)(p, state, p)
            u, state = tx.update(p, state, p)
            ao.stepsizes(state)
            assert u["w"].dtype == dtype
"""


@pytest.mark.long
def test_strict_promotion_in_a_fresh_process():
    done = python("-c", STRICT)
    assert done.returncode == 0, done.stderr


@every_family
@pytest.mark.parametrize("params", [None, {}, [], {"a": None}], ids=str)
def test_amsgrad_of_a_tree_without_leaves(factory, params):
    tx = factory(0.1, amsgrad=True)
    state = tx.init(params)
    assert isinstance(belief_state(state), ao.ScaleByBeliefAmsgradState)
    updates, after = tx.update(params, state, params)
    assert jax.tree.structure(after) == jax.tree.structure(state)
    assert updates == params


def test_a_state_of_adam_is_refused():
    params = params_like()
    tx = ao.scale_by_belief()
    with pytest.raises(ValueError, match="ScaleByAdamState"):
        tx.update(params, optax.scale_by_adam().init(params), params)


@every_family
def test_a_negative_learning_rate_names_the_way_to_maximize(factory):
    with pytest.raises(ValueError, match=r"learning_rate.*optax\.chain\(optax\.scale"):
        factory(-1e-3)


MASKS = {
    "arrays": lambda p: jax.tree.map(lambda x: x > 0, p),
    "of a leaf": lambda x: x.ndim > 1,
    "a name is missing": {"kernel": True, "bias": False},
    "a name too many": {"kernel": True, "bias": False, "gain": True, "more": True},
    "numbers": {"kernel": 1, "bias": 0, "gain": 1},
}


@every_family
@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_a_mask_that_is_none(factory, mask):
    params = params_like()
    with pytest.raises(ValueError, match="weight_decay_mask"):
        tx = factory(0.1, weight_decay=0.1, weight_decay_mask=mask)
        tx.update(params, tx.init(params), params)


@pytest.mark.slow
def test_stepsizes_of_a_state_on_the_host():
    params = {"a": jnp.ones((4, 4))}
    tx = ao.adabelief(0.1)
    _, state = tx.update(params, tx.init(params), params)
    try:
        host = jax.sharding.SingleDeviceSharding(
            jax.devices()[0], memory_kind="pinned_host"
        )
        on_host = jax.device_put(state, host)
    except ValueError:
        pytest.skip("this JAX keeps nothing in pinned_host here")
    assert_close(ao.stepsizes(on_host), ao.stepsizes(state), 0)


@pytest.mark.parametrize("momentum", [True, False])
@pytest.mark.parametrize("name", ["adabelief", "aida", "ladabelief"])
def test_b1_of_0_leaves_no_residual(name, momentum):
    for b1 in (0, 0.0, jnp.zeros([])):
        with pytest.raises(ValueError, match=r"b1.*momentum=False.*ignore_prediction"):
            getattr(ao, name)(0.1, b1=b1, momentum=momentum)


def test_b1_of_0_is_for_residuals_without_it():
    g = jnp.array([1.0, -2.0])
    chain = optax.chain(ao.ignore_prediction(), ao.scale_by_belief(b1=0.0))
    for tx in (ao.ladam(0.1, b1=0.0), chain):
        assert np.isfinite(tx.update(g, tx.init(g), g)[0]).all()
    for mark in (optax.identity(), ao.layerwise_projection(), ao.weigh_prediction(0.5)):
        tx = optax.chain(mark, ao.scale_by_belief(b1=0.0))
        with pytest.raises(ValueError, match="b1"):
            tx.update(g, tx.init(g), g)


@pytest.mark.parametrize("name", ["aida", "ladam", "ladabelief"])
def test_stacked_axes_by_name(name):
    shapes = {"blocks": {"w": (3, 4, 5), "b": (3, 5)}, "embed": (7, 5)}
    params = jax.tree.map(jnp.ones, shapes, is_leaf=lambda x: isinstance(x, tuple))
    g = gradient(params, 3)

    def update(stacked_axes):
        tx = getattr(ao, name)(0.1, stacked_axes=stacked_axes)
        return tx.update(g, tx.init(params), params)

    whole = update({"blocks": {"w": 1, "b": 1}, "embed": None})
    for given in (
        {"blocks": 1},
        {"blocks": frozenset({0})},
        lambda p: {key: 1 if key == "blocks" else 0 for key in p},
    ):
        assert_close(update(given), whole, 0)
    with pytest.raises(ValueError, match=r"stacked_axes names 'block'.*blocks, embed"):
        update({"block": 1})
    with pytest.raises(ValueError, match=r"stacked_axes.*'embed'.*twice"):
        update({"embed": frozenset({0, -2})})


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


@pytest.mark.long
@pytest.mark.parametrize("k", [2, 9])
def test_second_derivatives_of_a_known_k(x64, k):
    x = jnp.array([1.0, -0.5, 2.0])

    def loss(x):
        tx = ao.aida(0.1, k=k, eps_root=1e-4)
        state = tx.init(x)
        for g in (x, x**2):
            updates, state = tx.update(g, state)
        return jnp.sum(updates**2)

    backwards = jax.jit(jax.jacrev(jax.jacrev(loss)))(x)
    forwards = jax.jit(jax.jacfwd(jax.jacfwd(loss)))(x)
    assert np.isfinite(backwards).all() and np.abs(backwards).max() > 0
    assert_close(backwards, forwards, 1e-9)


@pytest.mark.long
def test_a_traced_k_has_a_first_derivative_backwards_and_more_forwards(x64):
    def loss(x, k):
        tx = ao.aida(0.1, k=k, eps_root=1e-4)
        _, state = tx.update(x, tx.init(x))
        return jnp.sum(tx.update(x**2, state)[0] ** 2)

    x, k = jnp.array([1.0, -0.5, 2.0]), jnp.asarray(3)
    assert_close(jax.jit(jax.grad(loss))(x, k), jax.grad(loss)(x, 3), 1e-9)
    second = jax.jit(jax.jacfwd(jax.jacfwd(loss)))(x, k)
    assert_close(second, jax.jacfwd(jax.jacfwd(loss))(x, 3), 1e-9)


def test_a_rectified_step_uses_the_maximum():
    # Large gradients first, then small: without the maximum the step is 6 times longer.
    grads = np.concatenate([np.full(300, 10.0), np.full(3000, 0.1)])
    grads = (grads * np.random.default_rng(0).normal(size=3300)).astype(np.float32)

    def last(**options):
        tx = ao.adabelief(1.0, rectify=True, **options)

        def step(state, g):
            updates, state = tx.update(g, state)
            return state, updates

        return abs(jax.lax.scan(step, tx.init(jnp.zeros([])), grads)[1][-100:]).mean()

    assert last(amsgrad=True) < 0.3 * last()


@pytest.mark.slow
def test_outside_jit_projections_are_one_call_whatever_k():
    def primitives(k):
        tx, g = ao.aida(0.1, k=k), jnp.ones(3)
        _, state = tx.update(g, tx.init(g))
        with jax.log_compiles(False):
            return programs_of(lambda: tx.update(g, state))

    # K rounds as single operations would be four or more for each round.
    assert primitives(8) == primitives(2)


def programs_of(f):
    """Returns how many programs a call outside jit compiles from empty caches."""
    events = []

    def listen(event, duration, **kwargs):
        del duration, kwargs
        events.append(event)

    jax.clear_caches()
    jax.monitoring.register_event_duration_secs_listener(listen)
    f()
    count = events.count("/jax/core/compile/backend_compile_duration")
    assert count > 0
    return count
