"""A noisy quadratic of 100 parameters, 90 of whose curvatures are small.

DeepOBS draws the Hessian from a random generator that is made once, when its module is
imported, so that the first problem made in a process has another Hessian than the
second. Here they have numbers, from 0 on. The data are the same for all.
"""

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.data import Splits
from benchmarks.deepobs.problem import Array, Measures, Problem

SIZE, SMALL = 100, 90  # eigenvalues: 90 from 0 to 1, then 10 from 30 to 60
POINTS, NOISE = 1000, 0.6
SEEDS = 42, 44, 43  # of the data to train, validate and test


def rotation(rng: np.random.RandomState) -> np.ndarray:
    """Returns a random rotation, grown by Householder reflections (Stewart, 1980)."""
    angle = 2 * np.pi * rng.uniform()
    cos, sin = np.cos(angle), np.sin(angle)
    turned = np.array([[cos, sin], [-sin, cos]])
    for size in range(3, SIZE + 1):
        v = rng.normal(size=(size, 1))
        x = np.eye(size, 1) - v / np.linalg.norm(v)
        x /= np.linalg.norm(x)
        bordered = np.eye(size)
        bordered[1:, 1:] = turned
        turned = bordered - 2 * x @ (x.T @ bordered)
    return -turned


@cache
def hessian(number: int) -> np.ndarray:
    """Returns the Hessian of this number, in double precision."""
    rng = np.random.RandomState(42)
    for _ in range(number + 1):
        small = rng.uniform(0, 1, SMALL)
        eigenvalues = np.concatenate([small, rng.uniform(30, 60, SIZE - SMALL)])
        turned = rotation(rng)
    return turned.T @ (eigenvalues[:, None] * turned)


def points(seed: int) -> Array:
    """Returns a data set."""
    drawn = np.random.RandomState(seed).normal(0, NOISE, (POINTS, SIZE))
    return jnp.asarray(drawn, jnp.float32)


class QuadraticDeep(Problem):
    """½ (θ−x)ᵀH(θ−x) of data points x, from θ = 1 on."""

    name, title, metric = "quadratic_deep", "Noisy quadratic", "loss"
    batch_size, epochs, together, target = 128, 100, 36, 87.3
    hessian = 0

    def load(self) -> Splits:
        """Returns 1,000 points each."""
        return Splits(*map(points, SEEDS))

    def init(self, key: Array) -> Array:
        """Returns ones."""
        del key
        return jnp.ones(SIZE)

    def measure(
        self, params: Any, memory: Any, batch: Any, key: Array, training: bool
    ) -> tuple[Measures, Any]:
        """Returns the mean loss of the points."""
        del key, training
        d, h = params[None] - batch, jnp.float32(hessian(self.hessian))
        curved = jnp.dot(d, h, precision=jax.lax.Precision.HIGHEST)
        return {"loss": (d * curved).sum(-1).mean() / 2}, memory
