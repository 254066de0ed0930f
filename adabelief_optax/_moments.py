"""m and s: the moving averages, their bias correction and the dtypes that hold them."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax

from adabelief_optax._checks import is_traced
from adabelief_optax._settings import Settings


def widen(x: Any) -> jax.Array:
    """Returns a gradient or moment in at least float32, in which all is computed."""
    if isinstance(x, jax.Array) and is_wide(x):
        return x
    return jnp.asarray(x, jnp.promote_types(jnp.result_type(x), jnp.float32))


def is_wide(x: jax.Array) -> bool:
    """Returns whether an array has at least the 32 bits in which all is computed."""
    return jnp.finfo(x.dtype).bits >= 32


def mu_dtype_of(dtype: Any, mu_dtype: Any) -> Any:
    """Returns the dtype of the average of a parameter of the given dtype.

    It is at least float32, or as asked for. A complex parameter keeps a complex
    average whatever is asked for.
    """
    if mu_dtype is None:
        return jnp.promote_types(dtype, jnp.float32)
    asked = jax.dtypes.canonicalize_dtype(mu_dtype)
    if jnp.issubdtype(dtype, jnp.complexfloating):
        return jnp.promote_types(asked, jnp.complex64)
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


def store_updates(u: list[jax.Array], gradients: Any, params: Any) -> Any:
    """Returns the updates in the dtypes of the parameters.

    Without parameters, or with others than those of the gradients (such as a whole
    Equinox model), they have the dtypes of the gradients.
    """
    treedef: Any = jax.tree.structure(gradients)
    like = params if jax.tree.structure(params) == treedef else gradients
    return jax.tree.unflatten(treedef, map(store, u, jax.tree.leaves(like)))


def ema(b: float | jax.Array, x: jax.Array, average: jax.Array) -> jax.Array:
    """Returns m = b·m + (1−b)·x."""
    return b * widen(average) + (1 - b) * x


def second_moment(
    b2: float | jax.Array, eps_root: float | jax.Array, square: jax.Array, s: jax.Array
) -> jax.Array:
    """Returns s = b2·s + (1−b2)·S(|e|²) + eps_root."""
    # The parentheses matter. Were `+ eps_root` the last operation, one of a
    # single array, XLA on CPU would repeat it inside the parameter update, which
    # then needs the old s after it was overwritten: a copy and twice the work.
    return b2 * widen(s) + ((1 - b2) * square + eps_root)


def bias(b: float | jax.Array, count: jax.Array) -> jax.Array:
    """Returns 1 − bᵗ, in at least float32, in which it is not 0 for b near 1."""
    # An exponent that is a known integer would be compiled into the program, anew
    # at every step that runs outside jit.
    b = jnp.asarray(b, jnp.promote_types(jnp.result_type(b), jnp.float32))
    return 1 - b ** count.astype(b.dtype)


def numerators(
    settings: Settings, m: list[jax.Array], g: list[jax.Array], t: jax.Array
) -> list[jax.Array]:
    """Returns m̂ of each leaf: with Nesterov's look-ahead, or g without momentum."""
    if not settings.momentum:
        return g
    b1 = settings.b1
    c1 = bias(b1, t)
    if not settings.nesterov:
        return [correct(x, c1) for x in m]
    c1_next = bias(b1, jnp.asarray(optax.safe_increment(t)))
    return [
        ema(b1, correct(x, c1), correct(average, c1_next))
        for x, average in zip(g, m, strict=True)
    ]


def denominators(
    settings: Settings, d: list[jax.Array], t: jax.Array
) -> list[jax.Array]:
    """Returns √d̂ + eps of each leaf."""
    if not settings.rectify:
        c2 = bias(settings.b2, t)
        d = [correct(x, c2) for x in d]
    # The authors leave d uncorrected in a rectified step: it is in r.
    return [jnp.sqrt(x) + settings.eps for x in d]


def correct(x: jax.Array, bias: jax.Array) -> jax.Array:
    """Returns x / (1 − bᵗ)."""
    return x / bias.astype(jnp.finfo(x.dtype).dtype)


def zeros_like(p: Any, dtype: Any) -> jax.Array:
    """Returns zeros of p's shape and sharding."""
    if not is_traced(p):
        return jnp.zeros_like(p, dtype=dtype)
    zeros: jax.Array = _traced_zeros(p, dtype)
    return zeros


@functools.partial(jax.jit, static_argnums=1)  # to be traced once a shape
def _traced_zeros(p: jax.Array, dtype: Any) -> jax.Array:
    # Inside jit zeros would be a constant, which XLA is free to keep whole on every
    # device. What is computed entry by entry from p is sharded as p is.
    return (real(p) < -jnp.inf).astype(dtype)
