"""Which optimizers are timed, and on which parameters?"""

import itertools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from adabelief_optax import adabelief, aida, ladabelief, ladam

RATE = 1e-3
VOCABULARY = 10_000


class LoopState(NamedTuple):
    """Aida's step count and its two averages."""

    count: jax.Array
    mu: Any
    nu: Any


def aida_loop(
    learning_rate: float,
    k: int = 2,
    b1: float = 0.9,
    b2: float = 0.999,
    eps_root: float = 1e-8,
    xi: float = 1e-20,
) -> optax.GradientTransformation:
    """Aida as its authors publish it: K rounds of projections over the arrays."""

    def residual(g: jax.Array, m: jax.Array) -> jax.Array:
        for _ in range(k):
            inner = jnp.sum(g * m)
            g, m = (
                inner / (jnp.sum(g * g) + xi) * g,
                inner / (jnp.sum(m * m) + xi) * m,
            )
        return m - g

    def init(params: Any) -> LoopState:
        zeros = [jax.tree.map(jnp.zeros_like, params) for _ in range(2)]
        return LoopState(jnp.zeros([], jnp.int32), *zeros)

    def update(
        grads: Any, state: LoopState, params: Any = None
    ) -> tuple[Any, LoopState]:
        del params
        t = state.count + 1
        mu = jax.tree.map(lambda g, m: b1 * m + (1 - b1) * g, grads, state.mu)
        error = jax.tree.map(residual, grads, mu)
        nu = jax.tree.map(
            lambda e, s: b2 * s + (1 - b2) * e**2 + eps_root, error, state.nu
        )
        rate, correction = learning_rate / (1 - b1**t), 1 - b2**t
        updates = jax.tree.map(
            lambda m, s: -rate * m / jnp.sqrt(s / correction), mu, nu
        )
        return updates, LoopState(t, mu, nu)

    return optax.GradientTransformation(init, update)


class Contender(NamedTuple):
    """An optimizer, and the bytes a parameter that no float32 step can avoid moving.

    28 reads g, m, s, p and writes m, s, p. A sum over the layer must be known before
    the step, so that arrays are read twice: g and m for Aida (36). One stepsize a
    layer leaves g, m in and m out, then m, p in and p out (24).
    """

    tx: optax.GradientTransformation
    least_bytes: int | None


REFERENCE = "optax.adam"
CONTENDERS = {
    REFERENCE: Contender(optax.adam(RATE), 28),
    "optax.adabelief": Contender(optax.adabelief(RATE), 28),
    "adabelief": Contender(adabelief(RATE), 28),
    "aida": Contender(aida(RATE, k=2), 36),
    "aida-k8": Contender(aida(RATE, k=8), 36),
    "aida-loop": Contender(aida_loop(RATE, k=2), None),
    "ladabelief": Contender(ladabelief(RATE), 24),
    "ladam": Contender(ladam(RATE), 24),
}


Step = Callable[[Any, Any, Any], tuple[Any, Any]]


class Runner(NamedTuple):
    """An optimizer that holds its parameters, ready to be timed."""

    step: Callable[[], object]  # may return before the step is done
    wait: Callable[[], object]  # returns when all steps are done
    state_bytes: int  # without the step count


def transformer(parameters: int, width: int) -> dict[str, Any]:
    """Returns the shapes of an embedding and, for the rest, of whole blocks."""
    block = {
        "attention_norm": (width,),
        "attention_in": (width, 3 * width),
        "attention_out": (width, width),
        "mlp_norm": (width,),
        "mlp_in": (width, 4 * width),
        "mlp_bias": (4 * width,),
        "mlp_out": (4 * width, width),
    }
    missing = parameters - VOCABULARY * width
    count = max(0, math.ceil(missing / sum(map(math.prod, block.values()))))
    return _float32({"embedding": (VOCABULARY, width), "blocks": [block] * count})


def small_arrays(count: int) -> list[Any]:
    """Returns the shapes of so many biases and small kernels."""
    shapes = itertools.cycle([(64,), (32, 32), (3, 3, 8, 16), (128,)])
    return _float32(list(itertools.islice(shapes, count)))


def _float32(shapes: Any) -> Any:
    return jax.tree.map(
        lambda shape: jax.ShapeDtypeStruct(shape, jnp.float32),
        shapes,
        is_leaf=lambda node: isinstance(node, tuple),
    )


def random_tree(seed: int, shapes: Any) -> Any:
    """Returns normal numbers; zeros might be faster to compute with."""
    leaves, structure = jax.tree.flatten(shapes)
    keys = jax.random.split(jax.random.key(seed), len(leaves))
    draw = jax.random.normal
    arrays = [draw(k, x.shape, x.dtype) for k, x in zip(keys, leaves, strict=True)]
    return structure.unflatten(arrays)


def jitted_step(tx: optax.GradientTransformation) -> Any:
    """Returns a new function, which JAX has not compiled yet."""

    def step(params: Any, state: Any, grads: Any) -> tuple[Any, Any]:
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    return jax.jit(step, donate_argnums=(0, 1))


def start(
    tx: optax.GradientTransformation, step: Step, params: Any, grads: Any
) -> Runner:
    """Returns an optimizer with its own copy of the parameters."""
    carry = jax.tree.map(jnp.copy, params), jax.jit(tx.init)(params)
    arrays = jax.tree.leaves(carry[1])
    state_bytes = sum(
        x.nbytes for x in arrays if not jnp.issubdtype(x.dtype, jnp.integer)
    )

    def advance() -> None:
        nonlocal carry
        carry = step(*carry, grads)

    return Runner(advance, lambda: jax.block_until_ready(carry), state_bytes)
