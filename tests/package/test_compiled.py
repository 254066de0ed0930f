"""Does XLA make of a step what it should, on each platform?

On GPU averages wait for the sums of their layer, which must change no number. The
program must hold no copies, and few instructions for each of many small leaves.
"""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import adabelief_optax as ao
from tests.helpers import QUICK_FLAGS, as_on, assert_close, gradient, python
from tests.package.methods import FAMILY, every


@pytest.mark.slow
@every({name: FAMILY[name] for name in ("aida", "ladabelief")})
def test_leaves_know_nothing_of_one_another(factory):
    tx = factory(0.1)
    g = gradient({"a": jnp.zeros((300, 300)), "b": jnp.zeros(7)})
    bad = dict(g, a=jnp.full_like(g["a"], jnp.nan))

    def second_step(g):
        _, state = tx.update(g, tx.init(g))
        return tx.update(g, state)[0]["b"]

    assert np.isfinite(jax.jit(second_step)(bad)).all()
    loss = jax.grad(lambda g: jnp.sum(second_step(g) ** 2))
    assert np.all(jax.jit(loss)(g)["a"] == 0)


LOW_LADABELIEF = functools.partial(ao.ladabelief, mu_dtype="bfloat16")
LOW_AIDA = functools.partial(ao.aida, mu_dtype="bfloat16")


@pytest.mark.slow
@pytest.mark.skipif(jax.__version_info__ < (0, 7), reason="lowers all branches")
@pytest.mark.parametrize(
    ("factory", "shape", "again", "on_tpu", "on_cpu", "on_gpu"),
    [
        (ao.adabelief, (8,), False, 0, 0, 0),
        (ao.aida, (8,), True, 16, 16, 4 * 3),  # three sums of four leaves at a time
        # And one of what these leave.
        (ao.aida, (300, 300), True, 16 * 3, 16 * 3, 16 * 3 + 4),
        # After one sum, XLA reads a large m from where it has been written. One of 16
        # bits is made again as another formula, which needs no barrier. A CPU then sums
        # rows first, all sums in one, and what these leave in another.
        (ao.ladabelief, (300, 300), False, 16, 16, 16 + 4),
        (LOW_LADABELIEF, (300, 300), False, 16, 16 * 2, 16 + 4),
        (LOW_AIDA, (300, 300), False, 16 * 3, 16 * 2, 16 * 3 + 4),
    ],
)
def test_sums_are_made_as_suits_the_platform(
    factory, shape, again, on_tpu, on_cpu, on_gpu
):
    """On a GPU leaves alike are summed together, and m is made again after it."""
    tx, params = factory(0.1), leaves(16, shape)
    step = jax.jit(tx.update).trace(params, tx.init(params))
    texts = [
        step.lower(lowering_platforms=(platform,)).as_text()
        for platform in ("tpu", "cpu", "cuda", "rocm")
    ]
    assert texts[2] == texts[3]
    waits = ["optimization_barrier" in text for text in texts[:3]]
    assert waits == [False, False, again]
    sums = [text.count("stablehlo.reduce(") for text in texts[:3]]
    assert sums == [on_tpu, on_cpu, on_gpu]


def compiled_step(tx, params):
    """Returns the text of a step that may overwrite parameters and state."""

    def step(params, state, g):
        updates, state = tx.update(g, state, params)
        return optax.apply_updates(params, updates), state

    step = jax.jit(step, donate_argnums=(0, 1))
    # As XLA does it for users, not with the flag that makes the tests quick.
    options = {"xla_cpu_use_fusion_emitters": True} if "emitters" in QUICK_FLAGS else {}
    return step.lower(params, tx.init(params), params).compile(options).as_text()


def leaves(n, shape):
    return {f"leaf{i}": jnp.ones(shape) for i in range(n)}


def copies(tx):
    return len(re.findall(r" copy\(", compiled_step(tx, leaves(4, (300, 300)))))


@every(
    {
        **FAMILY,
        "aida-amsgrad": functools.partial(ao.aida, amsgrad=True),
        "ladabelief-post": functools.partial(ao.ladabelief, processing="post"),
    }
)
def test_a_step_on_cpu_copies_no_array(factory):
    # Were eps_root added last, XLA would keep a copy of every old nu.
    assert copies(factory(0.1)) == 0


def test_the_count_of_copies_can_fail():
    assert copies(optax.adabelief(0.1)) == 4  # one a leaf, for that reason


def small(tx):
    return compiled_step(tx, leaves(48, (8,)))


def instructions(tx):
    return len(re.findall(r"^ +(?:ROOT )?%?[\w.-]+ = ", small(tx), re.MULTILINE))


@pytest.mark.slow
def test_small_layers_are_projected_together():
    # A compiler takes time for each instruction. Aida has three sums and a product for
    # each leaf beyond Adam, and its rounds are those of sixteen leaves at once: 1.7
    # times the instructions of Adam with two rounds, and 1.1 times that with five.
    # Projected one by one they were 2.2 times, and 1.6 times that.
    two, five = (instructions(ao.aida(0.1, k=k)) for k in (2, 5))
    assert two < 1.9 * instructions(optax.adam(0.1))
    assert five < 1.3 * two


@pytest.mark.slow
def test_the_three_sums_of_a_small_layer_are_one_reduction():
    assert len(re.findall(r" reduce\(", small(ao.aida(0.1)))) == 48


@pytest.mark.slow
@pytest.mark.skipif(jax.__version_info__ < (0, 7), reason="lowers all branches")
def test_a_bfloat16_state_takes_few_instructions():
    # Two roundings of a leaf by a whole hash each: 3.1 times those of a float32 state.
    # A shorter hash took 2.3 times, but its bits were not independent.
    low = ao.adabelief(0.1, mu_dtype="bfloat16", nu_dtype="bfloat16")
    assert instructions(low) < 3.4 * instructions(ao.adabelief(0.1))


@every(FAMILY)
def test_init_takes_few_instructions(factory):
    # A comparison and its operands, which XLA shares between both moments. With the
    # mean of a layer's zeros it was up to 26 per leaf.
    params = leaves(48, (8,))
    lowered = jax.jit(factory(0.1).init).lower(params)
    assert lowered.as_text().count("call @") <= 2 * 48
    text = lowered.compile().as_text()
    assert len(re.findall(r"^ +(?:ROOT )?%?[\w.-]+ = ", text, re.MULTILINE)) < 9 * 48


# What a step of a bfloat16 state keeps beside parameters, state and gradients.
TEMPORARY = """
import jax, jax.numpy as jnp, optax
import adabelief_optax as ao

shapes = [(512, 512), (257, 1030), (8, 100, 333), (300_000,), (499, 499)]
shapes += [(255, 256)] * 4 + [(300, 200, 8)]
stacked = [None] * 9 + [frozenset({-1})]
for dtype in (jnp.float32, jnp.bfloat16):
    for name in ("adabelief", "aida", "ladabelief", "post"):
        params = [jnp.ones(shape, dtype) for shape in shapes]
        switches = {} if name == "adabelief" else {"stacked_axes": stacked}
        if name == "post":
            name, switches["processing"] = "ladabelief", "post"
        low = {"mu_dtype": "bfloat16", "nu_dtype": "bfloat16"}
        tx = getattr(ao, name)(0.1, **low, **switches)

        def step(params, state, g):
            updates, state = tx.update(g, state, params)
            return optax.apply_updates(params, updates), state

        step = jax.jit(step, donate_argnums=(0, 1))
        compiled = step.lower(params, tx.init(params), params).compile()
        size = sum(x.size for x in params)
        print(compiled.memory_analysis().temp_size_in_bytes / size)
"""


@pytest.mark.slow
@pytest.mark.skipif(jax.__version_info__ < (0, 10), reason="XLA keeps more")
def test_a_bfloat16_state_raises_no_peak_on_cpu():
    flags = "--xla_force_host_platform_device_count=1"
    done = python("-W", "error", "-c", TEMPORARY, XLA_FLAGS=flags)
    assert done.returncode == 0, done.stderr
    bytes_a_parameter = list(map(float, done.stdout.split()))
    assert len(bytes_a_parameter) == 8 and max(bytes_a_parameter) < 0.2


@pytest.mark.parametrize(
    "switches",
    [
        {},
        {"amsgrad": True, "nesterov": True},
        {"rectify": True, "decay": "coupled", "weight_decay": 0.1},
        {"momentum": False},
        {"mu_dtype": "float32"},
        {"nu_dtype": "float32"},
    ],
    ids=str,
)
@every(
    {**FAMILY, "ladabelief-post": functools.partial(ao.ladabelief, processing="post")}
)
def test_large_leaves_of_16_bits_in_and_outside_jit(factory, switches):
    tx = factory(0.1, **{"mu_dtype": "bfloat16", "nu_dtype": "bfloat16"} | switches)
    params = leaves(2, (300, 300))
    g, m = (gradient(params, seed) for seed in (0, 1))
    state = tx.init(params)
    kept = jax.tree.map(lambda x, y: x.astype(y.dtype), m, optax.tree.get(state, "mu"))
    state = optax.tree.set(state, mu=kept)
    found, expected = jax.jit(tx.update)(g, state, params), tx.update(g, state, params)
    nu, expected_nu = (optax.tree.get(x[1], "nu") for x in (found, expected))
    assert_close(nu, expected_nu, 1e-2)
    for x, y in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert (x.shape, x.dtype) == (y.shape, y.dtype)
        assert np.isfinite(x.astype(float)).all()


@pytest.mark.parametrize(
    "stacked",
    [0, 1, frozenset({1}), frozenset({-1}), frozenset({0, -1})],
    ids=lambda axes: str(axes if isinstance(axes, int) else sorted(axes)),
)
@every({"aida": LOW_AIDA, "ladabelief": LOW_LADABELIEF})
def test_sums_of_rows_are_the_sums(factory, stacked):
    shapes = [(300, 300), (8, 40, 100), (257, 20), (257, 257), (45, 105), (5, 7)]
    tx = factory(0.1, stacked_axes=stacked)
    g, m = (gradient(list(map(jnp.zeros, shapes)), seed) for seed in (0, 1))
    m = [x.astype(jnp.bfloat16) for x in m]
    state = optax.tree.set(tx.init(g), mu=m)

    def second_moments(g):
        return optax.tree.get(tx.update(g, state)[1], "nu")

    def slope(g):
        return jax.grad(lambda g: sum(jnp.sum(s**2) for s in second_moments(g)))(g)

    found, slopes = jax.jit(second_moments)(g), jax.jit(slope)(g)
    with as_on("tpu"):
        expected = jax.jit(second_moments)(g), jax.jit(slope)(g)
    assert_close((found, slopes), expected)


@pytest.mark.long
@every(
    {
        "aida": ao.aida,
        "ladabelief-bfloat16": LOW_LADABELIEF,
        "ladabelief-post": functools.partial(ao.ladabelief, processing="post"),
        "aida-stacked": functools.partial(ao.aida, stacked_axes=frozenset({-1})),
    }
)
def test_what_is_done_for_a_platform_changes_no_number(factory):
    shapes = [(300, 300), (90_000,), (257, 257), (8,), (2, 4), (1,), (5, 300)]
    params = [jnp.ones(shape) for shape in shapes]
    grads, tx = gradient(params), factory(0.1)

    def two_steps(g):
        _, state = tx.update(g, tx.init(params))
        return tx.update([0.5 * x + 1 for x in g], state)[0]

    expected = jax.jit(two_steps)(grads)
    with as_on("cuda"):
        found = jax.jit(two_steps)(grads)
    for x, y in zip(found, expected, strict=True):
        np.testing.assert_allclose(x, y, rtol=2e-4, atol=1e-6)
