"""Which optimizers are timed, or compiled to count what they move?"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from adabelief_optax import adabelief, aida, ladabelief, ladam, stochastic_rounding
from benchmarks.speed.aida_loop import aida_loop

RATE = 1e-3
STACKED = 16  # layers in one array
LOW: Any = {"mu_dtype": "bfloat16", "nu_dtype": "bfloat16"}


class Case(NamedTuple):
    """An optimizer, and the array of parameters that it steps.

    Attributes:
        tx: the optimizer.
        projects: whether it sums g and m over a layer before it makes the step.
        dtype: of the array.
        layer_axis: where the array has an axis for layers, if it is a stack of them.
    """

    tx: optax.GradientTransformation
    projects: bool = False
    dtype: Any = jnp.float32
    layer_axis: int | None = None

    def array(self, rows: int, columns: int) -> jax.ShapeDtypeStruct:
        """Returns the shape of the array, of rows × columns entries in any case."""
        shape = [rows, columns]
        if self.layer_axis is not None:
            shape[0] //= STACKED
            shape.insert(self.layer_axis, STACKED)
        return jax.ShapeDtypeStruct(shape, self.dtype)


def _all_in_bfloat16(tx: optax.GradientTransformation, projects: bool = False) -> Case:
    return Case(optax.chain(tx, stochastic_rounding()), projects, jnp.bfloat16)


NAMING = """
A name is an import path, or one of adabelief_optax. aida-k8 is Aida with k=8, the
others have k=2; aida-loop is Aida as published, K rounds of projections. -bf16:
parameters and gradients in bfloat16; -bf16-moments: both moments; -bf16-all: all of
them (LAdaBelief's second moment in float32), and `stochastic_rounding` as the last;
-stack-n: the array is a stack of 16 layers, which its axis n counts. All else is
float32."""
REFERENCE = "optax.adam"
WHOLE = {  # timed in whole training steps, too
    REFERENCE: Case(optax.adam(RATE)),
    "optax.adabelief": Case(optax.adabelief(RATE)),
    "adabelief": Case(adabelief(RATE)),
    "aida": Case(aida(RATE, k=2), projects=True),
    "ladabelief": Case(ladabelief(RATE)),
    "adabelief-bf16-moments": Case(adabelief(RATE, **LOW)),
    "aida-bf16-moments": Case(aida(RATE, **LOW), projects=True),
    "ladabelief-bf16-moments": Case(ladabelief(RATE, **LOW)),
}
TIMED = WHOLE | {
    "ladam": Case(ladam(RATE)),
    "aida-k8": Case(aida(RATE, k=8), projects=True),
    "aida-loop": Case(aida_loop(RATE, k=2), projects=True),
    "adabelief-bf16-all": _all_in_bfloat16(adabelief(RATE, **LOW)),
    "aida-bf16-all": _all_in_bfloat16(aida(RATE, **LOW), projects=True),
    "ladabelief-bf16-all": _all_in_bfloat16(ladabelief(RATE, mu_dtype="bfloat16")),
}
CASES = TIMED | {
    "aida-loop-k4": Case(aida_loop(RATE, k=4), projects=True),
    "adabelief-bf16": Case(adabelief(RATE), dtype=jnp.bfloat16),
    "aida-bf16": Case(aida(RATE), projects=True, dtype=jnp.bfloat16),
}
for _axis in range(3):
    _where: Any = {"stacked_axes": frozenset({_axis})}
    CASES |= {
        f"aida-stack-{_axis}": Case(aida(RATE, **_where), True, layer_axis=_axis),
        f"ladabelief-stack-{_axis}": Case(ladabelief(RATE, **_where), layer_axis=_axis),
    }


def least_bytes(case: Case) -> int:
    """Returns the bytes per parameter that no step with these dtypes can avoid moving.

    The step itself reads g, m, p (and s, unless it is one number per layer) and
    writes m, p (and s). Sums over the layer must be known before it, so that what they
    are made of is read twice. Where s is one number, the step needs g for m alone: the
    kernel that sums may as well write m, and only this is read again.
    """
    p = case.array(STACKED, 2)
    state = jax.eval_shape(case.tx.init, p)
    mu, nu = (optax.tree.get(state, name) for name in ("mu", "nu"))
    g, m, s = (x.dtype.itemsize for x in (p, mu, nu))
    least = 3 * g + 2 * m  # g and p have the same dtype
    if nu.shape != p.shape:
        return least + m
    return least + 2 * s + (g + m if case.projects else 0)
