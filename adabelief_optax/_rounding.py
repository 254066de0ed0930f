"""Stochastic rounding, for numbers kept in fewer bits than they are computed in.

A bfloat16 number has eight significant bits. An average with β₂ = 0.999 moves by at
most a thousandth at a time when it falls, which is less than half the gap to the next
such number: rounded to nearest it would never move again. So we round x up or down at
random: three quarters of the way up to its upper neighbour, it goes up with probability
3/4. On average nothing is lost, and small changes add up.

The random bits of a moment are a hash of the count of steps, of the entry's position in
its array and of the number that is replaced. They need no key, and the same state and
gradient give the same step, in whatever program, however the array is sharded. All
three are needed, and must be mixed well:

- The count, because a number that stays put for many steps must be rounded by random
  bits and not by a regular sequence, which would keep it where it is.
- The position, because entries with equal numbers would round alike and stay equal for
  ever. The error of their mean would then be that of a single entry.
- The old number, because arrays whose positions are the same must round apart.

The second moment takes one half of its hash and the average the other half of its own,
so that they round independently even where both hold the same number.

The residual uses the average before it is rounded. The step uses the rounded moments,
as stored, so no unrounded copy has to stay in memory. The price is small: the
newest rounding adds about a fifth of the error that earlier roundings have left in the
average.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from adabelief_optax._moments import is_wide, real, store
from adabelief_optax._xla import average_again

# The factors of the hash lowbias32 of C. Wellons.
_FIRST, _SECOND = 0x7FEB352D, 0x846CA68B
_GOLDEN = 0x9E3779B9  # the first 32 bits of the golden ratio's fraction


def round_moments(
    t: jax.Array,
    b1: Any,
    g: jax.Array,
    m: jax.Array,
    s: jax.Array,
    mu: jax.Array,
    nu: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Returns the new m and s, rounded stochastically if they are kept in 16 bits.

    Args:
        t: the count of steps.
        b1: the decay rate of the average.
        g: the gradient.
        m: the new average.
        s: the new second moment, with as many axes or fewer.
        mu: the old average, as it is kept.
        nu: the old second moment, as it is kept.
    """
    if not is_wide(nu):
        s = _rounded_second_moment(t, s, nu)
    if is_wide(mu):
        return m, s
    if s.ndim < m.ndim:
        return _rounded_average(t, m, mu), s
    # With the new s in its hash, m comes after it: each is written over its old number.
    return _rounded_average(t, average_again(b1, g, mu), mu, s), s


@jax.jit  # to be traced once a shape, not for every leaf
def _rounded_second_moment(t: jax.Array, s: jax.Array, nu: jax.Array) -> jax.Array:
    bits = random_bits(mix(t.astype(jnp.uint32)), digits_of_16(nu))
    return store(stochastic_round(s, nu.dtype, bits >> 16), nu)


@jax.jit
def _rounded_average(
    t: jax.Array, m: jax.Array, mu: jax.Array, s: jax.Array | None = None
) -> jax.Array:
    word = digits_of_16(mu)
    if s is not None:
        word = word << 16 | digits(s) >> 16
    bits = random_bits(mix(t.astype(jnp.uint32)), word)
    return store(stochastic_round(m, mu.dtype, bits & jnp.uint32(0xFFFF)), mu)


def random_bits(key: jax.Array, word: jax.Array) -> jax.Array:
    """Returns random uint32, a hash of key, word and the position in the array.

    Args:
        key: a scalar that differs at every step, itself well mixed.
        word: uint32, in which entries at the same position of other arrays differ.
    """
    return mix((word + _by_position(word)) ^ key)


def _by_position(x: jax.Array) -> jax.Array:
    """Returns odd multiples of the position along each axis, added up mod 2³²."""
    numbers: jax.Array = jnp.uint32(0)
    for axis in range(x.ndim):
        # A power of the golden ratio: no two entries of an array are near each other.
        factor = pow(_GOLDEN, axis + 1, 2**32)
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
        bits: random integers from 0 to 2¹⁶ − 1, as uint32 of the shape of x.
    """
    x = real(x).astype(jnp.float32)
    dropped = jnp.finfo(jnp.float32).nmant - jnp.finfo(dtype).nmant
    # Adding less than the unit that is kept carries into it as often as it should.
    sums = digits(x) + (bits >> (16 - dropped))
    kept = sums & jnp.uint32(2**32 - 2**dropped)
    y = jax.lax.bitcast_convert_type(kept, jnp.float32)
    if jnp.finfo(dtype).nexp < jnp.finfo(jnp.float32).nexp:
        # Below its smallest normal number float16 has steps of equal length.
        step = float(jnp.finfo(dtype).smallest_subnormal)
        fraction = (bits.astype(jnp.float32) + 0.5) / 2**16
        subnormal = jnp.floor(x / step + fraction) * step
        y = jnp.where(jnp.abs(x) < float(jnp.finfo(dtype).tiny), subnormal, y)
    return jnp.where(jnp.isfinite(x), y, x)


@stochastic_round.defjvp
def _stochastic_round_jvp(dtype: Any, primals: Any, tangents: Any) -> Any:
    y = stochastic_round(primals[0], dtype, primals[1])
    return y, real(tangents[0]).astype(jnp.float32)


def digits_of_16(x: jax.Array) -> jax.Array:
    """Returns the bits of an array of 16 bits, as uint32."""
    x = jax.lax.bitcast_convert_type(jax.lax.stop_gradient(x), jnp.uint16)
    return x.astype(jnp.uint32)


def digits(x: jax.Array) -> jax.Array:
    """Returns the bits of x in float32, as uint32."""
    x = jax.lax.stop_gradient(real(x)).astype(jnp.float32)
    return jax.lax.bitcast_convert_type(x, jnp.uint32)


def mix(x: jax.Array) -> jax.Array:
    """Returns a hash of 32 bits: the function lowbias32 of C. Wellons."""
    x = (x ^ (x >> 16)) * jnp.uint32(_FIRST)
    x = (x ^ (x >> 15)) * jnp.uint32(_SECOND)
    return x ^ (x >> 16)
