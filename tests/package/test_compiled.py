"""Does XLA make of a step what it should, on each platform?

On one CPU leaves wait for one another, and on GPU averages for the sums of their layer;
they must change no number by it. The program must hold no copies, and few instructions
for each of many small leaves.
"""

import functools
import re

import jax
import jax.numpy as jnp
import optax
import pytest

import adabelief_optax as ao
from tests.helpers import QUICK_FLAGS, python
from tests.package.methods import FAMILY, every

# The other tests run on several devices, where nothing waits.
SCRIPT = """
import jax, jax.numpy as jnp, numpy as np, optax
import adabelief_optax as ao

assert jax.device_count() == {devices}
params = {{"a": jnp.ones((300, 300)), "b": jnp.ones(7), "c": jnp.ones((400, 200))}}
g = {{k: jax.random.normal(jax.random.key(i), p.shape)
      for i, (k, p) in enumerate(params.items())}}


def two_steps(g, lr, tx=ao.aida):
    tx = tx(lr)
    _, state = tx.update(g, tx.init(params))
    return tx.update(g, state)[0]


# Nothing waits outside jit, so that is what it must equal.
for tx in (ao.adabelief, ao.aida, ao.ladabelief):
    plain = two_steps(g, 0.1, tx)
    jitted = jax.jit(lambda g: two_steps(g, 0.1, tx))(g)
    batched = jax.vmap(lambda lr: two_steps(g, lr, tx))(jnp.array([0.1, 1.0]))
    for k in g:
        np.testing.assert_allclose(jitted[k], plain[k], rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(batched[k][0], plain[k], rtol=1e-4, atol=1e-6)

# What is not finite stays in its leaf.
bad = dict(g, a=jnp.full_like(g["a"], jnp.nan))
assert np.isfinite(jax.jit(lambda g: two_steps(g, 0.1))(bad)["c"]).all()

# Nor does a derivative pass from leaf to leaf.
def loss(g):
    return jnp.sum(two_steps(g, 0.1, ao.adabelief)["c"] ** 2)
assert np.all(jax.jit(jax.grad(loss))(g)["a"] == 0)

# On TPU nothing ever waits.
tx = ao.adabelief(0.1)
step = jax.jit(tx.update).trace(g, tx.init(params))
cpu, tpu = (step.lower(lowering_platforms=(p,)).as_text() for p in ("cpu", "tpu"))
print("does not wait" if cpu == tpu else "waits")
"""


@pytest.mark.slow
@pytest.mark.parametrize(("devices", "expected"), [(1, "waits"), (2, "does not wait")])
def test_order(devices, expected):
    flags = f"--xla_force_host_platform_device_count={devices}"
    done = python("-W", "error", "-c", SCRIPT.format(devices=devices), XLA_FLAGS=flags)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == expected


@pytest.mark.skipif(jax.__version_info__ < (0, 7), reason="lowers all branches")
@pytest.mark.parametrize(
    ("tx", "shape", "waits"),
    [
        (ao.aida(0.1), (300, 300), True),
        (ao.aida(0.1), (8, 8), False),  # which costs little to copy
        (ao.adabelief(0.1), (300, 300), False),  # which has no sums
        (ao.ladabelief(0.1), (300, 300), False),  # whose kernel of the mean writes m
    ],
    ids=["aida", "aida-small", "adabelief", "ladabelief"],
)
def test_the_average_waits_for_the_sums_on_gpu_alone(tx, shape, waits):
    params = jnp.ones(shape)
    step = jax.jit(tx.update).trace(params, tx.init(params))
    cpu, tpu, cuda, rocm = (
        step.lower(lowering_platforms=(platform,)).as_text()
        for platform in ("cpu", "tpu", "cuda", "rocm")
    )
    assert cpu == tpu
    assert cuda == rocm
    assert (cuda != tpu) == waits


def compiled_step(tx, params):
    """Returns the text of a step that may overwrite parameters and state."""

    def step(params, state, g):
        updates, state = tx.update(g, state, params)
        return optax.apply_updates(params, updates), state

    step = jax.jit(step, donate_argnums=(0, 1))
    # As XLA does it for users, not with the flag that makes the tests quick.
    options = {"xla_cpu_use_fusion_emitters": True} if QUICK_FLAGS else {}
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


def test_small_layers_are_projected_together():
    # A compiler takes time for each instruction. Aida has three sums and a product for
    # each leaf beyond Adam, and its rounds are those of sixteen leaves at once: 1.7
    # times the instructions of Adam with two rounds, and 1.1 times that with five.
    # Projected one by one they were 2.2 times, and 1.6 times that.
    two, five = (instructions(ao.aida(0.1, k=k)) for k in (2, 5))
    assert two < 1.9 * instructions(optax.adam(0.1))
    assert five < 1.3 * two


def test_the_three_sums_of_a_small_layer_are_one_reduction():
    assert len(re.findall(r" reduce\(", small(ao.aida(0.1)))) == 48
