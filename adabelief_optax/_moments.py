"""m and s: the running averages, their bias correction, and the dtypes they have."""

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from adabelief_optax._checks import is_traced


def wide_dtype(dtype: Any) -> Any:
    """Returns the dtype in which all is computed: float32 for fewer bits than 32."""
    # Not by promotion, which JAX refuses where it was told to be strict.
    return dtype if jnp.finfo(dtype).bits >= 32 else jnp.dtype(jnp.float32)


def widen(x: Any) -> jax.Array:
    """Returns a gradient or moment in the dtype in which all is computed."""
    dtype = jnp.result_type(x)
    if isinstance(x, jax.Array) and wide_dtype(dtype) == dtype:
        return x
    return jnp.asarray(x, wide_dtype(dtype))


def is_wide(x: jax.Array) -> bool:
    """Returns whether an array has at least the 32 bits in which all is computed."""
    return jnp.finfo(x.dtype).bits >= 32


def real_dtype(x: jax.Array) -> Any:
    """Returns the dtype of an array's real part."""
    return jnp.finfo(x.dtype).dtype


def mu_dtype_of(dtype: Any, mu_dtype: Any) -> Any:
    """Returns the dtype of the average of a parameter of the given dtype.

    It is at least float32, or as asked for. A complex parameter keeps a complex
    average whatever is asked for.
    """
    if mu_dtype is None:
        return wide_dtype(dtype)
    asked = jax.dtypes.canonicalize_dtype(mu_dtype)
    if jnp.issubdtype(dtype, jnp.complexfloating):
        bits = jnp.finfo(asked).bits
        return jnp.dtype(jnp.complex128 if bits == 64 else jnp.complex64)
    return asked


def nu_dtype_of(dtype: Any, nu_dtype: Any) -> Any:
    """Returns the dtype of its second moment: real, else as `mu_dtype_of`."""
    if nu_dtype is not None:
        return jax.dtypes.canonicalize_dtype(nu_dtype)
    return jnp.finfo(mu_dtype_of(dtype, None)).dtype


def real(x: jax.Array) -> jax.Array:
    """Returns the real part, without tracing anything for a real x."""
    return x.real if jnp.iscomplexobj(x) else x


def abs_sq(x: jax.Array) -> jax.Array:
    """Returns |x|², real for complex x too."""
    return x * x if jnp.isrealobj(x) else x.real**2 + x.imag**2


def store(x: jax.Array, like: Any) -> jax.Array:
    """Returns x in the dtype of `like`.

    The largest float16 stands in for what is larger, so that a step stays finite.
    """
    dtype: Any = jnp.result_type(like)
    if x.dtype == dtype:
        return x
    if jnp.issubdtype(dtype, jnp.floating):
        x = real(x)
    if dtype == jnp.float16:
        limit = float(jnp.finfo(dtype).max)
        x = jnp.clip(x, -limit, limit)
    return x.astype(dtype)


def ema(b: float | jax.Array, x: jax.Array, average: jax.Array) -> jax.Array:
    """Returns m = b·m + (1−b)·x."""
    return b * widen(average) + (1 - b) * x


def second_moment(
    b2: float | jax.Array, eps_root: float | jax.Array, square: jax.Array, s: jax.Array
) -> jax.Array:
    """Returns s = b2·s + (1−b2)·S(|e|²) + eps_root."""
    # The parentheses matter: see `_xla.py`.
    return b2 * widen(s) + ((1 - b2) * square + eps_root)


def bias(b: float | jax.Array, t: jax.Array, dtype: Any) -> jax.Array:
    """Returns 1 − bᵗ in the given dtype: the sum of the weights of t steps.

    Each digit counts: near 1, `1 - b**t` has lost most of them. In the average the b
    that multiplies m is rounded to the dtype, and the 1 − b that multiplies g is not,
    so the weights add up to (1−b)·(1−rᵗ)/(1−r) with r the rounded b.
    """
    if isinstance(b, int | float):
        r = float(jnp.dtype(dtype).type(b))
        log, ratio = math.log(r) if r else -math.inf, (1 - b) / (1 - r)
        return -ratio * jnp.expm1(t.astype(dtype) * log)
    above_0 = jnp.maximum(jnp.asarray(b, dtype), jnp.finfo(dtype).eps)
    return -jnp.expm1(t.astype(dtype) * jnp.log1p(above_0 - 1))


def correct(x: jax.Array, bias: jax.Array) -> jax.Array:
    """Returns x / (1 − bᵗ)."""
    return x / bias


def zeros_like(p: Any, dtype: Any) -> jax.Array:
    """Returns zeros of p's shape and sharding."""
    if not is_traced(p):
        return jnp.zeros_like(p, dtype=dtype)
    zeros: jax.Array = _traced_zeros(p, dtype)
    return zeros


@partial(jax.jit, static_argnums=1)  # to be traced once a shape
def _traced_zeros(p: jax.Array, dtype: Any) -> jax.Array:
    # Inside jit zeros would be a constant, which every device may keep whole. What is
    # computed entry by entry from p is sharded as p is.
    return (real(p) < -jnp.inf).astype(dtype)
