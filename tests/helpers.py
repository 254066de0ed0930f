"""What tests of several files need."""

import contextlib
import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax

ROOT = Path(__file__).parent.parent
# Compiling is what most tests do: their small programs in one piece. With the older of
# its two kinds of emitters XLA takes a third of the time; from JAX 0.11 on it has the
# newer alone, so that both are tested.
QUICK_FLAGS = "--xla_cpu_parallel_codegen_split_count=1" + (
    " --xla_cpu_use_fusion_emitters=false" if jax.__version_info__ < (0, 11) else ""
)
# For programs that tests start: without LLVM's optimizations too, as in conftest.py.
QUICK = {"XLA_FLAGS": QUICK_FLAGS, "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}


@contextlib.contextmanager
def float64():
    """Enables float64."""
    jax.config.update("jax_enable_x64", True)
    try:
        yield
    finally:
        jax.config.update("jax_enable_x64", False)


@contextlib.contextmanager
def as_on(platform):
    """Traces what is meant for another platform, for XLA on CPU."""

    def for_platform(*arrays, default, **others):
        return others.get(platform, default)(*arrays)

    jax.clear_caches()
    with mock.patch.object(jax.lax, "platform_dependent", for_platform):
        yield
    jax.clear_caches()


def assert_close(actual, expected, tolerance=1e-5):
    """Asserts equal structures, and leaves that are equal but for rounding.

    The tolerance is in units of the largest entry of each leaf: an entry near zero is
    the difference of larger ones, and has their rounding. 1e-5 is a few dozen roundings
    of float32.
    """
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for x, y in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        x, y = (_widened(leaf) for leaf in (x, y))
        assert x.shape == y.shape
        assert np.isfinite(y).all()  # else the tolerance would be infinite
        scale = np.abs(y).max(initial=0.0)
        np.testing.assert_allclose(x, y, rtol=0, atol=tolerance * scale)


def _widened(x):
    x = np.asarray(x)
    return x.astype(np.promote_types(x.dtype, np.float64))


def params_like(dtype=jnp.float32):
    """Returns a matrix, a vector and a scalar."""
    rng = np.random.default_rng(0)
    return {
        "kernel": jnp.asarray(rng.normal(size=(4, 6)), dtype),
        "bias": jnp.asarray(rng.normal(size=(6,)), dtype),
        "gain": jnp.asarray(rng.normal(), dtype),
    }


def gradient(params, seed=0):
    """Returns a random tree like the parameters."""
    leaves, treedef = jax.tree.flatten(params)
    rng = np.random.default_rng(seed)
    new = [jnp.asarray(rng.normal(size=p.shape), p.dtype) for p in leaves]
    return treedef.unflatten(new)


def train(tx, params, steps=5, update=None):
    """Returns parameters and state after steps with random gradients."""
    update = update or tx.update
    state = tx.init(params)
    for i in range(steps):
        updates, state = update(gradient(params, i), state, params)
        params = optax.apply_updates(params, updates)
    return params, state


def run(tx, gradients, params=None):
    """Returns the updates for gradients, one after the other, and the last state.

    The parameters, by default zeros, stay where they are: `walk` moves them.
    """
    if params is None:
        params = jax.tree.map(lambda g: jnp.zeros_like(g[0]), gradients)

    def step(state, g):
        updates, state = tx.update(g, state, params)
        return state, updates

    state, updates = jax.lax.scan(step, tx.init(params), gradients)
    return updates, state


def walk(tx, gradients, params):
    """Returns updates, parameters and states of all steps along the gradients."""

    def step(carry, g):
        params, state = carry
        updates, state = tx.update(g, state, params)
        params = optax.apply_updates(params, updates)
        return (params, state), (updates, params, state)

    @jax.jit
    def steps(params, gradients):
        return jax.lax.scan(step, (params, tx.init(params)), gradients)[1]

    return steps(params, gradients)


def python(*arguments, timeout=300, **environment):
    """Runs Python in the root of the repository, to its end."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, **QUICK, **environment},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def load(path):
    """Returns a Python file of the repository, given by its path, as a module."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
