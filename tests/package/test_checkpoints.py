"""Does a checkpoint of Optax's AdaBelief go on in ours, and ours in Optax's?

From Optax 0.2.9 on `optax.adabelief` decays weights, by a link of its chain. That chain
is written out here, for Optax versions before.
"""

import inspect

import jax
import jax.numpy as jnp
import optax
import orbax.checkpoint as ocp
import pytest

import adabelief_optax as ao
from tests.helpers import assert_close, gradient, params_like, train
from tests.package.methods import every

RATE, DECAY = 0.1, 0.01
MASK = {"kernel": True, "bias": False, "gain": False}
# Options of both, and the links that Optax's chain has for them.
CHAINS = {
    "plain": (RATE, {}, []),
    "decay": (RATE, dict(weight_decay=DECAY), [optax.add_decayed_weights(DECAY)]),
    "mask": (
        RATE,
        dict(weight_decay=DECAY, weight_decay_mask=MASK),
        [optax.add_decayed_weights(DECAY, MASK)],
    ),
    "schedule": (optax.linear_schedule(RATE, 0.0, 10), {}, []),
}


def pair(name):
    rate, options, links = CHAINS[name]
    theirs = optax.chain(
        optax.scale_by_belief(), *links, optax.scale_by_learning_rate(rate)
    )
    return ao.adabelief(rate, **options), theirs


def through_a_file(state, tx, path):
    """Returns the saved state as restored into what another optimizer starts with."""
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(path, state)
        checkpointer.wait_until_finished()
        start = jax.tree.map(ocp.utils.to_shape_dtype_struct, tx.init(params_like()))
        return checkpointer.restore(path, start)


@pytest.mark.parametrize("to_optax", [False, True], ids=["from optax", "to optax"])
@every({name: name for name in CHAINS}, kept=["plain"], argument="name")
def test_goes_on_where_the_other_stopped(name, to_optax, tmp_path):
    ours, theirs = pair(name)
    first, then = (ours, theirs) if to_optax else (theirs, ours)
    params, state = train(first, params_like(), 3)
    restored = through_a_file(state, then, tmp_path / "state")
    assert_close(restored, state, 0)
    g = gradient(params, 3)
    updates, after = then.update(g, restored, params)
    expected, after_expected = first.update(g, state, params)
    assert_close((updates, after), (expected, after_expected))


@pytest.mark.skipif(
    "weight_decay" not in inspect.signature(optax.adabelief).parameters,
    reason="optax.adabelief decays weights from Optax 0.2.9 on",
)
@pytest.mark.parametrize("name", ["decay", "mask"])
def test_optax_has_that_chain(name):
    rate, options, _ = CHAINS[name]
    params = {key: jnp.asarray(x) for key, x in params_like().items()}
    state = optax.adabelief(rate, **options).init(params)
    assert_close(state, pair(name)[1].init(params), 0)
