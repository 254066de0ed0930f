"""Do arrays whose values are known work as arguments inside a trace, and by pickle?"""

import cloudpickle
import jax
import jax.numpy as jnp
import optax
import pytest

import adabelief_optax as ao
from tests.helpers import assert_close, gradient, params_like, run, train
from tests.package.methods import FAMILY

pytestmark = pytest.mark.slow

every_family = pytest.mark.parametrize("factory", FAMILY.values(), ids=FAMILY)

NUMBERS = {"b1": 0.8, "b2": 0.99, "eps": 1e-6, "eps_root": 1e-7, "weight_decay": 1e-3}


@every_family
def test_known_arrays_inside_a_trace(factory):
    arrays = {name: jnp.float32(x) for name, x in NUMBERS.items()}
    params = params_like()
    g = gradient(params)

    def step(g, params):
        tx = factory(jnp.float32(1e-2), **arrays)
        return tx.update(g, tx.init(params), params)[0]

    tx = factory(1e-2, **NUMBERS)
    assert_close(
        jax.jit(step)(g, params), tx.update(g, tx.init(params), params)[0], 1e-4
    )


@pytest.mark.quick
@every_family
def test_the_usual_way_to_restore_a_checkpoint(factory):
    # The comparison of a known array is traced too inside a trace.
    rate = jnp.float32(1e-3)
    tx = optax.inject_hyperparams(factory)(rate)
    abstract = jax.eval_shape(tx.init, params_like())
    assert jax.tree.structure(abstract) == jax.tree.structure(tx.init(params_like()))


def test_known_arrays_of_a_projection_and_of_stepsizes():
    g = jnp.array([1.0, 2.0])

    def step(g):
        tx = ao.aida(1e-2, k=jnp.int32(3), xi=jnp.float32(1e-20))
        _, state = tx.update(g, tx.init(g))
        return ao.stepsizes(state, b2=jnp.float32(0.999), eps=jnp.float32(0))

    _, state = run(ao.aida(1e-2, k=3), g[None])
    assert_close(jax.jit(step)(g), ao.stepsizes(state, eps=0.0))


BELIEF = ao.scale_by_belief(eps=0.0, eps_root=1e-8)
PICKLED = {
    **{name: factory(1e-2) for name, factory in FAMILY.items()},
    "switches": ao.aida(1e-2, amsgrad=True, rectify=True),
    "ignored": optax.chain(ao.ignore_prediction(), BELIEF),
    "weighed": optax.chain(ao.weigh_prediction(0.3), BELIEF),
}


@pytest.mark.parametrize("tx", PICKLED.values(), ids=PICKLED)
def test_cloudpickle(tx):
    copied = cloudpickle.loads(cloudpickle.dumps(tx))
    assert_close(train(copied, params_like()), train(tx, params_like()), 0)


@every_family
def test_injection_needs_parameters_only_to_decay(factory):
    g = params_like()
    injected = optax.inject_hyperparams(factory)(1e-2)
    state = injected.init(g)
    plain = factory(1e-2)
    expected, _ = plain.update(g, plain.init(g))
    assert_close(jax.jit(injected.update)(g, state)[0], expected)
    decaying = optax.inject_hyperparams(factory)(1e-2, weight_decay=0.1)
    for update in (decaying.update, jax.jit(decaying.update)):
        with pytest.raises(ValueError, match="weight_decay needs the parameters"):
            update(g, decaying.init(g))


@every_family
def test_a_decay_has_one_structure_injected_or_not(factory):
    for decay in (None, 0.0, 0.1):
        plain = factory(1e-2, weight_decay=decay).init(params_like())
        injected = optax.inject_hyperparams(factory)(1e-2, weight_decay=decay)
        inner = injected.init(params_like()).inner_state
        assert jax.tree.structure(inner) == jax.tree.structure(plain)


@pytest.mark.parametrize("factory", [ao.adabelief, ao.aida, ao.ladabelief])
def test_symbolic_shapes(factory):
    export = pytest.importorskip("jax.export")
    shape = export.symbolic_shape("b, c")
    for options in ({}, {"mu_dtype": "bfloat16", "nu_dtype": "bfloat16"}):
        tx = factory(1e-2, **options)
        p = jax.ShapeDtypeStruct(shape, jnp.float32)
        state = jax.eval_shape(tx.init, p)
        exported = export.export(jax.jit(tx.update))(p, state, p)
        x = jnp.arange(15.0).reshape(3, 5) - 4
        updates, _ = exported.call(x, tx.init(x), x)
        assert_close(updates, jax.jit(tx.update)(x, tx.init(x), x)[0], 1e-4)
