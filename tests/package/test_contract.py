"""Does every optimizer with every option keep Optax's contract?"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.helpers import assert_close, gradient, params_like, train
from tests.package.methods import EXACT, FAMILY, METHODS, every

pytestmark = pytest.mark.filterwarnings("ignore:.*donated buffers were not usable")
every_method, every_exact_method, every_family = map(every, (METHODS, EXACT, FAMILY))
some = every({name: FAMILY[name] for name in ("aida", "ladabelief")})


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


@every_family
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


@every_family
def test_abstract_init(factory):
    params = params_like()
    abstract = jax.tree.map(lambda p: jax.ShapeDtypeStruct(p.shape, p.dtype), params)
    assert_close(factory(1e-2).init(abstract), factory(1e-2).init(params))


@pytest.mark.slow
@some
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


@every_method
def test_lowers_for_every_platform(factory):
    tx, params = factory(1e-2), params_like()
    traced = jax.jit(tx.update).trace(params, tx.init(params), params)
    for platform in ("tpu", "cuda", "rocm", "cpu"):
        assert traced.lower(lowering_platforms=(platform,)).as_text()
    assert traced.lower(lowering_platforms=("cpu", "cuda", "tpu")).as_text()


@every_family
@pytest.mark.parametrize("amsgrad", [False, True])
def test_odd_trees(factory, amsgrad):
    tx = factory(1e-2, amsgrad=amsgrad)
    for params in (
        None,
        {},
        [],
        {"none": None},
        {"none": None, "a": jnp.ones(2)},
        {"scalar": jnp.ones(()), "empty": jnp.zeros((0, 3))},
        {"masked": optax.MaskedNode(), "a": jnp.ones(2)},
        {"a": 1.0, "b": np.ones(2, np.float32)},
        [jnp.ones(2), (jnp.ones((1, 1, 1)),)],
    ):
        before = tx.init(params)
        updates, state = tx.update(params, before, params)
        assert jax.tree.structure(updates) == jax.tree.structure(params)
        assert jax.tree.structure(state) == jax.tree.structure(before)
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


PARTS = {"kernel": "a", "bias": "b", "gain": "a"}
WRAPPERS = {
    "MultiSteps": lambda tx: optax.MultiSteps(tx, every_k_schedule=2),
    "apply_if_finite": lambda tx: optax.apply_if_finite(tx, 3),
    "masked": lambda tx: optax.masked(
        tx, {"kernel": True, "bias": False, "gain": True}
    ),
    "partition": lambda tx: optax.partition({"a": tx, "b": optax.sgd(1e-2)}, PARTS),
    "schedule_free": lambda tx: optax.contrib.schedule_free(tx, 1e-2),
    "mechanize": lambda tx: optax.contrib.mechanize(tx),
}


@pytest.mark.slow
@some
@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_wrappers(factory, wrap):
    tx = wrap(factory(1e-2, weight_decay=1e-3))
    start = optax.tree.zeros_like(params_like())  # from where any step is visible
    params, state = train(tx, start, steps=6, update=jax.jit(tx.update))
    for p in jax.tree.leaves(params):
        assert np.isfinite(p).all() and np.any(p != 0)
    marked = optax.tree.map_params(tx, lambda _: "p", state)
    assert jax.tree.structure(marked) == jax.tree.structure(state)
    assert jax.tree.leaves(marked).count("p") >= 4  # two moments, of two leaves or more


def is_matrix(params):
    return jax.tree.map(lambda x: x.ndim > 1, params)


@every_family
@pytest.mark.parametrize(
    ("decay", "mask"),
    [
        ("decoupled", {"kernel": True, "bias": False, "gain": False}),
        ("coupled", is_matrix),
        ("fixed", is_matrix),
    ],
)
def test_mask_of_weight_decay(factory, decay, mask):
    params = jax.tree.map(jnp.ones_like, params_like())
    tx = factory(0.1, weight_decay=0.1, weight_decay_mask=mask, decay=decay)
    zero = optax.tree.zeros_like(params)
    updates, _ = tx.update(zero, tx.init(params), params)
    assert np.all(updates["kernel"] != 0)
    assert np.all(updates["bias"] == 0) and updates["gain"] == 0
