"""How is a step of an optimizer made, compiled and started?"""

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.timing import Runner, Samples

Step = Callable[[Any, Any, Any], tuple[Any, Any]]


def jitted_step(tx: optax.GradientTransformation) -> Any:
    """Returns a new function, which JAX has not compiled yet."""

    def step(params: Any, state: Any, grads: Any) -> tuple[Any, Any]:
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    return jax.jit(step, donate_argnums=(0, 1))


def compile_steps(
    txs: dict[str, optax.GradientTransformation],
    shapes: dict[str, Any],
    rounds: int,
) -> tuple[Samples, dict[str, Step]]:
    """Compiles every step once a round, each time from empty caches.

    Args:
        txs: the optimizers, by name.
        shapes: of the parameters of each.
        rounds: how often each is compiled.

    Returns:
        The seconds of tracing, lowering and compiling, and the last round's steps.
    """
    history, steps = [], {}
    for _ in range(rounds):
        seconds = {}
        for name, tx in txs.items():
            params = shapes[name]
            arguments = params, jax.eval_shape(tx.init, params), params
            jax.clear_caches()
            began = time.perf_counter()
            steps[name] = jitted_step(tx).lower(*arguments).compile()
            seconds[name] = time.perf_counter() - began
        history.append(seconds)
    samples = {name: np.array([seconds[name] for seconds in history]) for name in txs}
    return samples, steps


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
