"""The toy functions of the AdaBelief paper, as problems without data."""

import jax
import jax.numpy as jnp

from benchmarks.data import Splits
from benchmarks.functions import FUNCTIONS, Function
from benchmarks.suite.problem import Array, Problem


class ToyProblem(Problem):
    """A toy function, from its first start moved by up to ±0.25 in each coordinate.

    The key of a seed draws the move, uniformly. There is no data: splits are one zero.
    """

    metric, target = "f", 1e-3
    steps, evaluations, batch_size = 30_000, 3_000, 1
    cosine, float64, chosen_by_speed = False, True, True

    def __init__(self, key: str, function: Function) -> None:
        """Takes a function and its key in FUNCTIONS."""
        self.name, self.title = f"toy-{key}", function.title
        self.function, self.betas = function, function.betas

    def load(self) -> Splits:
        """Returns a zero for each split."""
        return Splits(*jnp.zeros((3, 1)))

    def init(self, key: Array) -> Array:
        """Returns x and y: one layer, for the layerwise optimizers."""
        move = jax.random.uniform(key, (2,), minval=-0.25, maxval=0.25)
        return jnp.array(self.function.starts[0]) + move

    def loss(self, params: Array, batch: Array, key: Array) -> Array:
        """Returns f."""
        del batch, key
        return self.function.f(*params)

    def measure(self, params: Array, split: Array) -> Array:
        """Returns f."""
        del split
        return self.function.f(*params)


PROBLEMS = tuple(ToyProblem(key, function) for key, function in FUNCTIONS.items())
