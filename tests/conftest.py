"""Eight CPU devices, strict ranks, and float64 only where a test asks for it."""

import os
import signal
import tempfile
from pathlib import Path

from tests.helpers import QUICK_FLAGS, ROOT

# A shell starts what runs in the background with Ctrl-C ignored, and so its children.
signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ["XLA_FLAGS"] = (
    f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8 "
    + QUICK_FLAGS
)
# Jupyter and Matplotlib write into the home folder; where they may not, into another.
if not os.access(Path.home(), os.W_OK):
    HOME = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
    os.environ["HOME"] = HOME.name

import jax
import pytest

from tests.helpers import float64

jax.config.update("jax_numpy_rank_promotion", "raise")
# This leaves out LLVM's optimizations, not XLA's: what tests read in a compiled program
# is the same.
jax.config.update("jax_disable_most_optimizations", True)
# What took long to compile is kept for the next run, by the program, the versions and
# the flags: `make clean` removes it.
if os.access(ROOT, os.W_OK):
    jax.config.update("jax_compilation_cache_dir", str(ROOT / ".jax_cache"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


@pytest.fixture
def x64():
    """Enables float64 for one test."""
    with float64():
        yield
