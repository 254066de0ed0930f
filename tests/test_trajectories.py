"""Do we reproduce the authors' code, step by step, in float64?"""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import adabelief_optax as ao
from tests.ranger import ranger_adabelief

DATA = Path(__file__).parent / "data"
CASES = json.loads((DATA / "cases.json").read_text())
TRAJECTORIES = np.load(DATA / "trajectories.npz")
LEAVES = ("bias", "conv", "gain", "kernel")


def tree(case, what, leaves=LEAVES):
    return {leaf: TRAJECTORIES[f"{case['name']}/{what}/{leaf}"] for leaf in leaves}


def learning_rate(case):
    drop_at = case["lr_drop_at"]
    if not drop_at:
        return case["lr"]
    # The drop holds from the step of that number on, counted from 1 by the source.
    return lambda count: case["lr"] * jnp.where(count < drop_at, 1.0, case["lr_drop"])


def optimizer(case):
    common = dict(
        learning_rate=learning_rate(case),
        b1=case["b1"],
        b2=case["b2"],
        eps_root=case["eps"],
        weight_decay=case["weight_decay"],
        decay=case["decay"],
        rectify=case["rectify"],
        amsgrad=case["amsgrad"],
        degenerate_to_sgd=case["degenerate_to_sgd"],
    )
    match case["family"]:
        case "adabelief":
            return ao.adabelief(eps=case["eps"], **common)
        case "aida":
            return ao.aida(k=case["k"], xi=case["xi"], **common)
        case "ladam":
            return ao.ladam(**common)
        case "ladabelief":
            return ao.ladabelief(**common)


def run(tx, case):
    """Returns the parameters after each step, and the last state."""
    grads = jax.tree.map(jnp.asarray, tree(case, "grads"))
    start = jax.tree.map(jnp.asarray, tree(case, "params0"))

    def step(carry, g):
        params, state = carry
        updates, state = tx.update(g, state, params)
        params = optax.apply_updates(params, updates)
        return (params, state), params

    (_, state), params = jax.jit(lambda p, g: jax.lax.scan(step, (p, tx.init(p)), g))(
        start, grads
    )
    return params, state


def assert_close(actual, expected, rtol):
    for name, x in expected.items():
        scale = np.abs(x).max()  # an entry may cross zero
        np.testing.assert_allclose(actual[name], x, rtol=rtol, atol=rtol * scale)


OURS = [c for c in CASES if not c["family"].startswith("ranger")]


@pytest.mark.parametrize("case", OURS, ids=lambda c: c["name"])
def test_published_code(case, x64):
    params, state = run(optimizer(case), case)
    assert_close(params, tree(case, "params"), 1e-9)
    assert_close(optax.tree.get(state, "mu"), tree(case, "mu"), 1e-9)
    assert_close(optax.tree.get(state, "nu"), tree(case, "nu"), 1e-9)


def test_ranger_adabelief():
    # In float32, as the source computes.
    (case,) = [c for c in CASES if c["name"] == "ranger-adabelief-default"]
    tx = ranger_adabelief(
        case["lr"], case["b1"], case["b2"], case["eps"], case["alpha"], case["k"]
    )
    start = jax.tree.map(jnp.float32, tree(case, "params0"))
    grads = jax.tree.map(jnp.float32, tree(case, "grads"))

    def step(carry, g):
        params, state = carry
        updates, state = tx.update(g, state, params)
        params = optax.apply_updates(params, updates)
        return (params, state), params.fast

    params = optax.LookaheadParams.init_synced(start)
    _, fast = jax.jit(lambda p, g: jax.lax.scan(step, (p, tx.init(p)), g))(
        params, grads
    )
    assert_close(fast, tree(case, "params"), 1e-5)
