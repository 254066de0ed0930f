"""Does the package import what it says, in silence, and start no backend?"""

import ast
import sys

import pytest

from tests.helpers import ROOT, python

SOURCES = sorted((ROOT / "adabelief_optax").glob("*.py"))


def imported_packages(source):
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.name)
def test_imports(path):
    for name in imported_packages(path.read_text()):
        top = name.split(".")[0]
        assert top in {
            "jax",
            "optax",
            "chex",
            "adabelief_optax",
            *sys.stdlib_module_names,
        }
        assert "_src" not in name


def test_import_is_silent_and_light():
    code = (
        "import sys, adabelief_optax\n"
        "heavy = {'flax', 'matplotlib', 'sklearn', 'tqdm'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = python("-W", "error", "-c", code)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# `jax.distributed.initialize()` refuses once there is a backend.
TRACING = """
import socket
import jax, jax.numpy as jnp
import adabelief_optax as ao

params = {x: jax.ShapeDtypeStruct((512, 512), jnp.float32) for x in "ab"}
for factory in (ao.adabelief, ao.aida, ao.ladam, ao.ladabelief):
    tx = factory(1e-3)
    state = jax.eval_shape(tx.init, params)
    jax.eval_shape(tx.update, params, state, params)
with socket.socket() as free:
    free.bind(("localhost", 0))
    port = free.getsockname()[1]
jax.distributed.initialize(f"localhost:{port}", 1, 0)
"""


def test_tracing_starts_no_backend():
    # jax.device_count() did.
    done = python("-c", TRACING)
    assert done.returncode == 0, done.stderr
