"""Clear errors for wrong arguments, parameters and gradients.

What can be known is checked where it is given. The value of a traced array
cannot, so it passes.
"""

from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp


def _check_number(
    name: str, value: Any, allowed: str, ok: Callable[[Any], bool]
) -> None:
    is_real = (
        (isinstance(value, int | float) or hasattr(value, "dtype"))
        and jnp.ndim(value) == 0
        and jnp.isrealobj(value)
        and not jnp.issubdtype(jnp.result_type(value), jnp.bool_)
    )
    if not is_real or not (isinstance(value, jax.core.Tracer) or ok(value)):
        raise ValueError(f"{name} is {value!r}; allowed is {allowed}")


def check_non_negative(name: str, value: Any) -> None:
    """Raises unless value is a finite number of at least 0, or traced."""
    _check_number(name, value, "a finite number >= 0", lambda x: 0 <= x < jnp.inf)


def check_schedule(name: str, value: Any) -> None:
    """Raises unless value is a schedule or a finite number of at least 0."""
    if not callable(value):
        allowed = "a finite number >= 0 or a schedule"
        _check_number(name, value, allowed, lambda x: 0 <= x < jnp.inf)


def check_count(name: str, value: Any) -> None:
    """Raises unless value is an integer of at least 0, or a traced integer."""
    allowed = "an integer >= 0"
    _check_number(name, value, allowed, lambda x: x >= 0)
    if not jnp.issubdtype(jnp.result_type(value), jnp.integer):
        raise ValueError(f"{name} is {value!r}; allowed is {allowed}")


def check_rates(b1: Any, b2: Any, eps: Any, eps_root: Any) -> None:
    """Raises unless 0 <= b1, b2 < 1 and 0 <= eps, eps_root, in float32 or more."""
    for name, value in (("b1", b1), ("b2", b2), ("eps", eps), ("eps_root", eps_root)):
        dtype = getattr(value, "dtype", jnp.float32)
        if jnp.issubdtype(dtype, jnp.floating) and jnp.finfo(dtype).bits < 32:
            raise ValueError(
                f"{name} has dtype {dtype}, in which 0.999 can round to 1 and "
                "1e-16 to 0; allowed is float32 or more (give "
                "optax.inject_hyperparams hyperparam_dtype=jnp.float32)"
            )
    for name, value in (("b1", b1), ("b2", b2)):
        _check_number(name, value, "a number in [0, 1)", lambda x: 0 <= x < 1)
    check_non_negative("eps", eps)
    check_non_negative("eps_root", eps_root)


def check_stacked_axes(stacked_axes: Any) -> None:
    """Raises unless it is a tree of integers of at least 0."""
    if stacked_axes is None:
        raise ValueError(
            "stacked_axes is None; allowed is an integer or a tree of them"
        )
    for n in jax.tree.leaves(stacked_axes):
        check_count("stacked_axes", n)


def check_switch(name: str, value: Any) -> None:
    """Raises unless value is a Python bool."""
    if not isinstance(value, bool):
        raise ValueError(f"{name} is {value!r}; allowed is True or False")


def check_choice(name: str, value: Any, choices: tuple[str, ...]) -> None:
    """Raises unless value is one of the strings."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} is {value!r}; allowed is one of {choices}")


def check_dtype(name: str, value: Any, kind: Any) -> None:
    """Raises unless value is None or the name of a dtype of the kind."""
    if value is None:
        return
    allowed = f"None or a {kind.__name__} dtype"
    try:
        # An array has a dtype but is none: `inject_hyperparams` calls jnp.bfloat16.
        ok = not isinstance(value, jax.Array) and jnp.issubdtype(jnp.dtype(value), kind)
    except TypeError:
        ok = False
    if not ok:
        raise ValueError(
            f"{name} is {value!r}; allowed is {allowed} (inside "
            "optax.inject_hyperparams as a string, such as 'bfloat16')"
        )


def check_mask(name: str, value: Any) -> None:
    """Raises for a bool or an array, which no user means as a mask."""
    if isinstance(value, bool | jax.Array):
        raise ValueError(
            f"{name} is {value!r}; allowed is None, a tree of bools like the "
            "parameters, or a function that returns one (inside "
            "optax.inject_hyperparams name it in static_args, or it is taken "
            "for a schedule)"
        )


def _name(path: tuple[Any, ...]) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


def check_params(params: Any) -> None:
    """Raises for a parameter that has no gradient, naming its leaf."""
    for path, p in jax.tree_util.tree_leaves_with_path(params):
        dtype = jnp.result_type(p)
        if not jnp.issubdtype(dtype, jnp.inexact):
            raise ValueError(
                f"parameter '{_name(path)}' has dtype {dtype}; allowed are real "
                "and complex floating-point numbers: leave other leaves out with "
                "optax.masked or optax.partition"
            )


def check_gradients(gradients: Any, mu: Any) -> None:
    """Raises if the gradients do not fit the state, naming the first bad leaf."""
    found: Any = jax.tree.structure(gradients)
    if found != jax.tree.structure(mu):
        paths, expected = (
            [_name(p) for p, _ in jax.tree_util.tree_leaves_with_path(tree)]
            for tree in (gradients, mu)
        )
        missing = [p for p in expected if p not in paths]
        surplus = [p for p in paths if p not in expected]
        for kind, leaves in (("no gradient for", missing), ("no state for", surplus)):
            if leaves:
                raise AssertionError(
                    f"gradients do not match the optimizer state: {kind} leaf "
                    f"'{leaves[0]}'"
                )
    # Also the structures that differ in nodes alone.
    chex.assert_trees_all_equal_structs(gradients, mu)
    chex.assert_trees_all_equal_shapes(gradients, mu)
    for (path, g), m in zip(
        jax.tree_util.tree_leaves_with_path(gradients), jax.tree.leaves(mu), strict=True
    ):
        if not jnp.issubdtype(g.dtype, jnp.inexact) or (
            jnp.iscomplexobj(g) and not jnp.iscomplexobj(m)
        ):
            raise AssertionError(
                f"gradient '{_name(path)}' has dtype {g.dtype}, its average {m.dtype}"
            )
