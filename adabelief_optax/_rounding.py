"""Stochastic rounding, for numbers kept in fewer bits than they are computed in.

A bfloat16 number has eight bits. Near the mean an average with β₂ = 0.999 moves by
a thousandth at a time, which is less than half of the last bit: rounded to nearest
it would never move again. So x is rounded up with the probability of how far up it
is between its two neighbours. Then the expectation is x, and small changes add up.

The random bits of a moment are a hash of the entry's new numbers, of the one that is
rounded and of the other moment, and of the count of steps. So they need no key and no
position in the array: the same state and gradient give the same step, however the array
is sharded, stacked with others or batched. Entries with equal numbers, of which a layer
has few at any one time, round alike.

The step is made of the moments as they are kept. The last rounding adds to the average
about a fifth of what former ones, still in it, have added; and nothing but the kept
numbers must be in memory at once.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from adabelief_optax._moments import is_wide, real, store

# The factors of the hash lowbias32 of C. Wellons.
_FIRST, _SECOND = 0x7FEB352D, 0x846CA68B


def round_moments(
    t: jax.Array,
    g: jax.Array,
    m: jax.Array,
    s: jax.Array,
    old_m: jax.Array,
    old_s: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Returns the new m and s, rounded stochastically if they are kept in 16 bits.

    Args:
        t: the count of steps.
        g: the gradient.
        m: the new average.
        s: the new second moment, with as many axes or fewer.
        old_m: the old average, in the dtype in which it is kept.
        old_s: the old second moment, likewise.
    """
    alike = s.ndim == m.ndim
    new_s = s
    if not is_wide(old_s):
        new_s = _rounded_moment(t, s, old_s, m if alike else None)
    if not is_wide(old_m):
        m = _rounded_moment(t, m, old_m, new_s if alike else g)
    return m, new_s


@jax.jit  # to be traced once a shape, not for every leaf
def _rounded_moment(
    t: jax.Array, x: jax.Array, old: jax.Array, other: jax.Array | None
) -> jax.Array:
    return store(stochastic_round(x, old.dtype, moment_bits(t, x, other)), old)


def moment_bits(t: jax.Array, x: jax.Array, other: jax.Array | None) -> jax.Array:
    """Returns random uint32, of which the first 16 bits are a moment's.

    They are a hash of the leading bits of the moment's new numbers, before they are
    rounded, and of another array's.
    """
    word = digits(x) & jnp.uint32(0xFFFF0000)
    if other is not None:
        word |= digits(other) >> 16
    # Added later than the numbers, lest one that grows as t does undo it.
    word = word * jnp.uint32(_FIRST) + t.astype(jnp.uint32)
    bits: jax.Array = (word ^ (word >> 15)) * jnp.uint32(_SECOND)
    return bits


def rounded_update(
    count: jax.Array, seed: jax.Array, u: jax.Array, p: Any
) -> jax.Array:
    """Returns the update that takes p to p + u, rounded stochastically in 16 bits."""
    dtype: Any = jnp.result_type(p)
    if not jnp.issubdtype(dtype, jnp.floating) or jnp.finfo(dtype).bits != 16:
        return u
    to_y: jax.Array = _difference(count, seed, jnp.asarray(u), jnp.asarray(p))
    return to_y


@partial(jax.jit, inline=True)  # outside jit one call
def _difference(
    count: jax.Array, seed: jax.Array, u: jax.Array, p: jax.Array
) -> jax.Array:
    info, wide, u = jnp.finfo(u.dtype), p.astype(jnp.float32), real(u)
    u = u.astype(jnp.float32)
    if info.bits < 32:
        # XLA may leave out that u was rounded to 16 bits, in one program and not in
        # another. This it may not leave out.
        u = jax.lax.reduce_precision(u, info.nexp, info.nmant)
    # Many parameters of 16 bits are equal. Those with equal updates too get numbers
    # that are spread evenly over them, with less noise than independent ones.
    bits = random_bits(p, u, count.astype(jnp.uint32) + seed) + _by_position(p)
    y = stochastic_round(wide + u, p.dtype, bits).astype(p.dtype)
    to_y = y.astype(jnp.float32) - wide
    return jnp.where(jnp.isfinite(to_y), to_y, u)


def _by_position(x: jax.Array) -> jax.Array:
    """Returns odd multiples of the position along each axis, added up mod 2³²."""
    numbers = jnp.zeros_like(x, jnp.uint32)
    for axis in range(x.ndim):
        # A power of the golden ratio's first 32 bits: odd, and without a pattern.
        factor = pow(0x9E3779B9, axis + 1, 2**32)
        index = jax.lax.broadcasted_iota(jnp.uint32, x.shape, axis)
        numbers += index * jnp.uint32(factor)
    return numbers


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def stochastic_round(x: jax.Array, dtype: Any, bits: jax.Array) -> jax.Array:
    """Returns x in float32, rounded to a number that a dtype of 16 bits has.

    Its derivative is that of x.

    Args:
        x: of any real dtype, or complex, of which the real part is taken.
        dtype: bfloat16 or float16.
        bits: random uint32 of the shape of x, of which the first 16 count.
    """
    x = real(x).astype(jnp.float32)
    dropped = jnp.finfo(jnp.float32).nmant - jnp.finfo(dtype).nmant
    # Adding less than the unit that is kept carries into it as often as it should.
    sums = digits(x) + (bits >> (32 - dropped))
    kept = sums & jnp.uint32(2**32 - 2**dropped)
    y = jax.lax.bitcast_convert_type(kept, jnp.float32)
    if jnp.finfo(dtype).nexp < jnp.finfo(jnp.float32).nexp:
        # Below its smallest normal number float16 has steps of equal length.
        step = float(jnp.finfo(dtype).smallest_subnormal)
        fraction = (bits >> 8).astype(jnp.float32) / 2**24
        subnormal = jnp.floor(x / step + fraction) * step
        y = jnp.where(jnp.abs(x) < float(jnp.finfo(dtype).tiny), subnormal, y)
    return jnp.where(jnp.isfinite(x), y, x)


@stochastic_round.defjvp
def _stochastic_round_jvp(dtype: Any, primals: Any, tangents: Any) -> Any:
    y = stochastic_round(primals[0], dtype, primals[1])
    return y, real(tangents[0]).astype(jnp.float32)


def random_bits(x: jax.Array, other: jax.Array, salt: jax.Array) -> jax.Array:
    """Returns uint32 bits of x's shape: a hash of the arrays' bits and of the salt."""
    word = leading_bits(x) << 16 | leading_bits(other)
    return _mix(word ^ _mix(salt))


def leading_bits(x: jax.Array) -> jax.Array:
    """Returns sign, exponent and seven digits of x, as the last bits of uint32."""
    x = jax.lax.stop_gradient(real(x)).astype(jnp.bfloat16)
    return jax.lax.bitcast_convert_type(x, jnp.uint16).astype(jnp.uint32)


def digits(x: jax.Array) -> jax.Array:
    """Returns the bits of x in float32, as uint32."""
    x = jax.lax.stop_gradient(real(x)).astype(jnp.float32)
    return jax.lax.bitcast_convert_type(x, jnp.uint32)


def _mix(x: jax.Array) -> jax.Array:
    """Returns a hash of 32 bits: the function lowbias32 of C. Wellons."""
    x = (x ^ (x >> 16)) * jnp.uint32(_FIRST)
    x = (x ^ (x >> 15)) * jnp.uint32(_SECOND)
    return x ^ (x >> 16)
