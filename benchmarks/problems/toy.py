"""The six functions of x and y in figure 3 of the AdaBelief paper."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from benchmarks.problem import Array, Problem, Splits

Point = tuple[float, float]


class Toy(NamedTuple):
    """A function whose smallest value is 0, and what the paper starts with."""

    title: str
    f: Callable[[Any, Any], Any]  # of numbers, or of arrays of JAX or NumPy
    starts: tuple[Point, ...]
    minimum: Point = (0, 0)
    betas: Point = Problem.betas


def beale(x: Any, y: Any) -> Any:
    """Returns the sum of squares that vanish together at (3, 0.5) alone."""
    targets = (1.5, 2.25, 2.625)
    return sum((a - x + x * y**n) ** 2 for n, a in enumerate(targets, start=1))


FUNCTIONS = {
    "separable-l1": Toy(
        "Separable L1", lambda x, y: abs(x) + abs(y), ((-2.5, 0), (-2.75, 0.25))
    ),
    "inseparable-l1": Toy(
        "Inseparable L1", lambda x, y: abs(x + y) + abs(x - y) / 10, ((2.5, 0),)
    ),
    "inseparable-l2": Toy(
        "Inseparable L2", lambda x, y: (x + y) ** 2 + (x - y) ** 2 / 10, ((2.5, 0),)
    ),
    "uneven-l1": Toy(
        "Uneven L1", lambda x, y: abs(x) / 10 + abs(y), ((0.5, -1.5),), betas=(0.3, 0.3)
    ),
    "beale": Toy("Beale", beale, ((-2.5, -2.5),), (3, 0.5)),
    "rosenbrock": Toy(
        "Rosenbrock",
        lambda x, y: (1 - x) ** 2 + 100 * (y - x**2) ** 2,
        ((-4, -4),),
        (1, 1),
    ),
}


class ToyProblem(Problem):
    """A toy function, from its first start moved by up to ±0.25 in each coordinate.

    The key of a seed draws the move, uniformly. There is no data: splits are one zero.
    """

    metric, target = "f", 1e-3
    steps, evaluations, batch_size = 30_000, 3_000, 1
    cosine, float64, chosen_by_speed = False, True, True

    def __init__(self, key: str, toy: Toy) -> None:
        """Takes a function and its key in FUNCTIONS."""
        self.name, self.title = f"toy-{key}", toy.title
        self.toy, self.betas = toy, toy.betas

    def load(self) -> Splits:
        """Returns a zero for each split."""
        return Splits(*jnp.zeros((3, 1)))

    def init(self, key: Array) -> Array:
        """Returns x and y: one layer, for the layerwise optimizers."""
        move = jax.random.uniform(key, (2,), minval=-0.25, maxval=0.25)
        return jnp.array(self.toy.starts[0]) + move

    def loss(self, params: Array, batch: Array, key: Array) -> Array:
        """Returns f."""
        del batch, key
        return self.toy.f(*params)

    def measure(self, params: Array, split: Array) -> Array:
        """Returns f."""
        del split
        return self.toy.f(*params)


PROBLEMS = tuple(ToyProblem(key, toy) for key, toy in FUNCTIONS.items())
