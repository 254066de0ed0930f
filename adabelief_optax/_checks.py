"""What each argument may be, in one table, and what the parameters may be.

A value is checked where it is given. That of a traced array is not known yet, so it
passes.
"""

import math
from collections.abc import Callable
from typing import Any, NoReturn

import jax
import jax.core
import jax.numpy as jnp

AxisName = str | tuple[str, ...] | None
Check = Callable[[str, Any], None]


def leaf_name(path: tuple[Any, ...]) -> str:
    """Returns a path in a tree as text, such as blocks/kernel."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def refuse(name: str, allowed: str, value: Any, hint: str = "") -> NoReturn:
    """Raises a `ValueError` that names the argument, what is allowed, and the value."""
    raise ValueError(f"{name} must be {allowed}, got {value!r}{hint}")


def is_traced(x: Any) -> bool:
    """Returns whether x is an array whose value is not known yet."""
    return isinstance(x, jax.core.Tracer)


def is_floating(dtype: Any) -> bool:
    """Returns whether it is a floating-point dtype of 16 bits or more."""
    return jnp.issubdtype(dtype, jnp.inexact) and jnp.finfo(dtype).bits >= 16


def is_axis_name(x: Any) -> bool:
    """Returns whether x names mapped axes: a string, several, or none."""
    if isinstance(x, tuple) and not hasattr(x, "_fields"):
        return all(isinstance(name, str) for name in x)
    return x is None or isinstance(x, str)


def check(**arguments: Any) -> None:
    """Raises a `ValueError` for an argument that is out of range, naming it.

    An argument has one name, and one meaning, in all functions of the package.
    """
    for name, value in arguments.items():
        _ARGUMENTS[name](name, value)
    if arguments.get("nesterov") and not arguments["momentum"]:
        raise ValueError("nesterov=True must have momentum=True, got momentum=False")


def check_prediction(b1: Any, a: Any = 1, b: Any = 1) -> None:
    """Raises for a known b1 of 0 where the residual is a·(g − m), which is then 0."""
    known = not any(map(is_traced, (b1, a, b)))
    if known and float(b1) == 0 and float(a) == float(b):
        raise ValueError(
            "b1 must be above 0, got 0: the prediction m is then the gradient itself, "
            "so that no residual is left and every step is as long as it can be. For "
            "steps without momentum use momentum=False and leave b1 as it is. For "
            "the residual of Adam, which is the gradient, chain ignore_prediction() "
            "before scale_by_belief(b1=0)"
        )


def _number(
    allowed: str, ok: Callable[[Any], bool], *, wide: bool = False, whole: bool = False
) -> Check:
    """Returns a check of a real number, which may be an array, and may be traced.

    Args:
        allowed: what is allowed, in words.
        ok: whether a Python number is allowed.
        wide: whether an array must have at least 32 bits.
        whole: whether it must be an integer.
    """

    def check(name: str, value: Any) -> None:
        if not _is_real_scalar(value):
            refuse(name, allowed, value)
        dtype = jnp.result_type(value)
        if wide and jnp.issubdtype(dtype, jnp.floating) and jnp.finfo(dtype).bits < 32:
            raise ValueError(
                f"{name} must be in float32 or more, got {dtype}, which rounds 0.999 "
                "to 1 or 1e-16 to 0 (pass to optax.inject_hyperparams "
                "hyperparam_dtype=jnp.float32)"
            )
        if whole and not jnp.issubdtype(dtype, jnp.integer):
            refuse(name, allowed, value)
        if is_traced(value):
            return
        # As a Python number: inside a trace JAX would trace the comparison of an
        # array, even of one whose value is known.
        if not ok(float(value)):
            refuse(name, allowed, value)
        # A Python number is rounded when it meets an array: 1 − 1e-8 is 1 in float32.
        rounded = jnp.result_type(float).type(value)
        if not isinstance(value, jax.Array) and not ok(rounded):
            refuse(name, allowed, value, f", which is {rounded} in {rounded.dtype}")

    return check


def _is_real_scalar(value: Any) -> bool:
    if isinstance(value, int | float):
        return not isinstance(value, bool)
    return (
        hasattr(value, "dtype")
        and jnp.ndim(value) == 0
        and jnp.isrealobj(value)
        and not jnp.issubdtype(jnp.result_type(value), jnp.bool_)
    )


def _is_non_negative(x: Any) -> bool:
    return bool(0 <= x < math.inf)


def _one_of(*choices: Any, allowed: str = "") -> Check:
    def check(name: str, value: Any) -> None:
        if type(value) not in map(type, choices) or value not in choices:
            refuse(name, allowed or f"one of {choices}", value)

    return check


def _schedule(name: str, value: Any) -> None:
    if not callable(value):
        _number("a finite number >= 0 or a schedule", _is_non_negative)(name, value)


def _learning_rate(name: str, value: Any) -> None:
    try:
        _schedule(name, value)
    except ValueError as error:
        negative = _is_real_scalar(value) and float(value) < 0
        ascent = ": to maximize, use optax.chain(optax.scale(-1.0), optimizer)"
        raise ValueError(f"{error}{ascent if negative else ''}") from None


def _weight_decay(name: str, value: Any) -> None:
    if value is not None:
        allowed = "None, a finite number >= 0 or a schedule"
        if not callable(value):
            _number(allowed, _is_non_negative)(name, value)


def _axis_name(name: str, value: Any) -> None:
    if callable(value):
        return
    for names in jax.tree.leaves(value, is_leaf=is_axis_name):
        if not is_axis_name(names):
            allowed = "None, a string, a tuple of strings, or a tree of these"
            refuse(name, allowed, names)


def _stacked_axes(name: str, value: Any) -> None:
    allowed = (
        "None, an integer >= 0, a frozenset of axis positions, a tree of these with "
        "names of the parameters, or a function of the parameters that returns one"
    )
    for axes in [] if callable(value) else jax.tree.leaves(value):
        if is_traced(axes):
            raise ValueError(
                f"{name} must not be traced, because shapes depend on it: give a "
                "frozenset of positions, such as frozenset({0}), or name it in "
                "static_args of optax.inject_hyperparams"
            )
        if not isinstance(axes, frozenset):
            _number(allowed, lambda x: x >= 0, whole=True)(name, axes)
        elif not all(type(axis) is int for axis in axes):
            refuse(name, allowed, axes)


def _mask(name: str, value: Any) -> None:
    if isinstance(value, bool | jax.Array):  # which no user means as a mask
        allowed = (
            "None, a tree of bools like the parameters, or a function that returns one"
        )
        hint = (
            " (inside optax.inject_hyperparams name it in static_args, or it is taken "
            "for a schedule)"
        )
        refuse(name, allowed, value, hint)


def _dtype(name: str, value: Any) -> None:
    if value is None:
        return
    squares = name == "nu_dtype"  # which are real, and overflow in float16
    kind = "real floating-point" if squares else "real or complex floating-point"
    try:
        # An array has a dtype but is not one: `inject_hyperparams` calls jnp.bfloat16.
        dtype = None if isinstance(value, jax.Array) else jnp.dtype(value)
    except TypeError:
        dtype = None
    if (
        dtype is None
        or not is_floating(dtype)
        or (squares and jnp.issubdtype(dtype, jnp.complexfloating))
    ):
        hint = " (inside optax.inject_hyperparams give it as a string, 'bfloat16')"
        allowed = f"None or a {kind} dtype of at least 16 bits"
        refuse(name, allowed, value, hint)
    if squares and dtype == jnp.float16:
        raise ValueError(
            f"{name} must not be float16, in which the square of a gradient below "
            "2e-4 is 0, and steps are far too long: use bfloat16"
        )


_BELOW_1 = _number("in [0, 1)", lambda x: 0 <= x < 1, wide=True)
_EPSILON = _number("a finite number >= 0", _is_non_negative, wide=True)
_COUNT = _number("an integer >= 0", lambda x: x >= 0, whole=True)
_SWITCH = _one_of(True, False, allowed="True or False")
_ARGUMENTS: dict[str, Check] = {
    "b1": _BELOW_1,
    "b2": _BELOW_1,
    "eps": _EPSILON,
    "eps_root": _EPSILON,
    "xi": _number("a finite number >= 0", _is_non_negative),
    "k": _COUNT,
    "seed": _COUNT,
    "mu": _number("in [0, 1]", lambda x: 0 <= x <= 1),
    "learning_rate": _learning_rate,
    "weight_decay": _weight_decay,
    "weight_decay_mask": _mask,
    "decay": _one_of("decoupled", "coupled", "fixed"),
    "processing": _one_of("pre", "post"),
    "stacked_axes": _stacked_axes,
    "axis_name": _axis_name,
    "momentum": _SWITCH,
    "nesterov": _SWITCH,
    "amsgrad": _SWITCH,
    "rectify": _SWITCH,
    "degenerate_to_sgd": _SWITCH,
    "mu_dtype": _dtype,
    "nu_dtype": _dtype,
}


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
                f"numbers of at least 16 bits, got {dtype}: leave such leaves out with "
                "optax.masked or optax.partition, and those of an Equinox model with "
                "eqx.filter(model, eqx.is_inexact_array)"
            )
