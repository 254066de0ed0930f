"""Does every optimizer with every option keep Optax's contract?"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import adabelief_optax as ao
from tests.helpers import assert_close, float64, gradient, params_like, train
from tests.package.methods import EXACT, FAMILY, METHODS, every

pytestmark = pytest.mark.filterwarnings("ignore:.*donated buffers were not usable")
every_method, every_exact_method, every_family = map(every, (METHODS, EXACT, FAMILY))
LOW = [jnp.float16, jnp.bfloat16, jnp.float32, jnp.complex64]
HIGH = [jnp.float64, jnp.complex128]
# All dtypes for two methods; bfloat16, which alone is rounded, for all options.
SOME = ("aida", "ladabelief")
QUICK_TYPED = {f"{name}-bfloat16": (f, jnp.bfloat16) for name, f in FAMILY.items()}
TYPED = {
    **{f"{n}-{d.dtype.name}": (FAMILY[n], d) for n in SOME for d in LOW + HIGH},
    **{f"{n}-bfloat16": (f, jnp.bfloat16) for n, f in METHODS.items()},
}


def dtypes(tree):
    return jax.tree.map(lambda x: x.dtype, tree)


@every_method
def test_minimizes_a_parabola(factory):
    tx = factory(optax.cosine_decay_schedule(0.1, 600))
    target = {"a": jnp.array([1.0, -2.0, 0.5]), "b": jnp.array([[3.0, 0.0]])}

    def loss(p):
        return optax.tree.norm(optax.tree.sub(p, target), squared=True)

    def step(carry, _):
        p, state = carry
        updates, state = tx.update(jax.grad(loss)(p), state, p)
        return (optax.apply_updates(p, updates), state), None

    start = optax.tree.zeros_like(target)
    (p, _), _ = jax.lax.scan(step, (start, tx.init(start)), length=600)
    # Decay of 1e-3 a step, not times the learning rate, pulls hardest.
    assert loss(p) < 0.05 * loss(start)


@every_exact_method
def test_jit_with_donation_is_eager_and_compiles_once(factory):
    tx, params, traces = factory(1e-2), params_like(), []

    @partial(jax.jit, donate_argnums=1)
    def update(g, state, params):
        traces.append(1)
        return tx.update(g, state, params, unexpected_extra_arg=1)

    jitted = train(tx, params, update=update)
    assert len(traces) == 1
    assert_close(jitted, train(tx, params), tolerance=1e-4)


@every_exact_method
def test_inject_hyperparams_without_static_args(factory):
    tx, params = factory(1e-2), params_like()
    injected = optax.inject_hyperparams(factory)(learning_rate=1e-2)
    injected = optax.GradientTransformation(
        jax.jit(injected.init), jax.jit(injected.update)
    )
    params_a, state_a = train(tx, params, update=jax.jit(tx.update))
    params_b, state_b = train(injected, params)
    assert_close(params_a, params_b, tolerance=1e-4)
    # A decay that is not injected has an empty state of its own in the chain.
    leaves_a, leaves_b = map(jax.tree.leaves, (state_a, state_b.inner_state))
    assert_close(leaves_a, leaves_b, tolerance=1e-4)


def test_an_injected_default_decay_changes_no_structure():
    injected = optax.inject_hyperparams(ao.adabelief)(1e-2)
    inner = injected.init(params_like()).inner_state
    plain = ao.adabelief(1e-2).init(params_like())
    assert jax.tree.structure(inner) == jax.tree.structure(plain)


@every_family
def test_schedule_is_constant(factory):
    a, _ = train(factory(1e-2), params_like())
    b, _ = train(factory(optax.constant_schedule(1e-2)), params_like())
    assert_close(a, b)


@every(TYPED, kept=QUICK_TYPED, argument="case")
def test_updates_have_the_gradient_dtype_and_the_state_never_changes(case):
    factory, dtype = case
    with float64() if dtype in HIGH else np.errstate():
        tx, params = factory(1e-2), params_like(dtype)
        state = tx.init(params)
        updates, new_state = jax.jit(tx.update)(gradient(params), state, params)
        assert dtypes(updates) == dtypes(params)
        jax.lax.cond(jnp.array(True), lambda: state, lambda: new_state)
        assert all(np.isfinite(u).all() for u in jax.tree.leaves(updates))


@every_family
@pytest.mark.parametrize("dtype", LOW, ids=lambda d: jnp.dtype(d).name)
def test_moments_are_at_least_float32(factory, dtype):
    state = factory(1e-2).init(params_like(dtype))
    for mu in jax.tree.leaves(optax.tree.get(state, "mu")):
        assert mu.dtype == jnp.promote_types(dtype, jnp.float32)
    for nu in jax.tree.leaves(optax.tree.get(state, "nu")):
        assert nu.dtype == jnp.float32


@every_method
def test_learning_rate_array_keeps_bfloat16(factory):
    tx, params = factory(jnp.float32(1e-2)), params_like(jnp.bfloat16)
    updates, _ = tx.update(gradient(params), tx.init(params), params)
    assert {u.dtype for u in jax.tree.leaves(updates)} == {jnp.dtype(jnp.bfloat16)}


@every_method
def test_tree_map_params(factory):
    tx, params = factory(1e-2), params_like()
    state = tx.init(params)
    same = optax.tree.map_params(tx, lambda p: p, state)
    assert_close(same, state)
    marked = optax.tree.map_params(
        tx, lambda _: "p", state, transform_non_params=lambda _: "other"
    )
    assert jax.tree.leaves(optax.tree.get(marked, "mu")) == ["p"] * 3
    assert jax.tree.leaves(optax.tree.get(marked, "nu")) == ["p"] * 3
    assert optax.tree.get(marked, "count") == "other"


@every_method
def test_abstract_init(factory):
    params = params_like()
    abstract = jax.tree.map(lambda p: jax.ShapeDtypeStruct(p.shape, p.dtype), params)
    assert_close(factory(1e-2).init(abstract), factory(1e-2).init(params))


@pytest.mark.slow
@every_family
def test_vmap_over_learning_rate_and_decay_rates(factory):
    params, g = params_like(), gradient(params_like())
    names = ("learning_rate", "b1", "b2", "eps", "eps_root")
    values = np.array(
        [[1e-2, 1e-3], [0.9, 0.5], [0.99, 0.9], [1e-8, 1e-6], [1e-8, 1e-6]], np.float32
    )

    def two_steps(*hyperparameters):
        tx = factory(**dict(zip(names, hyperparameters, strict=True)))
        _, state = tx.update(g, tx.init(params), params)
        return tx.update(g, state, params)[0]

    batched = jax.vmap(two_steps)(*values)
    for i in range(2):
        one = jax.tree.map(lambda u, i=i: u[i], batched)
        assert_close(one, two_steps(*values[:, i].tolist()), tolerance=1e-3)


@pytest.mark.long
@every_method
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


@every_method
def test_lowers_for_every_platform(factory):
    tx, params = factory(1e-2), params_like()
    traced = jax.jit(tx.update).trace(params, tx.init(params), params)
    for platform in ("tpu", "cuda", "rocm", "cpu"):
        assert traced.lower(lowering_platforms=(platform,)).as_text()
    assert traced.lower(lowering_platforms=("cpu", "cuda", "tpu")).as_text()


@every_family
def test_odd_trees(factory):
    tx = factory(1e-2)
    for params in (
        {},
        {"none": None, "a": jnp.ones(2)},
        {"scalar": jnp.ones(()), "empty": jnp.zeros((0, 3))},
        {"masked": optax.MaskedNode(), "a": jnp.ones(2)},
        {"a": 1.0, "b": np.ones(2, np.float32)},
        [jnp.ones(2), (jnp.ones((1, 1, 1)),)],
    ):
        state = tx.init(params)
        updates, state = tx.update(params, state, params)
        assert jax.tree.structure(updates) == jax.tree.structure(params)
        assert all(np.isfinite(x).all() for x in jax.tree.leaves((updates, state)))


@every_family
@pytest.mark.parametrize(
    ("options", "arrays"),
    [
        ({}, 3),  # count, mu, nu
        ({"nesterov": True, "rectify": True, "weight_decay": 0.1}, 3),
        ({"amsgrad": True}, 4),
    ],
    ids=str,
)
def test_an_option_has_only_the_arrays_that_it_needs(factory, options, arrays):
    state = factory(1e-2, **options).init(jnp.ones(3))
    assert len(jax.tree.leaves(state)) == arrays


@pytest.mark.slow
@every({name: FAMILY[name] for name in SOME})
@pytest.mark.parametrize(
    "wrap",
    [
        lambda tx: optax.MultiSteps(tx, every_k_schedule=2),
        lambda tx: optax.apply_if_finite(tx, max_consecutive_errors=3),
        lambda tx: optax.masked(tx, {"kernel": True, "bias": False, "gain": True}),
        lambda tx: optax.partition(
            {"a": tx, "b": optax.sgd(1e-2)}, {"kernel": "a", "bias": "b", "gain": "a"}
        ),
        lambda tx: optax.contrib.schedule_free(tx, 1e-2),
        lambda tx: optax.contrib.mechanize(tx),
    ],
    ids=[
        "MultiSteps",
        "apply_if_finite",
        "masked",
        "partition",
        "schedule_free",
        "mechanize",
    ],
)
def test_wrappers(factory, wrap):
    tx = wrap(factory(1e-2, weight_decay=1e-3))
    start = optax.tree.zeros_like(params_like())  # from where any step is visible
    params, state = train(tx, start, steps=6, update=jax.jit(tx.update))
    for p in jax.tree.leaves(params):
        assert np.isfinite(p).all() and np.any(p != 0)
    marked = optax.tree.map_params(tx, lambda _: "p", state)
    assert jax.tree.structure(marked) == jax.tree.structure(state)
    assert jax.tree.leaves(marked).count("p") >= 4  # two moments, of two leaves or more


@pytest.mark.slow
@every_family
def test_lookahead(factory):
    tx = optax.lookahead(factory(1e-2), sync_period=2, slow_step_size=0.5)
    params = optax.LookaheadParams.init_synced(params_like())
    state = tx.init(params)
    for i in range(4):
        updates, state = tx.update(gradient(params.fast, i), state, params)
        params = optax.apply_updates(params, updates)
    assert_close(params.fast, params.slow)
    assert not np.allclose(params.fast["bias"], params_like()["bias"])


@pytest.mark.slow
@every_family
def test_accumulated_gradients_equal_their_mean(factory):
    tx, params = factory(1e-2), params_like()
    multi = optax.MultiSteps(factory(1e-2), every_k_schedule=2)
    state, update = multi.init(params), jax.jit(multi.update)
    for i in range(2):
        updates, state = update(gradient(params, i), state, params)
    mean = jax.tree.map(
        lambda a, b: (a + b) / 2, gradient(params, 0), gradient(params, 1)
    )
    assert_close(
        updates, jax.jit(tx.update)(mean, tx.init(params), params)[0], tolerance=1e-4
    )


def test_default_of_stacked_axes_is_zero():
    for layerwise in (ao.aida, ao.ladam, ao.ladabelief):
        default = layerwise(1e-2)
        explicit = layerwise(1e-2, stacked_axes=0)
        assert_close(train(default, params_like()), train(explicit, params_like()))
