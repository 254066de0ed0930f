"""The moving averages, their bias correction and the dtypes that hold them."""

from typing import Any

import chex
import jax
import jax.numpy as jnp


def widen(x: Any) -> jax.Array:
    """Returns a gradient or moment in at least float32, in which all is computed."""
    return jnp.asarray(x, jnp.promote_types(jnp.result_type(x), jnp.float32))


def mu_dtype_of(p: Any, mu_dtype: Any) -> Any:
    """Returns the dtype of p's average: at least float32, or as asked for.

    A complex parameter keeps a complex average whatever is asked for.
    """
    dtype = jnp.result_type(p)
    if mu_dtype is None:
        return jnp.promote_types(dtype, jnp.float32)
    asked = jax.dtypes.canonicalize_dtype(mu_dtype)
    if jnp.issubdtype(dtype, jnp.complexfloating):
        return jnp.promote_types(asked, jnp.complex64)
    return asked


def nu_dtype_of(p: Any, nu_dtype: Any) -> Any:
    """Returns the dtype of p's second moment: real, else as `mu_dtype_of`."""
    if nu_dtype is not None:
        return jax.dtypes.canonicalize_dtype(nu_dtype)
    return jnp.finfo(mu_dtype_of(p, None)).dtype


def real(x: jax.Array) -> jax.Array:
    """Returns the real part, without tracing anything for a real x."""
    return x.real if jnp.iscomplexobj(x) else x


def store(x: jax.Array, like: Any) -> jax.Array:
    """Returns x in the dtype of `like`.

    The largest float16 stands in for what is larger, so that a step stays finite.
    """
    dtype = jnp.result_type(like)
    if jnp.issubdtype(dtype, jnp.floating):
        x = real(x)
    if dtype == jnp.float16:
        limit = float(jnp.finfo(dtype).max)
        x = jnp.clip(x, -limit, limit)
    return x.astype(dtype)


def ema(b: chex.Numeric, x: jax.Array, average: jax.Array) -> jax.Array:
    """Returns m = b·m + (1−b)·x."""
    return b * average + (1 - b) * x


def second_moment(
    b2: chex.Numeric, square: jax.Array, s: jax.Array, eps_root: chex.Numeric
) -> jax.Array:
    """Returns s = b2·s + (1−b2)·S(|e|²) + eps_root."""
    # The parentheses matter. Were `+ eps_root` the last operation, one of a
    # single array, XLA on CPU would repeat it inside the parameter update, which
    # then needs the old s after it was overwritten: a copy and twice the work.
    return b2 * real(s) + ((1 - b2) * square + eps_root)


def bias(b: chex.Numeric, count: jax.Array) -> jax.Array:
    """Returns 1 − bᵗ, in at least float32, in which it is not 0 for b near 1."""
    return 1 - b**count


def correct(x: jax.Array, bias: jax.Array) -> jax.Array:
    """Returns x / (1 − bᵗ)."""
    return x / bias.astype(jnp.finfo(x.dtype).dtype)


def zeros_like(p: Any, dtype: Any) -> jax.Array:
    """Returns zeros of p's shape and sharding."""
    if not isinstance(p, jax.core.Tracer):
        return jnp.zeros_like(p, dtype=dtype)
    # Inside jit zeros would be a constant, which XLA is free to keep whole on every
    # device. What is computed entry by entry from p is sharded as p is.
    p = real(p)
    return jnp.logical_and(p > 0, p < 0).astype(dtype)


def zeros_per_layer(p: Any, stacked_axes: int, dtype: Any) -> jax.Array:
    """Returns one zero for each layer of p, sharded as p's leading axes are."""
    if isinstance(stacked_axes, jax.core.Tracer):
        raise ValueError(
            "stacked_axes is traced, but the shape of nu depends on it: name it in "
            "static_args of optax.inject_hyperparams"
        )
    # A sum, because it carries the sharding of the axes that are left over.
    zeros = zeros_like(p, dtype)
    return zeros.sum(tuple(range(stacked_axes, zeros.ndim)))
