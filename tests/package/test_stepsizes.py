"""Are the stepsizes those of the last step, wherever the state is?"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import adabelief_optax as ao
from tests.helpers import assert_close, gradient, params_like, train
from tests.package.methods import FAMILY

pytestmark = pytest.mark.slow

OPTIONS = dict(b2=0.99, eps=1e-4, eps_root=1e-6)
GIVEN = dict(b2=0.99, eps=1e-4)


def belief_state(state):
    (found,) = (
        x
        for x in jax.tree.leaves(state, is_leaf=lambda x: hasattr(x, "nu"))
        if hasattr(x, "nu")
    )
    return found


METHODS = {
    **{name: (factory, {}) for name, factory in FAMILY.items()},
    "amsgrad": (ao.aida, dict(amsgrad=True)),
    "bfloat16": (ao.adabelief, dict(mu_dtype="bfloat16", nu_dtype="bfloat16")),
    "stacked": (ao.ladam, dict(stacked_axes={"kernel": 1, "bias": 1, "gain": 0})),
    "optax": (optax.adabelief, {}),
}


def assert_steps_are_predictions_times(tx, dtype=jnp.float32, tolerance=1e-5):
    """Compares steps of a learning rate of 1 with those that the stepsizes make."""
    params = params_like(dtype)
    state, update = tx.init(params), jax.jit(tx.update)
    for t in range(1, 8):
        updates, state = update(gradient(params, t), state, params)
        sizes = ao.stepsizes(state, **GIVEN)
        predictions = jax.tree.map(
            lambda m, c1=1 - 0.9**t: m.astype(dtype) / c1, belief_state(state).mu
        )
        expected = jax.tree.map(
            lambda m, x: -m * x.reshape(x.shape + (1,) * (m.ndim - x.ndim)),
            predictions,
            sizes,
        )
        assert_close(updates, expected, tolerance)
    assert_close(jax.jit(lambda s: ao.stepsizes(s, **GIVEN))(state), sizes)
    assert {x.dtype for x in jax.tree.leaves(sizes)} == {jnp.dtype(dtype)}


@pytest.mark.parametrize(("factory", "options"), METHODS.values(), ids=METHODS)
def test_a_step_is_the_prediction_times_the_stepsizes(factory, options):
    assert_steps_are_predictions_times(factory(1.0, **OPTIONS, **options))


def test_float64(x64):
    tx = ao.adabelief(1.0, **OPTIONS)
    assert_steps_are_predictions_times(tx, jnp.float64, 1e-12)


def test_a_step_of_post_processing_takes_the_mean():
    tx = ao.ladabelief(1.0, **OPTIONS, processing="post")
    _, state = train(tx, params_like(), steps=1)
    # At t = 1 the corrected average is the gradient.
    updates, _ = tx.update(gradient(params_like(), 0), tx.init(params_like()))
    mean = ao.stepsize_statistics(state, **GIVEN)["stepsize/kernel/mean"]
    expected = -mean * gradient(params_like(), 0)["kernel"]
    assert_close(updates["kernel"], expected)


@settings(max_examples=20, deadline=None)
@given(
    b2=st.floats(0.5, 0.9999),
    log_eps_root=st.floats(-16, -2),
    scale=st.floats(1e-3, 1e3),
    steps=st.integers(1, 300),
)
def test_no_stepsize_exceeds_the_ceiling(b2, log_eps_root, scale, steps):
    b2, eps_root = np.float32(b2), np.float32(10**log_eps_root)
    run = many_steps(b2, eps_root, np.float32(scale), steps)
    ceiling = np.sqrt((1 - b2) / eps_root)
    # 1 − b2 and b2ᵗ in float32 have an error of one unit of 1.
    assert np.all(run <= ceiling * (1 + 1e-7 / (1 - b2)))


@jax.jit
def many_steps(b2, eps_root, scale, steps):
    """Stepsizes for gradients that never change, and that change at random."""
    tx = ao.scale_by_belief(b2=b2, eps=0.0, eps_root=eps_root)

    def step(i, state):
        noise = jax.random.normal(jax.random.key(i), ())
        return tx.update(scale * jnp.stack([jnp.ones(()), noise]), state)[1]

    state = jax.lax.fori_loop(0, steps, step, tx.init(jnp.zeros(2)))
    return ao.stepsizes(state, b2=b2, eps=0.0)


@pytest.mark.quick
def test_a_constant_gradient_reaches_the_ceiling():
    b2, eps_root = 0.99, 1e-6
    constant, noisy = many_steps(b2, eps_root, 1.0, 3000)
    ceiling = np.sqrt((1 - b2) / eps_root)
    assert 0.999 * ceiling < constant <= 1.00001 * ceiling
    assert noisy < 0.1 * ceiling


ALL = {"kernel": True, "bias": True, "gain": True}
LABELS = {"kernel": "a", "bias": "b", "gain": "a"}
WRAPPERS = {
    "named_chain": lambda f: optax.named_chain(("first", f(1e-2))),
    "masked": lambda f: optax.masked(f(1e-2), ALL),
    "conditionally_transform": lambda f: optax.conditionally_transform(
        f(1e-2), lambda t: t >= 0
    ),
    "all": lambda f: optax.MultiSteps(
        optax.apply_if_finite(
            optax.chain(
                optax.clip_by_global_norm(1e9),
                optax.partition(
                    {"a": optax.inject_hyperparams(f)(1e-2), "b": f(1e-2)}, LABELS
                ),
            ),
            3,
        ),
        1,
    ),
}


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=list(WRAPPERS))
def test_wrappers(wrap):
    def factory(learning_rate, b2=0.99, eps=1e-4):
        return ao.ladabelief(learning_rate, b2=b2, eps=eps, eps_root=1e-6)

    _, plain = train(factory(1e-2), params_like())
    _, wrapped = train(
        wrap(factory), params_like(), update=jax.jit(wrap(factory).update)
    )
    assert_close(
        ao.stepsizes(wrapped, **GIVEN), ao.stepsizes(plain, **GIVEN), tolerance=1e-4
    )


def test_injected_hyperparameters_are_the_defaults():
    tx = optax.inject_hyperparams(ao.adabelief)(
        1e-2, b2=optax.linear_schedule(0.9, 0.99, 3), eps=1e-4
    )
    _, state = train(tx, params_like())
    bare = belief_state(state)
    assert_close(ao.stepsizes(state), ao.stepsizes(bare, b2=0.99, eps=1e-4))
    other = ao.stepsizes(bare, b2=0.5, eps=1e-2)
    assert_close(ao.stepsizes(state, b2=0.5, eps=1e-2), other)
    assert_close(
        jax.jit(ao.stepsizes)(state, jnp.float32(0.5), jnp.float32(1e-2)), other
    )


def test_of_nested_injected_values_the_inner_count():
    def tuned(learning_rate, b2, eps):
        del b2, eps  # of the optimizer inside, others are injected
        return optax.inject_hyperparams(ao.adabelief)(learning_rate, b2=0.9, eps=1e-4)

    tx = optax.inject_hyperparams(tuned)(1e-2, b2=0.5, eps=1e-2)
    _, state = train(tx, params_like())
    expected = ao.stepsizes(belief_state(state), b2=0.9, eps=1e-4)
    assert_close(ao.stepsizes(state), expected)


def test_the_defaults_are_those_of_the_optimizers():
    # Without gradients √d̂ is as small as it can be, and another eps would show.
    zeros = optax.tree.zeros_like(params_like())
    for factory in (*FAMILY.values(), optax.adabelief):
        tx = factory(1e-2)
        _, state = tx.update(zeros, tx.init(zeros), zeros)
        expected = ao.stepsizes(state, b2=0.999, eps=0.0)
        assert_close(ao.stepsizes(state), expected)


def test_parameters_that_belong_to_others():
    tx = optax.partition({"a": ao.aida(1e-2), "b": optax.sgd(1e-2)}, LABELS)
    _, state = train(tx, params_like())
    sizes = ao.stepsizes(state)
    assert sizes["bias"] == optax.MaskedNode()
    assert sizes["kernel"].shape == params_like()["kernel"].shape
    names = {name.split("/")[1] for name in ao.stepsize_statistics(state)}
    assert names == {"kernel", "gain"}


def test_masks_that_leave_out_whole_branches():
    params = {"a": {"x": jnp.ones(2), "y": jnp.ones(3)}, "b": [jnp.ones(1), None]}
    tx = optax.chain(
        optax.masked(ao.aida(1e-2), {"a": True, "b": False}),
        optax.masked(ao.ladam(1e-2), {"a": False, "b": True}),
    )
    _, state = train(tx, params)
    sizes = ao.stepsizes(state)
    assert jax.tree.structure(sizes) == jax.tree.structure(params)
    assert jax.tree.map(jnp.shape, sizes) == {
        "a": {"x": (2,), "y": (3,)},
        "b": [(), None],
    }


as_pure = getattr(nnx, "as_pure", nnx.pure)  # the name of Flax 0.12, and of 0.11


class Model(nnx.Module):
    def __init__(self, rngs):
        self.first = nnx.Linear(2, 3, rngs=rngs)
        self.value = nnx.Param(jnp.ones(3))  # the name of what a variable holds

    def __call__(self, x):
        return (self.first(x) @ self.value[...]).sum()


@pytest.mark.parametrize(
    "tx",
    [ao.aida(1e-2), optax.inject_hyperparams(ao.adabelief)(1e-2)],
    ids=["aida", "inject_hyperparams"],
)
def test_flax_nnx(tx):
    model = Model(nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)

    @nnx.jit
    def step(model, optimizer):
        grads = nnx.grad(lambda m: m(jnp.ones((4, 2))))(model)
        optimizer.update(model, grads)
        return ao.stepsizes(optimizer.opt_state), ao.stepsize_statistics(
            optimizer.opt_state
        )

    inside, statistics = step(model, optimizer)
    outside = ao.stepsizes(optimizer.opt_state)
    assert_close(inside, outside)
    assert_close(outside, ao.stepsizes(as_pure(optimizer.opt_state)))
    state = as_pure(nnx.state(model, nnx.Param))
    assert jax.tree.structure(outside) == jax.tree.structure(state)
    layers = {name.rsplit("/", 1)[0] for name in statistics}
    assert layers == {f"stepsize/{x}" for x in ("first/bias", "first/kernel", "value")}


def test_before_the_first_step_all_are_zero():
    with jax.debug_nans(True), jax.debug_infs(True):
        state = ao.aida(1e-2).init(params_like())
        sizes = jax.jit(ao.stepsizes)(state, eps=0.0)
        statistics = ao.stepsize_statistics(state)
    assert_close(sizes, optax.tree.zeros_like(params_like()))
    assert set(map(float, statistics.values())) == {0.0}


def test_vmap():
    tx, params = ao.adabelief(1e-2), params_like()
    update = jax.jit(tx.update)
    states = [train(tx, params, steps, update)[1] for steps in (0, 1, 5)]
    batch = jax.tree.map(lambda *x: jnp.stack(x), *states)
    sizes = jax.vmap(ao.stepsizes)(batch)
    statistics = jax.vmap(ao.stepsize_statistics)(batch)
    for i, state in enumerate(states):
        assert_close(jax.tree.map(lambda x, i=i: x[i], sizes), ao.stepsizes(state))
        one = ao.stepsize_statistics(state)
        assert_close({n: x[i] for n, x in statistics.items()}, one)
    with pytest.raises(ValueError, match=r"\(3,\).*jax.vmap"):
        ao.stepsizes(batch)


def test_odd_trees():
    tx = ao.aida(1e-2)
    for params in (
        {},
        {"none": None, "a": jnp.ones(2)},
        {"scalar": jnp.ones(()), "empty": jnp.zeros((0, 3))},
        [jnp.ones(2, jnp.bfloat16), (jnp.ones((1, 1), jnp.complex64),)],
    ):
        sizes = ao.stepsizes(tx.init(params))
        assert jax.tree.structure(sizes) == jax.tree.structure(params)
        statistics = ao.stepsize_statistics(sizes)
        layers = [x for x in jax.tree.leaves(params) if x.size]
        assert len(statistics) == 4 * len(layers)
        assert all(np.isfinite(x) for x in statistics.values())
    assert set(ao.stepsize_statistics(jnp.ones(2))) == {
        f"stepsize/{x}" for x in ("mean", "std", "min", "max")
    }


@pytest.mark.parametrize("jit", [lambda f: f, jax.jit], ids=["eager", "jit"])
@pytest.mark.parametrize("axes", [0, 1, 2, {"x": 2, "y": 1}], ids=str)
def test_statistics(jit, axes):
    rng = np.random.default_rng(0)
    tree = {"x": rng.gamma(1.0, size=(2, 3, 4)), "y": rng.gamma(1.0, size=(2, 5))}
    sizes = jax.tree.map(jnp.float32, tree)
    actual = jit(lambda t: ao.stepsize_statistics(t, stacked_axes=axes))(sizes)
    expected = {}
    for name, x in tree.items():
        n = axes[name] if isinstance(axes, dict) else axes
        for index in np.ndindex(*x.shape[:n]):
            for f in (np.mean, np.std, np.min, np.max):
                place = "/".join(map(str, ("stepsize", name, *index)))
                expected[f"{place}/{f.__name__}".replace("amin", "min")] = f(x[index])
    assert_close(actual, jax.tree.map(np.float32, expected))
    assert all(x.shape == () for x in actual.values())


@pytest.mark.parametrize("stacked_axes", [0, 1])
def test_statistics_of_sharded_layers_gather_nothing(stacked_axes):
    mesh = Mesh(np.array(jax.devices()[:4]).reshape(2, 2), ("x", "y"))
    x = jnp.arange(1.0, 257.0).reshape(4, 8, 8)
    spread = jax.device_put(x, NamedSharding(mesh, PartitionSpec(None, "x", "y")))
    statistics = jax.jit(
        functools.partial(ao.stepsize_statistics, stacked_axes=stacked_axes)
    )
    assert_close(statistics(spread), statistics(x))
    assert "all-gather" not in statistics.lower(spread).compile().as_text()


FAR = 1e4 + np.random.default_rng(0).normal(size=1000)
HARD = {
    # Summed in 16 bits, they would have no digits left.
    "16 bits": jnp.linspace(1.0, 2.0, 1000).astype(jnp.bfloat16),
    # √(mean x² − mean²) of these is off by more than all of it in float32.
    "far from 0": jnp.asarray(FAR, jnp.float32),
    "both": jnp.asarray(FAR, jnp.bfloat16),
}


@pytest.mark.parametrize("x", HARD.values(), ids=HARD)
def test_statistics_keep_their_digits(x):
    found = ao.stepsize_statistics({"x": x}, prefix="")
    for name in ("mean", "std", "min", "max"):
        assert found[f"x/{name}"].dtype == jnp.float32
        exact = getattr(np, name)(np.asarray(x, np.float64))
        np.testing.assert_allclose(found[f"x/{name}"], exact, rtol=1e-4)


@pytest.mark.quick
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s: ao.stepsizes(optax.adam(1e-2).init(s)), "ScaleByAdamState"),
        (lambda s: ao.stepsizes(s), "no state, a dict"),
        (lambda s: ao.stepsizes(None), "opt_state"),
        (lambda s: ao.stepsizes(ao.aida(1).init(s), b2=1.0), r"b2.*1\.0"),
        (lambda s: ao.stepsizes(ao.aida(1).init(s), eps=-1.0), r"eps.*-1\.0"),
        (lambda s: ao.stepsizes((ao.aida(1).init(s),) * 2), "'bias'.*one by one"),
        (
            lambda s: ao.stepsizes([ao.aida(1).init(s), ao.aida(1).init([s])]),
            "one by one",
        ),
        (lambda s: ao.stepsize_statistics(optax.adam(1).init(s)), "count.*int32"),
        (lambda s: ao.stepsize_statistics(s, b2=0.9), "holds no state"),
        (lambda s: ao.stepsize_statistics(s, stacked_axes=1), "'gain'"),
        (lambda s: ao.stepsize_statistics(s, stacked_axes="1"), "stacked_axes"),
        (lambda s: ao.stepsize_statistics({"a/b": 1.0, "a": {"b": 1.0}}), "'a/b'"),
    ],
)
def test_wrong_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call(params_like())


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
