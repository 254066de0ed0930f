"""Does wrong input end in an error that names it?"""

import inspect
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import adabelief_optax as ao
from tests.package.methods import FAMILY, every

every_family = every(FAMILY)
every_transformation = pytest.mark.parametrize(
    "factory", [ao.adabelief, ao.ladabelief], ids=["adabelief", "ladabelief"]
)

NAN, INFINITY = float("nan"), float("inf")
NO_NUMBERS = ["0.9", None, True, 0.9j, np.array([0.9, 0.99])]
ALMOST_1 = [f(x) for x in (1 - 1e-8, 1 - 1e-12) for f in (float, np.float64, np.array)]
# Of every argument: what the error says is allowed, and values that are not.
WRONG = [
    ("b1", r"in \[0, 1\)", [1.0, -0.1, 1.5, NAN, jnp.array(1.0), *NO_NUMBERS]),
    ("b1", "is 1.0 in float32", ALMOST_1),
    ("b2", r"in \[0, 1\)", [1.0, -0.1, 1.5, NAN, jnp.array(1.0), *NO_NUMBERS]),
    ("b2", "is 1.0 in float32", ALMOST_1),
    ("eps", "a finite number >= 0", [-1e-8, INFINITY, NAN, *NO_NUMBERS]),
    ("eps_root", "a finite number >= 0", [-1e-8, INFINITY, NAN, *NO_NUMBERS]),
    ("xi", "a finite number >= 0", [-1e-20, INFINITY, NAN, *NO_NUMBERS]),
    ("k", "an integer >= 0", [-1, 1.5, jnp.array(2.0), *NO_NUMBERS]),
    ("seed", "an integer >= 0", [-1, 0.5, *NO_NUMBERS]),
    ("mu", r"in \[0, 1\]", [-0.1, 1.1, NAN, *NO_NUMBERS]),
    ("learning_rate", "or a schedule", [NAN, INFINITY, [], jnp.ones(2), *NO_NUMBERS]),
    ("learning_rate", r"to maximize, use optax\.chain\(optax\.scale", [-1e-3]),
    ("weight_decay", "or a schedule", [-1e-3, NAN, [], "1e-3", True, jnp.ones(2)]),
    ("weight_decay_mask", "static_args", [False, jnp.ones(2)]),
    ("decay", "decoupled", ["l2", None]),
    ("processing", "pre", ["mid", None]),
    ("stacked_axes", "frozenset", [-1, 1.5, "1", {0}, frozenset({0.5})]),
    ("axis_name", "got 3", [3, {"kernel": 3}]),
    ("momentum", "True or False", [1, "yes", None]),
    ("nesterov", "True or False", [1, "yes", None]),
    ("amsgrad", "True or False", [1, "yes", None]),
    ("rectify", "True or False", [1, "yes", None]),
    ("degenerate_to_sgd", "True or False", [0, "yes", None]),
    ("mu_dtype", "dtype of at least 16 bits", [jnp.int32, "float23", "float8_e4m3fn"]),
    ("nu_dtype", "real .* dtype of at least 16 bits", [jnp.complex64, "float23"]),
    ("nu_dtype", "as a string", [jnp.zeros((), jnp.bfloat16)]),
    ("nu_dtype", "not be float16", ["float16"]),
]
NEEDED = {"learning_rate": 1e-3}
# Those of `stepsizes` and its statistics are in test_stepsizes.py.
ARGUMENTS = {
    f: set(inspect.signature(f).parameters)
    for name, f in inspect.getmembers(ao, inspect.isfunction)
    if not name.startswith("stepsize")
}


def said(function, **arguments):
    """Returns what the error says, or nothing."""
    needed = {x: NEEDED[x] for x in NEEDED.keys() & ARGUMENTS[function]}
    try:
        function(**(needed | arguments))
    except ValueError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(("name", "allowed", "values"), WRONG)
def test_every_function_names_a_wrong_argument(name, allowed, values):
    functions = [f for f in ARGUMENTS if name in ARGUMENTS[f]]
    errors = [(f, x, said(f, **{name: x})) for f in functions for x in values]
    assert errors
    wanted = re.compile(rf"{name} must .*{allowed}")
    assert not [x for x in errors if not wanted.match(x[-1])]


def test_no_argument_is_left_out():
    assert {name for name, *_ in WRONG} == set.union(*ARGUMENTS.values())


@pytest.mark.parametrize("name", ["b1", "b2"])
def test_a_float_just_below_1(name):
    for value in (1 - 1e-7, np.array(1 - 1e-7)):
        ao.adabelief(1e-3, **{name: value})


def test_a_float_that_is_below_1_in_float64(x64):
    ao.adabelief(1e-3, b1=1 - 1e-8)


def test_nesterov_without_momentum():
    with pytest.raises(ValueError, match="nesterov=True must have momentum=True"):
        ao.aida(1e-3, nesterov=True, momentum=False)


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


MASKS = {
    "arrays": lambda p: jax.tree.map(lambda x: x > 0, p),
    "of a leaf": lambda x: x.ndim > 1,
    "a name is missing": {"kernel": True},
    "a name too many": {"kernel": True, "bias": False, "more": True},
    "a name mistyped": {"kernle": True, "bias": False},
    "numbers": {"kernel": 1, "bias": 0},
}


@every_family
@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_a_mask_that_is_none(factory, mask):
    tx = factory(0.1, weight_decay=0.1, weight_decay_mask=mask)
    with pytest.raises(ValueError, match="weight_decay_mask"):
        tx.init({"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)})


def test_a_mask_function_inside_inject_hyperparams():
    # Optax takes it for a schedule, and what it returns for the count as the mask.
    tx = optax.inject_hyperparams(ao.adabelief)(
        1e-3, weight_decay=0.1, weight_decay_mask=lambda p: p.ndim > 1
    )
    with pytest.raises(ValueError, match="static_args"):
        tx.init(jnp.ones((2, 2)))


def test_traced_k_that_is_no_integer():
    with pytest.raises(ValueError, match=r"^k\b.*integer"):
        jax.jit(lambda k: ao.aida(1e-3, k=k).init(jnp.ones(2)))(2.0)


@pytest.mark.parametrize("processing", ["pre", "post"])
def test_too_few_axes(processing):
    params = {"layer": {"kernel": jnp.ones((2, 2)), "gain": jnp.ones(())}}
    for tx in (
        ao.aida(1e-3, stacked_axes=1),
        ao.ladam(1e-3, stacked_axes=1, processing=processing),
    ):
        with pytest.raises(ValueError, match=r"stacked_axes.*'layer/gain'"):
            tx.update(params, tx.init(params), params)


def test_the_value_of_a_known_array_is_checked_inside_a_trace():
    b1 = jnp.float32(1.5)
    with pytest.raises(ValueError, match="b1 must be"):
        jax.jit(lambda x: ao.adabelief(1e-3, b1=b1).init(x))(jnp.ones(1))


@every_family
def test_traced_values_pass(factory):
    def init(b1, b2, eps, eps_root):
        tx = factory(1e-3, b1=b1, b2=b2, eps=eps, eps_root=eps_root)
        return tx.init(jnp.ones(2))

    jax.jit(init)(7.0, 7.0, -1.0, -1.0)


@every_family
def test_decay_rates_that_have_lost_their_digits(factory):
    # In bfloat16, 0.999 is 1, and Optax's own optimizers return NaN.
    params = jnp.ones(3, jnp.bfloat16)
    for dtype in (jnp.float16, jnp.bfloat16):
        with pytest.raises(ValueError, match=r"b2.*hyperparam_dtype"):
            jax.jit(lambda b2: factory(1e-3, b2=b2).init(params))(dtype(0.999))
    with pytest.raises(ValueError, match="hyperparam_dtype"):
        optax.inject_hyperparams(factory)(1e-3).init(params)
    tx = optax.inject_hyperparams(factory, hyperparam_dtype=jnp.float32)(1e-3)
    updates, _ = jax.jit(tx.update)(params, tx.init(params), params)
    assert updates.dtype == jnp.bfloat16 and np.isfinite(updates).all()


NO_PARAMETERS = {
    "int32": jnp.arange(3),
    "float8_e4m3fn": jnp.ones(2, jnp.float8_e4m3fn),
    "str": "text",
    "object": object(),
}


@every_transformation
@pytest.mark.parametrize("dtype", NO_PARAMETERS)
def test_parameters_that_are_no_numbers(factory, dtype):
    params = {"table": {"odd": NO_PARAMETERS[dtype], "rows": jnp.ones(3)}}
    with pytest.raises(
        ValueError, match=rf"'table/odd' must be.*{dtype}.*eqx\.is_inexact_array"
    ):
        factory(1e-3).init(params)


@every_transformation
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
    tx = factory(1e-3)
    update = jax.jit(tx.update) if jit else tx.update
    with pytest.raises(ValueError, match=leaf):
        update(gradients, tx.init(params), params)


def test_nodes_that_do_not_fit():
    tx = ao.adabelief(1e-3)
    state = tx.init([jnp.ones(2), jnp.ones(3)])
    with pytest.raises(ValueError, match="do not match"):
        tx.update((jnp.ones(2), jnp.ones(3)), state)


@every_transformation
@pytest.mark.parametrize("decay", ["decoupled", "coupled", "fixed"])
@pytest.mark.parametrize("value", [0.1, optax.constant_schedule(0.1), jnp.array(0.1)])
def test_weight_decay_without_parameters(factory, decay, value):
    tx = factory(1e-3, weight_decay=value, decay=decay)
    state = tx.init(jnp.ones(2))
    with pytest.raises(ValueError, match=r"weight_decay.*param"):
        tx.update(jnp.ones(2), state)
