"""How is a step of an optimizer made, placed, compiled and started?"""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.timing import Runner, Samples

Step = Callable[[Any, Any, Any], tuple[Any, Any]]


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


class Trial(NamedTuple):
    """A step to compile.

    Attributes:
        tx: the optimizer.
        params: a tree of shapes; the gradients have the same.
        sharding: returns the sharding of a given shape, None where JAX runs.
    """

    tx: optax.GradientTransformation
    params: Any
    sharding: Callable[[Any], Any] = lambda _: None

    def arguments(self) -> tuple[Any, Any, Any]:
        """Returns the shapes of parameters, state and gradients with shardings."""
        trees = self.params, jax.eval_shape(self.tx.init, self.params), self.params
        return jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=self.sharding(x)),
            trees,
        )


def compiled(step: Any, arguments: tuple[Any, ...]) -> Any:
    """Compiles a jitted function from empty caches."""
    jax.clear_caches()
    return step.lower(*arguments).compile()


def compile_in_turn(
    trials: dict[str, Trial], rounds: int
) -> tuple[Samples, dict[str, Any]]:
    """Compiles every step once a round, and leaves out what the memory cannot hold.

    Returns:
        The CPU seconds of tracing, lowering and compiling, and the programs.
    """
    history, programs = [], {}
    for _ in range(rounds):
        seconds = {}
        for name, trial in trials.items():
            step, arguments = jitted_step(trial.tx), trial.arguments()
            began = time.process_time()
            try:
                programs[name] = compiled(step, arguments)
            except jax.errors.JaxRuntimeError as error:
                if "RESOURCE_EXHAUSTED" not in str(error):
                    raise
            seconds[name] = time.process_time() - began
        history.append(seconds)
    return {name: np.array([s[name] for s in history]) for name in programs}, programs


def start(
    tx: optax.GradientTransformation, step: Step, params: Any, batch: Any
) -> Runner:
    """Returns an optimizer with its own copy of the parameters.

    Args:
        tx: the optimizer.
        step: one of its steps.
        params: the first parameters.
        batch: what each step is given besides, gradients or what they are made of.
    """
    carry = jax.tree.map(jnp.copy, params), jax.jit(tx.init)(params)
    arrays = jax.tree.leaves(carry[1])
    state_bytes = sum(
        x.nbytes for x in arrays if not jnp.issubdtype(x.dtype, jnp.integer)
    )

    def advance() -> None:
        nonlocal carry
        carry = step(*carry, batch)

    return Runner(advance, lambda: jax.block_until_ready(carry), state_bytes)
