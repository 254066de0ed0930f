"""Stochastic rounding, for numbers kept in fewer bits than they are computed in.

A bfloat16 number has eight bits. Near the mean an average with β₂ = 0.999 moves by
a thousandth at a time, which is less than half of the last bit: rounded to nearest
it would never move again. So x is rounded up with the probability of how far up it
is between its two neighbours. Then the expectation is x, and small changes add up.

The random bits of a moment are a hash of the entry's old moments, of its gradient and
of the count of steps. So they need no key and no position in the array: the same state
gives the same step, however the array is sharded, stacked with others or batched.
Entries with equal numbers, of which a layer has few at any one time, round alike.
"""

from typing import Any

import jax
import jax.numpy as jnp

from adabelief_optax._moments import real, store
from adabelief_optax._reduction import Layers, spread
from adabelief_optax._xla import one_call


def store_moments(
    state: Any,
    t: jax.Array,
    m: list[jax.Array],
    s: list[jax.Array],
    d: list[jax.Array],
    g: list[jax.Array],
    layers: list[Layers],
) -> Any:
    """Returns the state with new moments, in the dtypes of the old.

    The other stored moment of an entry and its gradient vary the random bits of each.
    """
    mu, nu = jax.tree.leaves(state.mu), jax.tree.leaves(state.nu)
    pairs = list(zip(mu, nu, layers, strict=True))
    of_mu = [spread(s, m, x) if s.ndim <= m.ndim else None for m, s, x in pairs]
    of_nu = [m if m.ndim == s.ndim else None for m, s, _ in pairs]

    def stored(field: str, new: list[jax.Array], others: list[Any]) -> Any:
        old, treedef = jax.tree.flatten(getattr(state, field))
        moments = [
            store_moment(x, o, other, x_g if x_g.ndim == o.ndim else None, t)
            for x, o, other, x_g in zip(new, old, others, g, strict=True)
        ]
        return jax.tree.unflatten(treedef, moments)

    new = {"mu": stored("mu", m, of_mu), "nu": stored("nu", s, of_nu)}
    if hasattr(state, "nu_max"):
        new["nu_max"] = stored("nu_max", d, of_nu)
    # Not a new state, so that one of another class with these fields stays one.
    return state._replace(count=t, **new)


def store_moment(
    x: jax.Array,
    old: jax.Array,
    other: jax.Array | None,
    g: jax.Array | None,
    t: jax.Array,
) -> jax.Array:
    """Returns x in the dtype of `old`, rounded stochastically below 32 bits."""
    if jnp.finfo(old.dtype).bits >= 32:
        return store(x, old)
    rounded: jax.Array = _rounded_moment(x, old, other, g, t)
    return rounded


@one_call
def _rounded_moment(
    x: jax.Array,
    old: jax.Array,
    other: jax.Array | None,
    g: jax.Array | None,
    t: jax.Array,
) -> jax.Array:
    return store(stochastic_round(x, old.dtype, moment_bits(old, other, g, t)), old)


def moment_bits(
    old: jax.Array, other: jax.Array | None, g: jax.Array | None, t: jax.Array
) -> jax.Array:
    """Returns the random bits of a moment's entries."""
    # At the first step the moments are all 0, and only the gradients differ.
    salt = t.astype(jnp.uint32) ^ (0 if g is None else leading_bits(g) << 16)
    return random_bits(old, other, salt)


def rounded_update(
    count: jax.Array, seed: jax.Array, u: jax.Array, p: Any
) -> jax.Array:
    """Returns the update that takes p to p + u, rounded stochastically in 16 bits."""
    dtype: Any = jnp.result_type(p)
    if not jnp.issubdtype(dtype, jnp.floating) or jnp.finfo(dtype).bits != 16:
        return u
    to_y: jax.Array = _difference(count, seed, jnp.asarray(u), jnp.asarray(p))
    return to_y


@one_call
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


def stochastic_round(x: jax.Array, dtype: Any, bits: jax.Array) -> jax.Array:
    """Returns x in float32, rounded to a number that a dtype of 16 bits has.

    Args:
        x: of any real dtype, or complex, of which the real part is taken.
        dtype: bfloat16 or float16.
        bits: random uint32 of the shape of x.
    """
    x = real(x).astype(jnp.float32)
    dropped = jnp.finfo(jnp.float32).nmant - jnp.finfo(dtype).nmant
    digits = jax.lax.bitcast_convert_type(x, jnp.uint32)
    # Adding less than the unit that is kept carries into it as often as it should.
    kept = (digits + (bits >> (32 - dropped))) >> dropped << dropped
    y = jax.lax.bitcast_convert_type(kept, jnp.float32)
    if jnp.finfo(dtype).nexp < jnp.finfo(jnp.float32).nexp:
        # Below its smallest normal number float16 has steps of equal length.
        step = float(jnp.finfo(dtype).smallest_subnormal)
        fraction = (bits >> 8).astype(jnp.float32) / 2**24
        subnormal = jnp.floor(x / step + fraction) * step
        y = jnp.where(jnp.abs(x) < float(jnp.finfo(dtype).tiny), subnormal, y)
    # The difference is exact; without its derivative the sum has that of x.
    return jnp.where(jnp.isfinite(x), x + jax.lax.stop_gradient(y - x), x)


def random_bits(x: jax.Array, other: jax.Array | None, salt: jax.Array) -> jax.Array:
    """Returns uint32 bits of x's shape: a hash of the arrays' bits and of the salt."""
    word = leading_bits(x) << 16
    if other is not None:
        word |= leading_bits(other)
    return _mix(word ^ _mix(salt))


def leading_bits(x: jax.Array) -> jax.Array:
    """Returns sign, exponent and seven digits of x, as the last bits of uint32."""
    x = jax.lax.stop_gradient(real(x)).astype(jnp.bfloat16)
    return jax.lax.bitcast_convert_type(x, jnp.uint16).astype(jnp.uint32)


def _mix(x: jax.Array) -> jax.Array:
    """Returns a hash of 32 bits: the function lowbias32 of C. Wellons."""
    x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * jnp.uint32(0x846CA68B)
    return x ^ (x >> 16)
