"""Parameters of 16 bits: an update with which any addition rounds at random.

A bfloat16 parameter has eight significant bits. `p + u` rounds to nearest, so an update
of less than half the gap to the next number changes nothing, and neither does the next
one like it. The last transformation of a chain can choose another update u′, so that
p + u′ is one of the two neighbours of p + u, and p + u on average.

Mostly u′ is the distance from p to that neighbour. Where u is as large as p the
distance may have more bits than the dtype. Some neighbours are then out of reach, and
we choose between the two nearest numbers on which the addition can land.
"""

from functools import partial
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from adabelief_optax._checks import check
from adabelief_optax._moments import real
from adabelief_optax._rounding import digits, digits_of_16, mix, random_bits
from adabelief_optax._signature import readable
from adabelief_optax._xla import rounded_for_certain


class StochasticRoundingState(NamedTuple):
    """State of `stochastic_rounding`.

    Attributes:
        count: t, the number of updates so far, an int32 scalar.
    """

    count: chex.Array


@readable
def stochastic_rounding(
    seed: chex.Numeric = 0,
) -> optax.GradientTransformationExtraArgs:
    """Rounds parameters of 16 bits stochastically, so that small updates add up.

    A bfloat16 parameter has eight significant bits: the next number above 1 is 1.0078.
    `optax.apply_updates` rounds p + u to the nearest such number, so an update of less
    than half the gap changes nothing, and neither does the next one like it. As the
    last transformation of a chain, of any optimizer, this replaces the update u of a
    parameter p by

        u′ = y − p

    where y is one of the two neighbours of p + u in the parameter's dtype. If p + u
    lies three quarters of the way up to the upper one, y is that one with probability
    3/4. So on average y is p + u. For example:

        tx = optax.chain(adabelief(1e-3), stochastic_rounding())

    u′ has the parameter's dtype, and p + u′ is y, whether `optax.apply_updates`,
    `eqx.apply_updates` or a plain addition adds them. Where u is as large as p, y − p
    may not be a number of that dtype. Then y is one of the two nearest numbers on which
    the addition can land, chosen with probabilities that keep the expectation.

    It must be the last transformation. Before another one, such as the learning rate,
    it has no effect, and no error says so: the other changes the update again, and
    `optax.apply_updates` rounds to nearest. A wrapper such as `optax.apply_if_finite`
    or `optax.MultiSteps` may go around the whole chain.

    The random bits are a hash of the entry's position in its array, of its p and u, of
    the count of steps and of the seed. They need no key: the same state gives the same
    step, however the array is sharded, and a checkpoint resumes bit for bit. Because of
    the position, equal entries round apart. It counts in the array that `update` sees:
    inside `jax.shard_map` that is the device's part, and in a scanned model the array
    of all layers. An update moves an entry with a probability that is a multiple of
    2⁻³², so updates below 2⁻³³ of the gap (1e-12 at p = 1) are lost.

    Parameters of 32 bits or more, integers, None leaves and masked nodes pass
    untouched. If p + u rounds to a number that is not finite, u is passed on in the
    parameter's dtype.

    Args:
        seed: an integer that varies the random bits.

    Returns:
        An `optax.GradientTransformationExtraArgs` with `StochasticRoundingState`.

    Raises:
        ValueError: if the seed is not an integer of at least 0; in `update`, without
            parameters.

    Example:
        >>> import jax.numpy as jnp, optax
        >>> from adabelief_optax import stochastic_rounding
        >>> start = jnp.linspace(1.0, 2.0, 1000).astype(jnp.bfloat16)
        >>> for last in (optax.identity(), stochastic_rounding()):
        ...     tx, p = optax.chain(optax.sgd(1.0), last), start
        ...     state = tx.init(p)
        ...     for _ in range(100):
        ...         updates, state = tx.update(jnp.full(1000, 1e-3), state, p)
        ...         p = optax.apply_updates(p, updates)
        ...     print(f"{jnp.mean(start - p, dtype=float):.2f}")
        0.00
        0.10

    References:
        Gupta et al., "Deep Learning with Limited Numerical Precision", arXiv
        1502.02551, 2015
    """
    check(seed=seed)

    def init_fn(params: optax.Params) -> StochasticRoundingState:
        del params
        return StochasticRoundingState(jnp.zeros([], jnp.int32))

    def update_fn(
        updates: optax.Updates,
        state: Any,
        params: optax.Params | None = None,
        **extra_args: Any,
    ) -> tuple[optax.Updates, StochasticRoundingState]:
        del extra_args
        if params is None:
            raise ValueError(
                "stochastic_rounding needs the parameters: call "
                "update(gradients, state, params)"
            )
        t = jnp.asarray(optax.safe_increment(state.count))
        known = jnp.uint32(seed % 2**32) if isinstance(seed, int) else seed
        rounded = partial(_rounded_update, t, jnp.asarray(known, jnp.uint32))
        updates = jax.tree.map(rounded, updates, params, is_leaf=lambda u: u is None)
        return updates, StochasticRoundingState(t)

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def _rounded_update(t: jax.Array, seed: jax.Array, u: Any, p: Any) -> Any:
    """Returns the update that takes p to p + u, rounded stochastically in 16 bits."""
    if u is None:  # of a frozen leaf
        return None
    dtype: Any = jnp.result_type(p)
    if not jnp.issubdtype(dtype, jnp.floating) or jnp.finfo(dtype).bits != 16:
        return u
    found: jax.Array = _update_of_16(t, seed, jnp.asarray(u), jnp.asarray(p))
    return found


@partial(jax.jit, inline=True)  # outside jit one call
def _update_of_16(
    t: jax.Array, seed: jax.Array, u: jax.Array, p: jax.Array
) -> jax.Array:
    dtype, u = u.dtype, real(u).astype(jnp.float32)
    if jnp.finfo(dtype).bits < 32:
        u = rounded_for_certain(u, dtype)  # in every program
    # Neither neighbouring seeds nor neighbouring counts give neighbouring keys.
    key = mix(mix(t.astype(jnp.uint32)) + mix(seed))
    bits = random_bits(key, digits_of_16(p) << 16 | digits(u) >> 16)
    found: jax.Array = _to_a_neighbour(u, p, bits)
    return found


@jax.custom_jvp
def _to_a_neighbour(u: jax.Array, p: jax.Array, bits: jax.Array) -> jax.Array:
    """Returns the update that takes p to a neighbour of p + u, in p's dtype.

    Its derivative is that of u.
    """
    dtype, p = p.dtype, p.astype(jnp.float32)
    x, rest = _sum(p, u)
    near, other = _neighbours(x, rest, dtype)
    y = jnp.where(_happens(x, rest, near, other, bits), other, near)
    to_y = _landing_at(y, p, mix(bits), dtype)
    # u stays as it is if it is 0, for the sign of 0, and if the sum overflows.
    as_it_is = (u == 0) | ~jnp.isfinite(near)
    limit = float(jnp.finfo(dtype).max)
    finite = jnp.where(jnp.isfinite(u), jnp.clip(u, -limit, limit), u)
    return jnp.where(as_it_is, finite, to_y).astype(dtype)


@_to_a_neighbour.defjvp
def _to_a_neighbour_jvp(primals: Any, tangents: Any) -> Any:
    _, p, _ = primals
    return _to_a_neighbour(*primals), tangents[0].astype(p.dtype)


def _landing_at(y: jax.Array, p: jax.Array, bits: jax.Array, dtype: Any) -> jax.Array:
    """Returns an update that takes p to y: at once, or else on average.

    The two numbers next to y − p take p to y, or to the two nearest numbers that can be
    reached.
    """
    near, other = _neighbours(*_sum(y, -p), dtype)
    ends = _nearest(p + near, dtype), _nearest(p + other, dtype)
    return jnp.where(_happens(y, 0.0, *ends, bits), other, near)


def _happens(
    x: jax.Array, rest: Any, near: jax.Array, other: jax.Array, bits: jax.Array
) -> jax.Array:
    """Returns whether x + rest, between near and other, is to be rounded to the other.

    The chance is the share of the way there that x + rest has come, so that the
    expectation is x + rest.
    """
    # Scaled, since differences of small numbers may be subnormal: 0 on some devices.
    scale = jnp.where(jnp.abs(x) < 1, 2.0**64, 1.0)
    x, rest, near, other = (number * scale for number in (x, rest, near, other))
    chance = ((x - near) + rest) / (other - near)
    goes: jax.Array = bits.astype(jnp.float32) + 0.5 < chance * 2.0**32
    return goes


def _sum(x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns x + y in float32, and what that was rounded by (Knuth's TwoSum)."""
    total = x + y
    of_y = total - x
    return total, (x - (total - of_y)) + (y - of_y)


def _neighbours(x: jax.Array, rest: Any, dtype: Any) -> tuple[jax.Array, jax.Array]:
    """Returns the number of a dtype nearest to x, and that on the other side of it."""
    near = _nearest(x, dtype)
    side = jnp.where((x - near) + rest < 0, -jnp.inf, jnp.inf).astype(dtype)
    other = jax.lax.nextafter(near.astype(dtype), side)
    return near, other.astype(jnp.float32)


def _nearest(x: jax.Array, dtype: Any) -> jax.Array:
    """Returns the nearest number of a dtype of 16 bits, in float32."""
    info, y = jnp.finfo(dtype), rounded_for_certain(x, dtype)
    if info.nexp < jnp.finfo(jnp.float32).nexp:
        # Below its smallest normal number float16 has steps of equal length.
        step = float(info.smallest_subnormal)
        small = jnp.abs(x) < float(info.tiny)
        y = jnp.where(small, jnp.round(x / step) * step, y)
    return y
