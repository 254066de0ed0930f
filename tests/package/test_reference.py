"""Does the package do what the papers say, over shapes, scales and options?"""

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import adabelief_optax as ao
from tests.helpers import assert_close, float64, walk
from tests.package import reference

STEPS = 25
SHAPES = [(), (1,), (7,), (4, 3), (2, 3, 2), (0,), (3, 0)]
NUMERATORS = [{}, {"nesterov": True}, {"momentum": False}]


@st.composite
def runs(draw):
    family = draw(st.sampled_from(["adabelief", "aida", "ladam", "ladabelief"]))
    common = dict(
        learning_rate=draw(st.sampled_from([0.0, 1e-3, 0.1])),
        b1=draw(st.sampled_from([0.1, 0.5, 0.9])),
        b2=draw(st.sampled_from([0.0, 0.5, 0.9, 0.999])),
        eps=draw(st.sampled_from([0.0, 1e-16, 1e-8])),
        eps_root=draw(st.sampled_from([1e-16, 1e-8])),
        weight_decay=draw(st.sampled_from([0.0, 0.01])),
        decay=draw(st.sampled_from(["decoupled", "coupled", "fixed"])),
        **draw(st.sampled_from(NUMERATORS)),
        amsgrad=draw(st.booleans()),
        rectify=draw(st.booleans()),
        degenerate_to_sgd=draw(st.booleans()),
    )
    own, ours = {}, {}
    match family:
        case "aida":
            own = ours = dict(
                k=draw(st.integers(0, 12)),
                xi=draw(st.sampled_from([1e-20, 1e-3, 1.0])),
            )
        case "ladam" | "ladabelief":
            processing = draw(st.sampled_from(["pre", "post"]))
            ours = dict(processing=processing)
            own = dict(processing=processing, ignore=family == "ladam")
            if family == "ladam":  # the others need a residual
                common["b1"] = draw(st.sampled_from([0.0, 0.1, 0.5, 0.9]))
    shape = draw(st.sampled_from(SHAPES))
    scale = 10.0 ** draw(st.integers(-12, 12))
    is_complex = draw(st.booleans())
    seed = draw(st.integers(0, 2**31))
    return family, common, own, ours, shape, scale, is_complex, seed


def data(shape, scale, is_complex, seed):
    rng = np.random.default_rng(seed)
    grads = scale * rng.normal(size=(STEPS, *shape))
    start = rng.normal(size=shape)
    if is_complex:
        grads = grads + 1j * scale * rng.normal(size=grads.shape)
        start = start + 0j
    return np.asarray(grads), np.asarray(start)


def compare(tx, grads, start, **options):
    """Compares updates, moments and maxima of all steps with those of the papers."""
    updates, *moments = reference.trajectory(grads, start, **options)
    found, _, state = walk(tx, jnp.asarray(grads), jnp.asarray(start))
    assert_close(found, updates, 1e-9)
    for name, expected in zip(("mu", "nu", "nu_max"), moments, strict=True):
        if name != "nu_max" or options.get("amsgrad"):
            assert_close(optax.tree.get(state, name), expected, 1e-9)


def check(run):
    family, common, own, ours, *how = run
    grads, start = data(*how)
    with float64():
        tx = getattr(ao, family)(**common, **ours)
        compare(tx, grads, start, **common, **own)


@pytest.mark.slow
@settings(max_examples=10, deadline=None, derandomize=True)
@given(run=runs())
def test_equals_the_papers_in_a_few_cases(run):
    check(run)


@pytest.mark.long
@settings(max_examples=40, deadline=None, derandomize=True)
@given(run=runs())
def test_equals_the_papers(run):
    check(run)


# Each changes the steps, so an optimizer that forgot one would differ.
EVERY = dict(b1=0.5, b2=0.8, eps=0.1, eps_root=0.01, weight_decay=0.1, decay="fixed")
SWITCHES = dict(amsgrad=True, rectify=True, degenerate_to_sgd=False)
OWN = {
    "adabelief": ({}, {}),
    "aida": (dict(k=3, xi=0.1), dict(k=3, xi=0.1)),
    "ladam": (dict(processing="post"), dict(processing="post", ignore=True)),
    "ladabelief": (dict(processing="post"), dict(processing="post")),
}


@pytest.mark.slow
@pytest.mark.parametrize("family", OWN)
@pytest.mark.parametrize("numerator", NUMERATORS[1:], ids=str)
def test_every_option_reaches_every_optimizer(family, numerator):
    options = dict(learning_rate=0.1, **EVERY, **SWITCHES, **numerator)
    ours, theirs = OWN[family]
    with float64():
        tx = getattr(ao, family)(**options, **ours)
        compare(tx, *data((4, 3), 1.0, False, seed=1), **options, **theirs)


@pytest.mark.parametrize("is_complex", [False, True], ids=["real", "complex"])
@pytest.mark.parametrize("weigh", [0.0, 0.25, 0.5, 1.0])
def test_adafamily(weigh, is_complex):
    options = dict(b1=0.9, b2=0.99, eps=1e-8, eps_root=1e-10)
    grads, start = data((4, 3), 1.0, is_complex, seed=0)
    with float64():
        tx = optax.chain(
            ao.weigh_prediction(weigh), ao.scale_by_belief(**options), optax.scale(-0.1)
        )
        compare(tx, grads, start, learning_rate=0.1, weigh=weigh, **options)


@pytest.mark.slow
@pytest.mark.parametrize("k", [1, 2, 9])
def test_a_real_gradient_of_a_complex_parameter(k):
    # Of ⟨g,m⟩ the real part counts, whichever of the two is complex.
    rng = np.random.default_rng(k)
    start = rng.normal(size=7) + 1j * rng.normal(size=7)
    grads = [rng.normal(size=7) + 1j * rng.normal(size=7) for _ in range(6)]
    with float64():
        tx, p = ao.aida(0.1, eps=0.0, eps_root=1e-8, k=k), jnp.asarray(start)
        state = tx.init(p)
        for i, g in enumerate(grads):
            given = jnp.asarray(g if i < 3 else g.real)
            updates, state = tx.update(given, state, p)
            p = optax.apply_updates(p, updates)
        grads[3:] = [g.real for g in grads[3:]]
        updates, *_ = reference.trajectory(grads, start, learning_rate=0.1, k=k)
        assert_close(p, start + np.sum(updates, 0), 1e-9)
