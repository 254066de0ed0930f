"""Does wrong input end in an error that names it?"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import adabelief_optax as ao
from tests.package.methods import FAMILY, every

TRANSFORMATIONS = {
    "scale_by_belief": ao.scale_by_belief,
    "scale_by_layerwise_belief": ao.scale_by_layerwise_belief,
    **{
        name: functools.partial(factory, learning_rate=1e-3)
        for name, factory in FAMILY.items()
    },
}
every_one = every(TRANSFORMATIONS, TRANSFORMATIONS)
every_family = every(FAMILY)


@every_one
@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("b1", 1.0, "[0, 1)"),
        ("b1", -0.1, "[0, 1)"),
        ("b2", 1.5, "[0, 1)"),
        ("b2", float("nan"), "[0, 1)"),
        ("b2", "0.9", "[0, 1)"),
        ("b2", jnp.array(1.0), "[0, 1)"),
        ("b2", np.array([0.9, 0.99]), "[0, 1)"),
        ("b2", 0.9j, "[0, 1)"),
        ("b1", None, "[0, 1)"),
        ("b1", True, "[0, 1)"),
        ("eps", -1e-8, ">= 0"),
        ("eps", float("inf"), ">= 0"),
        ("eps_root", -1e-8, ">= 0"),
        ("eps_root", float("nan"), ">= 0"),
        ("nesterov", 1, "True or False"),
        ("amsgrad", "yes", "True or False"),
        ("rectify", None, "True or False"),
        ("degenerate_to_sgd", 0, "True or False"),
        ("mu_dtype", jnp.int32, "dtype"),
        ("mu_dtype", "float23", "dtype"),
        ("nu_dtype", jnp.complex64, "dtype"),
        ("nu_dtype", jnp.zeros((), jnp.bfloat16), "as a string"),
    ],
)
def test_hyperparameters(factory, name, value, allowed):
    with pytest.raises(ValueError) as error:
        factory(**{name: value})
    assert name in str(error.value) and allowed in str(error.value)


@pytest.mark.parametrize("name", ["learning_rate", "weight_decay"])
@pytest.mark.parametrize(
    "value", [-1e-3, float("nan"), float("inf"), "1e-3", [], jnp.ones(2), True]
)
@every_family
def test_learning_rate_and_weight_decay(factory, name, value):
    with pytest.raises(ValueError, match=rf"^{name}\b"):
        factory(**{"learning_rate": 1e-3, name: value})


@every_family
def test_other_choices(factory):
    with pytest.raises(ValueError, match=r"decay.*'l2'"):
        factory(1e-3, decay="l2")
    with pytest.raises(ValueError, match=r"weight_decay_mask.*static_args"):
        factory(1e-3, weight_decay=0.1, weight_decay_mask=False)


def test_a_mask_function_inside_inject_hyperparams():
    # Optax takes it for a schedule, and what it returns for the count as the mask.
    tx = optax.inject_hyperparams(ao.adabelief)(
        1e-3, weight_decay=0.1, weight_decay_mask=lambda p: p.ndim > 1
    )
    with pytest.raises(ValueError, match="static_args"):
        tx.init(jnp.ones((2, 2)))


@pytest.mark.parametrize("value", [-1, 1.5, "2", None, True, jnp.array(2.0)])
def test_k(value):
    for factory in (ao.layerwise_projection, lambda k: ao.aida(1e-3, k=k)):
        with pytest.raises(ValueError, match=r"^k\b.*integer >= 0"):
            factory(k=value)


def test_traced_k_that_is_no_integer():
    with pytest.raises(ValueError, match=r"^k\b.*integer"):
        jax.jit(lambda k: ao.aida(1e-3, k=k).init(jnp.ones(2)))(2.0)


@pytest.mark.parametrize("value", [-1e-20, float("inf"), "0"])
def test_xi(value):
    with pytest.raises(ValueError, match=r"^xi\b.*>= 0"):
        ao.layerwise_projection(xi=value)


@pytest.mark.parametrize(
    "factory",
    [ao.ladam, ao.ladabelief, lambda lr, **k: ao.scale_by_layerwise_belief(**k)],
)
def test_processing(factory):
    with pytest.raises(ValueError, match=r"processing.*'mid'"):
        factory(1e-3, processing="mid")


@pytest.mark.parametrize("value", [-1, 1.5, "1", {"b": 0}, frozenset({0, -2})])
@pytest.mark.parametrize("name", ["aida", "ladam", "ladabelief"])
def test_stacked_axes(name, value):
    params = {"a": jnp.ones((2, 2))}
    with pytest.raises(ValueError, match="stacked_axes"):
        tx = getattr(ao, name)(1e-3, stacked_axes=value)
        tx.update(params, tx.init(params), params)


@pytest.mark.parametrize("processing", ["pre", "post"])
def test_too_few_axes(processing):
    params = {"layer": {"kernel": jnp.ones((2, 2)), "gain": jnp.ones(())}}
    for tx in (
        ao.aida(1e-3, stacked_axes=1),
        ao.ladam(1e-3, stacked_axes=1, processing=processing),
    ):
        with pytest.raises(ValueError, match=r"stacked_axes.*'layer/gain'"):
            tx.update(params, tx.init(params), params)


def test_layer_shape_must_be_known_inside_jit():
    tx = optax.inject_hyperparams(ao.ladam)(1e-3, stacked_axes=1)
    with pytest.raises(ValueError, match=r"stacked_axes.*static_args"):
        jax.jit(tx.init)(jnp.ones((2, 2)))


@every_one
def test_traced_values_pass(factory):
    def init(b1, b2, eps, eps_root):
        return factory(b1=b1, b2=b2, eps=eps, eps_root=eps_root).init(jnp.ones(2))

    jax.jit(init)(7.0, 7.0, -1.0, -1.0)


@every_one
@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_decay_rates_that_have_lost_their_digits(factory, dtype):
    # In bfloat16, 0.999 is 1, and Optax's own optimizers return NaN.
    with pytest.raises(ValueError, match=r"b2.*hyperparam_dtype"):
        jax.jit(lambda b2: factory(b2=b2).init(jnp.ones(2)))(dtype(0.999))


@every_family
def test_inject_hyperparams_with_bfloat16_parameters(factory):
    params = jnp.ones(3, jnp.bfloat16)
    with pytest.raises(ValueError, match="hyperparam_dtype"):
        optax.inject_hyperparams(factory)(1e-3).init(params)
    tx = optax.inject_hyperparams(factory, hyperparam_dtype=jnp.float32)(1e-3)
    updates, _ = jax.jit(tx.update)(params, tx.init(params), params)
    assert updates.dtype == jnp.bfloat16 and np.isfinite(updates).all()


@every_one
def test_integer_parameters(factory):
    params = {"table": {"ids": jnp.arange(3), "rows": jnp.ones(3)}}
    with pytest.raises(ValueError, match=r"'table/ids'.*int32"):
        factory().init(params)


@every_one
@pytest.mark.parametrize(
    ("gradients", "leaf"),
    [
        ({"a": {"w": jnp.ones((2, 3))}}, "a/b"),
        ({"a": {"w": jnp.ones((2, 3)), "b": jnp.ones(3), "c": jnp.ones(1)}}, "a/c"),
        ({"a": {"w": jnp.ones((2, 3)), "b": jnp.ones(4)}}, "a/b"),
        ({"a": {"w": jnp.ones(()), "b": jnp.ones(3)}}, "a/w"),
        ({"a": {"w": jnp.ones((2, 3)), "b": jnp.ones(3, jnp.complex64)}}, "a/b"),
        ({"a": {"w": jnp.ones((2, 3)), "b": jnp.ones(3, jnp.int32)}}, "a/b"),
    ],
    ids=["missing", "surplus", "shape", "scalar", "complex", "integer"],
)
@pytest.mark.parametrize("jit", [False, True])
def test_gradients_that_do_not_fit(factory, gradients, leaf, jit):
    params = {"a": {"w": jnp.ones((2, 3)), "b": jnp.ones(3)}}
    tx = factory()
    update = jax.jit(tx.update) if jit else tx.update
    with pytest.raises(ValueError, match=leaf):
        update(gradients, tx.init(params), params)


def test_nodes_that_do_not_fit():
    tx = ao.adabelief(1e-3)
    state = tx.init([jnp.ones(2), jnp.ones(3)])
    with pytest.raises(ValueError, match="do not match"):
        tx.update((jnp.ones(2), jnp.ones(3)), state)


@every_family
@pytest.mark.parametrize("decay", ["decoupled", "coupled", "fixed"])
@pytest.mark.parametrize("value", [0.1, optax.constant_schedule(0.1), jnp.array(0.1)])
def test_weight_decay_without_parameters(factory, decay, value):
    tx = factory(1e-3, weight_decay=value, decay=decay)
    state = tx.init(jnp.ones(2))
    with pytest.raises(ValueError, match=r"weight_decay.*param"):
        tx.update(jnp.ones(2), state)


@every_family
def test_amsgrad_with_a_state_made_without(factory):
    params = jnp.ones(2)
    with pytest.raises(ValueError, match="amsgrad"):
        factory(1e-3, amsgrad=True).update(params, factory(1e-3).init(params), params)


@every_family
def test_no_decay_needs_no_parameters(factory):
    tx = factory(1e-3)
    tx.update(jnp.ones(2), tx.init(jnp.ones(2)))
