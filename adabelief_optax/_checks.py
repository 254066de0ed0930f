"""Clear errors for wrong arguments, parameters, gradients and states.

What can be known is checked where it is given. The value of a traced array cannot
be known, so it passes.
"""

import math
from collections.abc import Callable
from typing import Any, NoReturn

import chex
import jax
import jax.core
import jax.numpy as jnp

AxisName = str | tuple[str, ...] | None


def leaf_name(path: tuple[Any, ...]) -> str:
    """Returns a path in a tree as text, such as blocks/kernel."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def refuse(name: str, allowed: str, value: Any) -> NoReturn:
    """Raises a `ValueError` that names the argument, what is allowed, and the value."""
    raise ValueError(f"{name} must be {allowed}, got {value!r}")


def is_traced(x: Any) -> bool:
    """Returns whether x is an array whose value is not known yet."""
    return isinstance(x, jax.core.Tracer)


def _is_real_scalar(value: Any) -> bool:
    if isinstance(value, int | float):
        return not isinstance(value, bool)
    return (
        hasattr(value, "dtype")
        and jnp.ndim(value) == 0
        and jnp.isrealobj(value)
        and not jnp.issubdtype(jnp.result_type(value), jnp.bool_)
    )


def _check_number(
    name: str, value: Any, allowed: str, ok: Callable[[Any], Any]
) -> None:
    if not _is_real_scalar(value):
        refuse(name, allowed, value)
    if is_traced(value):
        return
    # As a Python number: inside a trace JAX would trace the comparison of an array,
    # even of one whose value is known.
    if not ok(float(value)):
        refuse(name, allowed, value)
    # What is no array of JAX is rounded before it meets one: 1 − 1e-8 is 1 in float32.
    rounded = jnp.result_type(float).type(value)
    if not isinstance(value, jax.Array) and not ok(rounded):
        raise ValueError(
            f"{name} must be {allowed}, got {value!r}, which is {rounded} in "
            f"{rounded.dtype}"
        )


def _is_non_negative(x: Any) -> Any:
    return 0 <= x < math.inf


def check_non_negative(name: str, value: Any) -> None:
    """Raises unless value is a finite number of at least 0, or traced."""
    _check_number(name, value, "a finite number >= 0", _is_non_negative)


def check_schedule(name: str, value: Any) -> None:
    """Raises unless value is a schedule or a finite number of at least 0."""
    if not callable(value):
        allowed = "a finite number >= 0 or a schedule"
        _check_number(name, value, allowed, _is_non_negative)


def check_fraction(name: str, value: Any) -> None:
    """Raises unless value is a number in [0, 1], or traced."""
    _check_number(name, value, "in [0, 1]", lambda x: 0 <= x <= 1)


def check_count(name: str, value: Any) -> None:
    """Raises unless value is an integer of at least 0, or a traced integer."""
    allowed = "an integer >= 0"
    _check_number(name, value, allowed, lambda x: x >= 0)
    if not (
        isinstance(value, int) or jnp.issubdtype(jnp.result_type(value), jnp.integer)
    ):
        refuse(name, allowed, value)


def check_rates(b1: Any, b2: Any, eps: Any, eps_root: Any) -> None:
    """Raises unless 0 <= b1, b2 < 1 and 0 <= eps, eps_root, in float32 or more."""
    for name, value in (("b1", b1), ("b2", b2), ("eps", eps), ("eps_root", eps_root)):
        dtype = getattr(value, "dtype", jnp.float32)
        if jnp.issubdtype(dtype, jnp.floating) and jnp.finfo(dtype).bits < 32:
            raise ValueError(
                f"{name} must be in float32 or more, got {dtype}, in which 0.999 can "
                "round to 1 and 1e-16 to 0 (give optax.inject_hyperparams "
                "hyperparam_dtype=jnp.float32)"
            )
    for name, value in (("b1", b1), ("b2", b2)):
        _check_number(name, value, "in [0, 1)", lambda x: 0 <= x < 1)
    check_non_negative("eps", eps)
    check_non_negative("eps_root", eps_root)


def check_stacked_axes(stacked_axes: Any) -> None:
    """Raises unless it is an int, a frozenset of ints, or a tree of such."""
    allowed = "an integer >= 0, a frozenset of axis positions, or a tree of such"
    if stacked_axes is None:
        refuse("stacked_axes", allowed, stacked_axes)
    for axes in jax.tree.leaves(stacked_axes):
        if isinstance(axes, frozenset):
            if not all(type(axis) is int for axis in axes):
                refuse("stacked_axes", allowed, axes)
        elif _is_real_scalar(axes):
            check_count("stacked_axes", axes)
        else:
            refuse("stacked_axes", allowed, axes)


def check_axis_name(axis_name: Any) -> None:
    """Raises unless it is None, a string or a tuple of strings."""
    names = axis_name if isinstance(axis_name, tuple) else (axis_name,)
    if axis_name is not None and not all(isinstance(name, str) for name in names):
        refuse("axis_name", "None, a string or a tuple of strings", axis_name)


def check_switch(name: str, value: Any) -> None:
    """Raises unless value is a Python bool."""
    if not isinstance(value, bool):
        refuse(name, "True or False", value)


def check_choice(name: str, value: Any, choices: tuple[str, ...]) -> None:
    """Raises unless value is one of the strings."""
    if not isinstance(value, str) or value not in choices:
        refuse(name, f"one of {choices}", value)


def is_floating(dtype: Any) -> bool:
    """Returns whether it is a floating-point dtype of 16 bits or more."""
    return jnp.issubdtype(dtype, jnp.inexact) and jnp.finfo(dtype).bits >= 16


def check_dtype(name: str, value: Any, *, squares: bool = False) -> None:
    """Raises unless value is None or a floating-point dtype of at least 16 bits.

    Args:
        name: the argument.
        value: its value.
        squares: whether the dtype must hold squares: then it is real, not float16.
    """
    if value is None:
        return
    kind = "real floating-point" if squares else "real or complex floating-point"
    abstract = jnp.floating if squares else jnp.inexact
    try:
        # An array has a dtype but is none: `inject_hyperparams` calls jnp.bfloat16.
        dtype = None if isinstance(value, jax.Array) else jnp.dtype(value)
    except TypeError:
        dtype = None
    if (
        dtype is None
        or not jnp.issubdtype(dtype, abstract)
        or jnp.finfo(dtype).bits < 16
    ):
        raise ValueError(
            f"{name} must be None or a {kind} dtype of at least 16 bits, got "
            f"{value!r} (inside optax.inject_hyperparams give it as a string, such as "
            "'bfloat16')"
        )
    if squares and dtype == jnp.float16:
        raise ValueError(
            f"{name} must not be float16, in which the square of a gradient below "
            "2e-4 is 0, and steps are far too long: use bfloat16"
        )


def check_mask(name: str, value: Any) -> None:
    """Raises for a bool or an array, which no user means as a mask."""
    if isinstance(value, bool | jax.Array):
        raise ValueError(
            f"{name} must be None, a tree of bools like the parameters, or a function "
            f"that returns one, got {value!r} (inside optax.inject_hyperparams name it "
            "in static_args, or it is taken for a schedule)"
        )


def check_params(params: Any) -> None:
    """Raises for a parameter that has no gradient, naming its leaf."""
    for path, p in jax.tree_util.tree_leaves_with_path(params):
        try:
            dtype: Any = jnp.result_type(p)
        except (TypeError, ValueError):
            dtype = type(p).__name__
        if isinstance(dtype, str) or not is_floating(dtype):
            raise ValueError(
                f"parameter '{leaf_name(path)}' must be real or complex floating-point "
                f"numbers of at least 16 bits, got {dtype}: leave other leaves out "
                "with optax.masked or optax.partition"
            )


def check_gradients(gradients: Any, mu: Any) -> None:
    """Raises if the gradients do not fit the state, naming the first bad leaf."""
    found: Any = jax.tree.structure(gradients)
    if found != jax.tree.structure(mu):
        paths, expected = (
            [leaf_name(p) for p, _ in jax.tree_util.tree_leaves_with_path(tree)]
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
        # The structures differ in nodes alone.
        chex.assert_trees_all_equal_structs(gradients, mu)
    for (path, g), m in zip(
        jax.tree_util.tree_leaves_with_path(gradients), jax.tree.leaves(mu), strict=True
    ):
        g_dtype, m_dtype = jnp.result_type(g), jnp.result_type(m)
        if jnp.shape(g) != jnp.shape(m):
            raise AssertionError(
                f"gradient '{leaf_name(path)}' must have shape {jnp.shape(m)}, that of "
                f"its average in the state, got {jnp.shape(g)}"
            )
        if not jnp.issubdtype(g_dtype, jnp.inexact) or (
            jnp.iscomplexobj(g) and not jnp.iscomplexobj(m)
        ):
            raise AssertionError(
                f"gradient '{leaf_name(path)}' has dtype {g_dtype}, its average "
                f"{m_dtype}"
            )


def check_fields(state: Any, *, amsgrad: bool) -> None:
    """Raises unless the state has the fields of a belief state."""
    if not all(hasattr(state, name) for name in ("count", "mu", "nu")):
        raise ValueError(
            "the optimizer's state must be what init() returned, got a "
            f"{type(state).__name__}: restore a checkpoint into the structure of "
            "init(params), which jax.eval_shape(tx.init, params) gives"
        )
    if hasattr(state, "nu_max") != amsgrad:
        raise ValueError(
            f"amsgrad={amsgrad}, but this state was created with amsgrad="
            f"{not amsgrad}: call init() of the optimizer with amsgrad={amsgrad}"
        )


def check_moments(
    field: str,
    moments: Any,
    gradients: Any,
    shapes: list[tuple[int, ...]],
    dtypes: list[frozenset[Any]],
) -> None:
    """Raises unless the leaves of a field of the state are what this optimizer makes.

    Args:
        field: its name.
        moments: its tree.
        gradients: a tree with as many leaves, for their names.
        shapes: the shape of each leaf.
        dtypes: the dtypes that are possible for each leaf.
    """
    leaves, wrong = jax.tree.leaves(moments), ""
    if len(leaves) != len(shapes):
        wrong = f"{field} must have {len(shapes)} leaves, got {len(leaves)}"
    for i, (x, shape, allowed) in enumerate(zip(leaves, shapes, dtypes, strict=False)):
        if not wrong and (jnp.shape(x) != shape or jnp.result_type(x) not in allowed):
            path, _ = jax.tree_util.tree_leaves_with_path(gradients)[i]
            names = " or ".join(sorted(str(jnp.dtype(dtype)) for dtype in allowed))
            wrong = (
                f"{field} of leaf '{leaf_name(path)}' must have shape {shape} and "
                f"dtype {names}, got {jnp.shape(x)} and {jnp.result_type(x)}"
            )
    if wrong:
        raise ValueError(
            f"the state does not belong to this optimizer: {wrong}; call init() of "
            "this optimizer with these parameters"
        )
