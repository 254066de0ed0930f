"""The six functions of x and y in figure 3 of the AdaBelief paper."""

from collections.abc import Callable
from typing import Any, NamedTuple

Point = tuple[float, float]


class Function(NamedTuple):
    """A function whose smallest value is 0, and what the paper starts with."""

    title: str
    f: Callable[[Any, Any], Any]  # of numbers, or of arrays of JAX or NumPy
    starts: tuple[Point, ...]
    minimum: Point = (0, 0)
    betas: Point = (0.9, 0.999)


def beale(x: Any, y: Any) -> Any:
    """Returns the sum of squares that vanish together at (3, 0.5) alone."""
    targets = (1.5, 2.25, 2.625)
    return sum((a - x + x * y**n) ** 2 for n, a in enumerate(targets, start=1))


FUNCTIONS = {
    "separable-l1": Function(
        "Separable L1", lambda x, y: abs(x) + abs(y), ((-2.5, 0), (-2.75, 0.25))
    ),
    "inseparable-l1": Function(
        "Inseparable L1", lambda x, y: abs(x + y) + abs(x - y) / 10, ((2.5, 0),)
    ),
    "inseparable-l2": Function(
        "Inseparable L2", lambda x, y: (x + y) ** 2 + (x - y) ** 2 / 10, ((2.5, 0),)
    ),
    "uneven-l1": Function(
        "Uneven L1", lambda x, y: abs(x) / 10 + abs(y), ((0.5, -1.5),), betas=(0.3, 0.3)
    ),
    "beale": Function("Beale", beale, ((-2.5, -2.5),), (3, 0.5)),
    "rosenbrock": Function(
        "Rosenbrock",
        lambda x, y: (1 - x) ** 2 + 100 * (y - x**2) ** 2,
        ((-4, -4),),
        (1, 1),
    ),
}
