"""How is a step of an optimizer made, compiled and started?"""

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.timing import Runner, Samples

# A jitted step, and the shapes that it takes.
Call = tuple[Any, tuple[Any, ...]]


def given(params: Any, grads: Any) -> Any:
    """Returns the gradients of a step that is given them, and makes none."""
    del params
    return grads


def jitted_step(
    tx: optax.GradientTransformation, gradients: Callable[[Any, Any], Any] = given
) -> Any:
    """Returns a new function, which JAX has not compiled yet.

    Args:
        tx: the optimizer.
        gradients: of the parameters and what the step takes besides, a batch.
    """

    def step(params: Any, state: Any, batch: Any) -> tuple[Any, Any]:
        updates, state = tx.update(gradients(params, batch), state, params)
        return optax.apply_updates(params, updates), state

    return jax.jit(step, donate_argnums=(0, 1))


def shapes(
    tx: optax.GradientTransformation,
    params: Any,
    sharding: Callable[[Any], Any] = lambda _: None,
) -> tuple[Any, Any, Any]:
    """Returns the shapes of parameters, state and gradients.

    Args:
        tx: the optimizer.
        params: a tree of shapes.
        sharding: returns the sharding of a given shape, None where JAX runs.
    """
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding(x)),
        (params, jax.eval_shape(tx.init, params), params),
    )


def compiled(step: Any, arguments: tuple[Any, ...]) -> Any:
    """Compiles a jitted function from empty caches."""
    jax.clear_caches()
    return step.lower(*arguments).compile()


def compile_in_turn(
    calls: dict[str, Call], rounds: int
) -> tuple[Samples, dict[str, Any]]:
    """Compiles every step once a round, and leaves out what the memory cannot hold.

    Returns:
        The CPU seconds of tracing, lowering and compiling, and the programs.
    """
    history, programs = [], {}
    for _ in range(rounds):
        seconds = {}
        for name, call in calls.items():
            began = time.process_time()
            try:
                programs[name] = compiled(*call)
            except jax.errors.JaxRuntimeError as error:
                if "RESOURCE_EXHAUSTED" not in str(error):
                    raise
            seconds[name] = time.process_time() - began
        history.append(seconds)
    return {name: np.array([s[name] for s in history]) for name in programs}, programs


def start(
    tx: optax.GradientTransformation, step: Callable, params: Any, batch: Any
) -> Runner:
    """Returns an optimizer with its own copy of the parameters.

    Args:
        tx: the optimizer.
        step: one of its steps.
        params: the first parameters.
        batch: what each step is given besides, gradients or what they are made of.
    """
    carry = jax.tree.map(jnp.copy, params), jax.jit(tx.init)(params)
    state_bytes = sum(
        x.nbytes
        for x in jax.tree.leaves(carry[1])
        if not jnp.issubdtype(x.dtype, jnp.integer)
    )

    def advance() -> None:
        nonlocal carry
        carry = step(*carry, batch)

    return Runner(advance, lambda: jax.block_until_ready(carry), state_bytes)
