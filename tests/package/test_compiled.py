"""Do leaves wait for one another on one CPU, and change no number by it?"""

import re

import jax
import jax.numpy as jnp
import pytest

import adabelief_optax as ao
from tests.helpers import python

# The other tests run on several devices, where nothing waits.
SCRIPT = """
import re
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

tx = ao.adabelief(0.1)
jaxpr = str(jax.make_jaxpr(tx.update)(g, tx.init(params)))
print("waits" if re.search(r"= lt \\w+ -1.0", jaxpr) else "does not wait")
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
    ("platform", "waits"),
    [("cpu", False), ("cuda", True), ("rocm", True), ("tpu", False)],
)
def test_the_average_waits_for_the_sums_on_gpu(platform, waits):
    params = jnp.ones((300, 300))
    tx = ao.aida(0.1)
    update = jax.jit(tx.update).trace(params, tx.init(params))
    lowered = update.lower(lowering_platforms=(platform,)).as_text()
    (body,) = re.findall(r"func.func private @_zero_after\(.*?\n  }", lowered, re.S)
    assert ("dense<1.000000e+00> : tensor<f32>" in body) == waits


def test_nothing_waits_for_sums_on_cpu():
    params = jnp.ones((300, 300))
    tx = ao.aida(0.1)
    compiled = jax.jit(tx.update).lower(params, tx.init(params)).compile().as_text()
    assert "multiply" in compiled and "constant(-1)" not in compiled
