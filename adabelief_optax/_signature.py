"""Signatures that `help` prints in a few lines.

`help` prints what an annotation stands for: for `chex.Numeric` a union of seven types.
Here it prints the annotation's name. The annotations themselves stay as they are, so
that tools which look for `optax.ScalarOrSchedule` find it.
"""

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

import chex
import optax
from jax.typing import DTypeLike

from adabelief_optax._weight_decay import Decay, Mask

Function = TypeVar("Function", bound=Callable[..., Any])
NAMES = {
    "Numeric": chex.Numeric,
    "ScalarOrSchedule": optax.ScalarOrSchedule,
    "Mask": Mask,
    "Decay": Decay,
    "DTypeLike": DTypeLike,
    "OptState": optax.OptState,
    "optax.GradientTransformationExtraArgs": optax.GradientTransformationExtraArgs,
}


class _Named:
    """An annotation that prints as its name."""

    def __init__(self, annotation: Any) -> None:
        text = inspect.formatannotation(annotation)
        for name, kind in NAMES.items():
            if annotation == kind:
                text = name
            elif annotation == kind | None:
                text = f"{name} | None"
        self.text = text

    def __repr__(self) -> str:
        return self.text


class _Signature(inspect.Signature):
    """A signature with a line for each argument, and with names for types."""

    def __str__(self) -> str:
        lines = []
        kind: Any = inspect.Parameter.POSITIONAL_OR_KEYWORD
        for parameter in self.parameters.values():
            if parameter.kind is not kind:
                kind = parameter.kind
                lines.append("    *,\n")
            named = parameter.replace(annotation=_Named(parameter.annotation))
            lines.append(f"    {named},\n")
        arguments = f"\n{''.join(lines)}" if lines else ""
        return f"({arguments}) -> {_Named(self.return_annotation)}"

    def format(self, **options: Any) -> str:
        """Returns the same: what `help` prints since Python 3.13."""
        return str(self)


def readable(function: Function) -> Function:
    """Gives a function a signature that can be read."""
    plain = inspect.signature(function)
    vars(function)["__signature__"] = _Signature(
        list(plain.parameters.values()), return_annotation=plain.return_annotation
    )
    return function
