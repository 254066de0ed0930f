"""Does a loop outside jit compile nothing after its first steps?"""

import jax
import jax.numpy as jnp
import optax
import pytest

import adabelief_optax as ao
from tests.package.methods import FAMILY, METHODS

pytestmark = pytest.mark.slow

COMPILED = "/jax/core/compile/backend_compile_duration"


@pytest.fixture
def compiled():
    """Returns a list that grows with every program that is compiled."""
    events = []

    def listen(event, duration, **kwargs):
        del kwargs
        if event == COMPILED:
            events.append(duration)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield events
    events.append(None)  # nothing unregisters a listener in public
    assert jax.jit(lambda x: x + 17)(1.0) == 18


PARAMS = {"kernel": jnp.ones((3, 4)), "bias": jnp.ones(4)}

LOOPS = {
    **FAMILY,
    **{
        name: factory
        for name, factory in METHODS.items()
        if name.endswith(("-rectify", "-amsgrad", "-post", "moments"))
    },
    "aida-k9": lambda rate: ao.aida(rate, k=9),
    "rounding": lambda rate: optax.chain(ao.adabelief(rate), ao.stochastic_rounding()),
}


@pytest.mark.quick
@pytest.mark.parametrize("factory", LOOPS.values(), ids=LOOPS)
def test_an_eager_loop_compiles_nothing(factory, compiled):
    tx = factory(1e-2)
    state = tx.init(PARAMS)

    def step(state):
        _, state = tx.update(PARAMS, state, PARAMS)
        ao.stepsizes(state)
        return state

    for _ in range(3):
        state = step(state)
    before = len(compiled)
    for _ in range(3):
        state = step(state)
    assert len(compiled) == before


# Programs of the first step of two leaves. An operation outside jit is one of its own.
FEW = {
    "bfloat16 state": (
        ao.adabelief(1e-2, mu_dtype="bfloat16", nu_dtype="bfloat16"),
        45,
    ),
    "stochastic_rounding": (ao.stochastic_rounding(), 20),
}


@pytest.mark.long
@pytest.mark.parametrize(("tx", "most"), FEW.values(), ids=FEW)
def test_rounding_does_not_run_operation_by_operation(tx, most, compiled):
    params = jax.tree.map(lambda x: x.astype(jnp.bfloat16), PARAMS)
    state = tx.init(params)
    jax.clear_caches()
    before = len(compiled)
    tx.update(params, state, params)
    assert 0 < len(compiled) - before < most


def test_projections_are_one_call_whatever_k(compiled):
    def programs(k):
        tx, g = ao.aida(0.1, k=k), jnp.ones(3)
        _, state = tx.update(g, tx.init(g))
        jax.clear_caches()
        before = len(compiled)
        tx.update(g, state)
        return len(compiled) - before

    # K rounds as single operations would be four or more for each round. There are 22
    # programs, and 29 if the rounds of a leaf are not one of them.
    assert 0 < programs(8) == programs(2) < 26


def test_the_listener_hears(compiled):
    before = len(compiled)
    jnp.ones(3)[:2] ** jnp.asarray(2.5)
    jax.jit(lambda x: x * 3 + before)(jnp.ones(before + 7))
    assert len(compiled) > before
