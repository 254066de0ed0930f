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


LABELS = {"kernel": "aida", "bias": "adam", "gain": "adabelief"}
MARKS = {
    "aida": ao.layerwise_projection(),
    "adam": ao.ignore_prediction(),
    "adabelief": optax.identity(),
}
WAYS = {
    "partition": (optax.partition(MARKS, LABELS),),
    "function": (optax.partition(MARKS, lambda tree: {k: LABELS[k] for k in tree}),),
    "masked": tuple(
        optax.masked(MARKS[label], {k: label == LABELS[k] for k in LABELS})
        for label in MARKS
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_layers_may_follow_different_rules(way):
    mixed, params = optax.chain(*WAYS[way], belief()), params_like()
    alone = {k: optax.chain(MARKS[LABELS[k]], belief()) for k in params}
    state = mixed.init(params)
    states = {k: tx.init(params[k]) for k, tx in alone.items()}
    expected = {}
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


def test_masked_belief_behind_a_projection():
    mask = {"kernel": True, "bias": True, "gain": False}
    tx = optax.chain(
        optax.masked(ao.layerwise_projection(), mask), optax.masked(belief(), mask)
    )
    params = params_like()
    updates, _ = tx.update(gradient(params), tx.init(params), params)
    assert_close(updates["gain"], gradient(params)["gain"])  # passed through


def test_a_mask_of_marked_gradients_is_no_function():
    # Optax would apply it to the marked gradients, and its result to the parameters,
    # which are not marked.
    def is_vector(tree):
        return jax.tree.map(lambda x: x.ndim == 1, tree)

    tx = optax.chain(
        optax.masked(ao.layerwise_projection(), {k: k == "kernel" for k in LABELS}),
        optax.masked(ao.ignore_prediction(), is_vector),
        belief(),
    )
    params = params_like()
    for given in (params, None):
        with pytest.raises(ValueError, match="tree of bools"):
            tx.update(params, tx.init(params), given)


def test_layerwise_belief_of_projected_residuals():
    tx = optax.chain(ao.layerwise_projection(), ao.scale_by_layerwise_belief())
    params, state = train(tx, params_like())
    assert state[1].nu["kernel"].shape == ()
    assert all(np.isfinite(p).all() for p in jax.tree.leaves(params))


OTHERS = {
    "scale_by_adam": optax.scale_by_adam(),
    "trace": optax.trace(0.9),
    "scale_by_lion": optax.scale_by_lion(),
    "add_decayed_weights": optax.add_decayed_weights(1e-2),
    "scale": optax.scale(-1e-3),
    "identity": optax.identity(),
    "schedule": optax.scale_by_learning_rate(optax.constant_schedule(1e-3)),
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
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
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("aida", {}),
        ("aida", {"k": 3, "amsgrad": True}),
        ("ladam", {}),
        ("ladabelief", {"processing": "post"}),
        ("ladabelief", {"amsgrad": True}),
    ],
)
def test_a_stack_of_layers_is_its_layers(name, options):
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


@pytest.mark.slow
def test_stacked_axes_inside_inject_hyperparams():
    params = {"a": jnp.ones((2, 3, 4)), "b": jnp.ones((2, 5))}
    tx = ao.aida(1e-2, stacked_axes=1)
    injected = optax.inject_hyperparams(ao.aida)(1e-2, stacked_axes=frozenset({0}))
    assert_close(
        train(injected, params, update=jax.jit(injected.update))[0],
        train(tx, params)[0],
        tolerance=1e-4,
    )
    with pytest.raises(ValueError, match=r"stacked_axes.*traced.*static_args"):
        traced = optax.inject_hyperparams(ao.aida)(1e-2, stacked_axes=1)
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
