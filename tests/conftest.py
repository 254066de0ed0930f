"""Eight CPU devices, strict ranks, and float64 only where a test asks for it."""

import os

from tests.helpers import QUICK_FLAGS

os.environ["XLA_FLAGS"] = (
    f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8 "
    + QUICK_FLAGS
)

import jax
import pytest

from tests.helpers import float64

jax.config.update("jax_numpy_rank_promotion", "raise")
# This leaves out LLVM's optimizations, not XLA's: what tests read in a compiled program
# is the same.
jax.config.update("jax_disable_most_optimizations", True)


@pytest.fixture
def x64():
    """Enables float64 for one test."""
    with float64():
        yield
