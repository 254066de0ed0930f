"""Which optimizers are timed, or compiled to count what they move?

A name is an import path, or one of adabelief_optax, and what differs from its defaults.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from adabelief_optax import (
    adabelief,
    aida,
    ladabelief,
    ladam,
    stochastic_rounding,
)
from benchmarks.speed.aida_loop import aida_loop

RATE = 1e-3
STACKED = 16  # layers in one array
LOW: Any = {"mu_dtype": "bfloat16", "nu_dtype": "bfloat16"}


class Case(NamedTuple):
    """An optimizer, and the array of parameters that it steps.

    Attributes:
        tx: the optimizer.
        summed: what its sums over a layer read.
        dtype: of the array.
        layer_axis: where the array has an axis for layers, if it is a stack of them.
    """

    tx: optax.GradientTransformation
    summed: str = ""
    dtype: Any = jnp.float32
    layer_axis: int | None = None

    def shape(self, rows: int, columns: int) -> tuple[int, ...]:
        """Returns the shape of the array, of rows × columns entries in any case."""
        if self.layer_axis is None:
            return rows, columns
        shape = [rows // STACKED, columns]
        shape.insert(self.layer_axis, STACKED)
        return tuple(shape)


def _stack(method: Any, axis: int) -> Case:
    return Case(method(RATE, stacked_axes=frozenset({axis})), "gm", layer_axis=axis)


def _all_in_bfloat16(tx: optax.GradientTransformation, summed: str = "") -> Case:
    return Case(optax.chain(tx, stochastic_rounding()), summed, jnp.bfloat16)


REFERENCE = "optax.adam"
WHOLE = {  # timed in whole training steps, too
    REFERENCE: Case(optax.adam(RATE)),
    "optax.adabelief": Case(optax.adabelief(RATE)),
    "adabelief": Case(adabelief(RATE)),
    "aida": Case(aida(RATE, k=2), "gm"),
    "ladabelief": Case(ladabelief(RATE), "gm"),
    "adabelief-bf16-moments": Case(adabelief(RATE, **LOW)),
    "aida-bf16-moments": Case(aida(RATE, **LOW), "gm"),
    "ladabelief-bf16-moments": Case(ladabelief(RATE, **LOW), "gm"),
}
TIMED = WHOLE | {
    "ladam": Case(ladam(RATE), "g"),
    "aida-k8": Case(aida(RATE, k=8), "gm"),
    "aida-loop": Case(aida_loop(RATE, k=2), "gm"),
    "adabelief-bf16-all": _all_in_bfloat16(adabelief(RATE, **LOW)),
    "aida-bf16-all": _all_in_bfloat16(aida(RATE, **LOW), "gm"),
    "ladabelief-bf16-all": _all_in_bfloat16(
        ladabelief(RATE, mu_dtype="bfloat16"), "gm"
    ),
}
CASES = TIMED | {
    "aida-loop-k4": Case(aida_loop(RATE, k=4), "gm"),
    "adabelief-bf16": Case(adabelief(RATE), "", jnp.bfloat16),
    "aida-bf16": Case(aida(RATE), "gm", jnp.bfloat16),
    **{f"aida-stack-{axis}": _stack(aida, axis) for axis in range(3)},
    **{f"ladabelief-stack-{axis}": _stack(ladabelief, axis) for axis in range(3)},
}


def least_bytes(case: Case) -> int:
    """Returns the bytes per parameter that no step with these dtypes can avoid moving.

    The step itself reads g, m, p (and s, unless it is one number per layer) and
    writes m, p (and s). Sums over the layer must be known before it, so that what they
    are made of is read twice. Where the step needs g for m alone, the kernel that sums
    may as well write m, and the step then reads that in place of g and the old m.
    """
    p = jax.ShapeDtypeStruct(case.shape(STACKED, 2), case.dtype)
    state = jax.eval_shape(case.tx.init, p)
    mu, nu = (optax.tree.get(state, name) for name in ("mu", "nu"))
    width = {"g": p.dtype.itemsize, "m": mu.dtype.itemsize}
    once = width["g"] + 2 * width["m"] + 2 * p.dtype.itemsize
    if nu.shape == p.shape:
        return once + 2 * nu.dtype.itemsize + sum(width[x] for x in case.summed)
    again = sum(width[x] for x in case.summed)
    return once + min(again, width["m"])
