"""Do the parts compose with Optax's, and say so where they do not?"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import adabelief_optax as ao
from tests.helpers import assert_close, gradient, params_like, train

NEEDS = "scale_by_belief"


def belief():
    return ao.scale_by_belief()


@pytest.mark.slow
def test_aida_is_a_plain_chain():
    chain = optax.chain(
        optax.clip_by_global_norm(1.0),
        ao.layerwise_projection(k=2),
        belief(),
        optax.add_decayed_weights(1e-2),
        optax.scale_by_learning_rate(optax.linear_schedule(0.1, 0.0, 10)),
    )
    named = optax.chain(
        optax.clip_by_global_norm(1.0),
        ao.aida(optax.linear_schedule(0.1, 0.0, 10), weight_decay=1e-2),
    )
    assert_close(train(chain, params_like())[0], train(named, params_like())[0])


@pytest.mark.slow
def test_a_mark_touches_no_numbers():
    clip, mark = optax.clip_by_global_norm(0.5), ao.layerwise_projection()
    behind = optax.chain(mark, clip, belief())
    before = optax.chain(clip, mark, belief())
    assert_close(train(behind, params_like())[0], train(before, params_like())[0])
    unclipped = optax.chain(mark, belief())
    with pytest.raises(AssertionError, match="Not equal"):
        assert_close(
            train(behind, params_like())[0], train(unclipped, params_like())[0]
        )


@pytest.mark.parametrize("as_function", [False, True])
def test_masked_chooses_the_projected_layers(as_function):
    mask = {"kernel": True, "bias": False, "gain": False}
    given = (lambda p: jax.tree.map(lambda x: x.ndim == 2, p)) if as_function else mask
    mixed = optax.chain(optax.masked(ao.layerwise_projection(), given), belief())
    projected = optax.chain(ao.layerwise_projection(), belief())
    params = params_like()
    updates = {}
    for name, tx in (("mixed", mixed), ("aida", projected), ("adabelief", belief())):
        state = tx.init(params)
        for i in range(3):
            updates[name], state = tx.update(gradient(params, i), state, params)
    assert_close(updates["mixed"]["kernel"], updates["aida"]["kernel"])
    assert_close(updates["mixed"]["bias"], updates["adabelief"]["bias"])
    assert not np.allclose(updates["aida"]["bias"], updates["adabelief"]["bias"])


@pytest.mark.parametrize("as_function", [False, True])
def test_partition_chooses_the_rule_of_each_layer(as_function):
    labels = {"kernel": "aida", "bias": "adam", "gain": "adabelief"}
    rules = optax.partition(
        {
            "aida": ao.layerwise_projection(),
            "adam": ao.ignore_prediction(),
            "adabelief": optax.identity(),
        },
        (lambda tree: {k: labels[k] for k in tree}) if as_function else labels,
    )
    mixed = optax.chain(rules, belief())
    alone = {
        "kernel": optax.chain(ao.layerwise_projection(), belief()),
        "bias": optax.chain(ao.ignore_prediction(), belief()),
        "gain": belief(),
    }
    params = params_like()
    expected = {k: train(tx, {k: params[k]})[0] for k, tx in alone.items()}
    # Gradients are drawn leaf by leaf, so take those of the whole tree for each.
    state = mixed.init(params)
    states = {k: tx.init(params[k]) for k, tx in alone.items()}
    for i in range(3):
        g = gradient(params, i)
        updates, state = mixed.update(g, state, params)
        for k, tx in alone.items():
            expected[k], states[k] = tx.update(g[k], states[k], params[k])
    assert_close(updates, expected)


@pytest.mark.slow
@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize(
    "rules",
    [
        {"a": {"k": 1}, "b": {"k": 5}},
        {"a": {"xi": 1e-20}, "b": {"xi": 0.5}},
        {"a": {"k": 1, "xi": 0.5}, "b": {"k": 1, "xi": 0.1}},
    ],
    ids=str,
)
def test_equal_layers_follow_their_own_rules(rules, jit):
    # Small layers are computed together, which must not mix up their numbers.
    layer = params_like()["kernel"]
    params = {"a0": layer, "b0": layer, "a1": layer, "b1": layer}
    marks = {name: ao.layerwise_projection(**rule) for name, rule in rules.items()}
    together = optax.chain(
        optax.partition(marks, {name: name[0] for name in params}), belief()
    )
    g = [gradient(layer, seed) for seed in range(3)]

    def updates_of(tx, params):
        state, update = tx.init(params), jax.jit(tx.update) if jit else tx.update
        for x in g:
            same = jax.tree.map(lambda _, x=x: x, params)
            updates, state = update(same, state, params)
        return updates

    alone = {
        name: updates_of(optax.chain(mark, belief()), layer)
        for name, mark in marks.items()
    }
    expected = {name: alone[name[0]] for name in params}
    assert_close(updates_of(together, params), expected)
    with pytest.raises(AssertionError, match="Not equal"):
        assert_close(alone["a"], alone["b"])


def test_optimizers_of_each_partition():
    tx = optax.partition(
        {"a": ao.aida(1e-2), "b": ao.ladam(1e-2)},
        {"kernel": "a", "bias": "b", "gain": "a"},
    )
    params, _ = train(tx, params_like(), update=jax.jit(tx.update))
    assert all(np.isfinite(p).all() for p in jax.tree.leaves(params))


def test_masked_belief_behind_a_projection():
    mask = {"kernel": True, "bias": True, "gain": False}
    tx = optax.chain(
        optax.masked(ao.layerwise_projection(), mask), optax.masked(belief(), mask)
    )
    params = params_like()
    updates, _ = tx.update(gradient(params), tx.init(params), params)
    assert_close(updates["gain"], gradient(params)["gain"])  # passed through


def test_a_mask_of_marked_gradients():
    def of_ndim(n):
        return lambda tree: jax.tree.map(lambda x: x.ndim == n, tree)

    def chain(mask):
        return optax.chain(
            optax.masked(ao.layerwise_projection(), of_ndim(2)),
            optax.masked(ao.ignore_prediction(), mask),
            belief(),
        )

    tx = chain(of_ndim(1)(params_like()))
    params, _ = train(tx, params_like(), update=jax.jit(tx.update))
    assert all(np.isfinite(p).all() for p in jax.tree.leaves(params))
    # Optax would apply a function to the marked gradients, and its result to the
    # parameters, which are not marked.
    with pytest.raises(ValueError, match="tree of bools"):
        train(chain(of_ndim(1)), params_like())


def test_projection_in_front_of_an_optimizer():
    chain = optax.chain(ao.layerwise_projection(), ao.adabelief(1e-2))
    aida = ao.aida(1e-2)
    assert_close(train(chain, params_like())[0], train(aida, params_like())[0])


def test_layerwise_belief_of_projected_residuals():
    tx = optax.chain(ao.layerwise_projection(), ao.scale_by_layerwise_belief())
    params, state = train(tx, params_like())
    assert state[1].nu["kernel"].shape == ()
    assert all(np.isfinite(p).all() for p in jax.tree.leaves(params))


@pytest.mark.parametrize(
    "other",
    [
        optax.scale_by_adam(),
        optax.adam(1e-3),
        optax.trace(0.9),
        optax.scale_by_lion(),
        optax.scale_by_rms(),
        optax.add_decayed_weights(1e-2),
        optax.scale(-1e-3),
        optax.identity(),
        optax.scale_by_learning_rate(optax.constant_schedule(1e-3)),
    ],
    ids=lambda tx: "",
)
@pytest.mark.parametrize("mark", [ao.layerwise_projection(), ao.ignore_prediction()])
def test_a_mark_that_meets_no_belief_is_an_error_that_helps(mark, other):
    tx, params = optax.chain(mark, other), params_like()
    with pytest.raises((TypeError, ValueError), match=NEEDS):
        train(tx, params)


def test_a_mark_is_no_array():
    g = jnp.ones(3)
    marked, _ = ao.layerwise_projection().update(g, optax.EmptyState())
    for use in (
        lambda: marked.astype(jnp.float32),
        lambda: marked.shape,
        lambda: jnp.asarray(marked),
        lambda: np.asarray(marked),
        lambda: g - marked,
        lambda: np.ones(3) * marked,
    ):
        with pytest.raises((AttributeError, TypeError), match=NEEDS):
            use()


def test_marks_pass_through_jit():
    # The rule is structure: a jitted belief must not mix up two of them.
    update = jax.jit(belief().update)
    params, results = params_like(), []
    for k in (0, 1, 2):
        state = belief().init(params)
        for i in range(2):
            marked, _ = ao.layerwise_projection(k=k).update(
                gradient(params, i), optax.EmptyState()
            )
            updates, state = update(marked, state)
        results.append(float(updates["kernel"][0, 0]))
    assert len(set(results)) == 3


def test_marks_that_exclude_each_other():
    g, none = jnp.ones(3), optax.EmptyState()
    project, ignore = ao.layerwise_projection(), ao.ignore_prediction()
    with pytest.raises(ValueError, match="ignore_prediction"):
        project.update(ignore.update(g, none)[0], none)
    with pytest.raises(ValueError, match="layerwise_projection"):
        ignore.update(project.update(g, none)[0], none)
    with pytest.raises(ValueError, match="marked already"):
        ignore.update(ignore.update(g, none)[0], none)
    stacked = ao.layerwise_projection(stacked_axes=1)
    with pytest.raises(ValueError, match="stacked_axes"):
        stacked.update(project.update(g, none)[0], none)
    named = ao.layerwise_projection(axis_name="i")
    with pytest.raises(ValueError, match="axis_name"):
        named.update(project.update(g, none)[0], none)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["aida", "ladam", "ladabelief"])
@pytest.mark.parametrize("options", [{}, {"processing": "post"}, {"amsgrad": True}])
def test_a_stack_of_layers_is_its_layers(name, options):
    if "processing" in options and name == "aida":
        options = {"k": 3}
    apart = {f"layer{i}": jnp.full((4, 3), 1.0 + i) for i in range(3)}
    apart["head"] = jnp.ones(4)
    tx = getattr(ao, name)(1e-1, **options)
    stacked_tx = getattr(ao, name)(
        1e-1, stacked_axes={"stack": 1, "head": 0}, **options
    )

    def stack(tree):
        layers = [tree[f"layer{i}"] for i in range(3)]
        return {"stack": jnp.stack(layers), "head": tree["head"]}

    state, stacked_state = tx.init(apart), stacked_tx.init(stack(apart))
    update, stacked_update = jax.jit(tx.update), jax.jit(stacked_tx.update)
    for i in range(20):
        g = gradient(apart, i)
        updates, state = update(g, state, apart)
        stacked_updates, stacked_state = stacked_update(
            stack(g), stacked_state, stack(apart)
        )
    assert_close(stacked_updates, stack(updates), tolerance=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["aida", "ladam", "ladabelief"])
def test_stacked_axes_inside_inject_hyperparams(name):
    factory = getattr(ao, name)
    params = {"a": jnp.ones((2, 3, 4)), "b": jnp.ones((2, 5))}
    tx = factory(1e-2, stacked_axes=1)
    injected = optax.inject_hyperparams(factory)(1e-2, stacked_axes=frozenset({0}))
    assert_close(
        train(injected, params, update=jax.jit(injected.update))[0],
        train(tx, params)[0],
        tolerance=1e-4,
    )
    with pytest.raises(ValueError, match=r"stacked_axes.*traced.*static_args"):
        traced = optax.inject_hyperparams(factory)(1e-2, stacked_axes=1)
        train(traced, params, update=jax.jit(traced.update))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["aida", "ladam", "ladabelief"])
def test_a_layer_spread_over_a_mapped_axis(name):
    whole = jnp.arange(12.0).reshape(4, 3) - 5
    g = [whole + 1, 2 * whole - 3]
    tx = getattr(ao, name)(1e-2)
    spread_tx = getattr(ao, name)(1e-2, axis_name="i")

    def two_steps(tx, p, g):
        _, state = tx.update(g[0], tx.init(p), p)
        return tx.update(g[1], state, p)[0]

    spread = jax.vmap(lambda p, g: two_steps(spread_tx, p, g), axis_name="i")
    parts = [x.reshape(2, 2, 3) for x in (whole, *g)]
    actual = spread(parts[0], parts[1:]).reshape(4, 3)
    assert_close(actual, two_steps(tx, whole, g), tolerance=1e-4)
