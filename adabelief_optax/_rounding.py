"""Stochastic rounding, for moments kept in fewer bits than they are computed in.

A bfloat16 number has eight bits. Near the mean an average with β₂ = 0.999 moves by
a thousandth at a time, which is less than half of the last bit: rounded to nearest
it would never move again. So x is rounded up with the probability of how far up it
is between its two neighbours. Then the expectation is x, and small changes add up.

The random bits are a hash of the entry's old moments and of the count of steps.
So they need no key and no position in the array: the same state gives the same
step, however the array is sharded, stacked with others or batched. Entries with
equal moments, of which a layer has few at any one time, round alike.
"""

from typing import Any

import jax
import jax.numpy as jnp

from adabelief_optax._layer import expand_to
from adabelief_optax._moments import real, store


def store_moment(
    x: jax.Array, old: jax.Array, other: jax.Array, count: jax.Array
) -> jax.Array:
    """Returns x in the dtype of `old`, rounded stochastically below 32 bits.

    Args:
        x: the new moment.
        old: the stored moment that x replaces.
        other: the stored other moment of the leaf, which varies the random bits.
        count: t.
    """
    if jnp.finfo(old.dtype).bits >= 32:
        return store(x, old)
    return store(_rounded(x, old.dtype, _random_bits(old, other, count)), old)


def _rounded(x: jax.Array, dtype: Any, bits: jax.Array) -> jax.Array:
    """Returns x in float32, with no more digits than the dtype has."""
    x = real(x).astype(jnp.float32)
    dropped = jnp.finfo(jnp.float32).nmant - jnp.finfo(dtype).nmant
    digits = jax.lax.bitcast_convert_type(x, jnp.uint32)
    # Adding less than the unit that is kept carries into it as often as it should.
    kept = (digits + (bits >> (32 - dropped))) >> dropped << dropped
    y = jax.lax.bitcast_convert_type(kept, jnp.float32)
    # The difference is exact; without its derivative the sum has that of x.
    return jnp.where(jnp.isfinite(x), x + jax.lax.stop_gradient(y - x), x)


def _random_bits(x: jax.Array, other: jax.Array, count: jax.Array) -> jax.Array:
    word = _leading_bits(x) << 16
    if other.ndim <= x.ndim:  # not where x has one number a layer and `other` more
        word |= expand_to(_leading_bits(other), x)
    return _mix(word ^ _mix(count.astype(jnp.uint32)))


def _leading_bits(x: jax.Array) -> jax.Array:
    x = jax.lax.stop_gradient(real(x)).astype(jnp.bfloat16)
    return jax.lax.bitcast_convert_type(x, jnp.uint16).astype(jnp.uint32)


def _mix(x: jax.Array) -> jax.Array:
    """Returns a hash of 32 bits: the function lowbias32 of C. Wellons."""
    x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * jnp.uint32(0x846CA68B)
    return x ^ (x >> 16)
