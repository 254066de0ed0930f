"""How is something computed in float64 without leaving it on for everything else?"""

from collections.abc import Iterator
from contextlib import contextmanager

import jax


@contextmanager
def double_precision() -> Iterator[None]:
    """Enables float64 for a while, and then sets again what was set before."""
    # `jax.enable_x64` is `jax.experimental.enable_x64` in older versions of JAX, and
    # newer ones lack that.
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    try:
        yield
    finally:
        jax.config.update("jax_enable_x64", before)
