"""Do we reproduce the authors' code, step by step, in float64?"""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

import adabelief_optax as ao
from tests.helpers import assert_close, walk
from tests.package.methods import every
from tests.package.ranger import ranger_adabelief

DATA = Path(__file__).parent / "data"
CASES = json.loads((DATA / "cases.json").read_text())
TRAJECTORIES = np.load(DATA / "trajectories.npz")
LEAVES = ("bias", "conv", "gain", "kernel")


def read(case, what):
    return {x: jnp.asarray(TRAJECTORIES[f"{case['name']}/{what}/{x}"]) for x in LEAVES}


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


OURS = {c["name"]: c for c in CASES if not c["family"].startswith("ranger")}
# The others are left out by `make test-fast`.
KEPT = "adabelief-default-eps adabelief-rectified aida-default ladam-decay-coupled"
every_case = every(OURS, KEPT.split(), argument="case")


@every_case
def test_published_code(case, x64):
    _, params, states = walk(
        optimizer(case), read(case, "grads"), read(case, "params0")
    )
    assert_close(params, read(case, "params"), 1e-9)
    for moment in ("mu", "nu"):
        last = jax.tree.map(lambda x: x[-1], optax.tree.get(states, moment))
        assert_close(last, read(case, moment), 1e-9)


def test_ranger_adabelief():
    # In float32, as the source computes.
    (case,) = [c for c in CASES if c["name"] == "ranger-adabelief-default"]
    tx = ranger_adabelief(
        case["lr"], case["b1"], case["b2"], case["eps"], case["alpha"], case["k"]
    )
    start = optax.LookaheadParams.init_synced(read(case, "params0"))
    _, params, _ = walk(tx, read(case, "grads"), start)
    assert_close(params.fast, read(case, "params"), 1e-5)
