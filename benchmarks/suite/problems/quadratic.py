"""A noisy quadratic whose curvatures are spread as those of a deep network.

The problem `quadratic_deep` of DeepOBS (Schneider et al., arXiv 1903.05499), with
a draw of our own: 90 % of the eigenvalues are between 0 and 1, the others between 30
and 60, and their directions are random.
"""

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.data import Splits
from benchmarks.suite.problem import Array, Problem

DIMENSIONS, EXAMPLES, NOISE = 100, 1_000, 0.6


def curvature(rng: np.random.Generator) -> np.ndarray:
    """Returns the matrix Q: the eigenvalues, in directions drawn uniformly."""
    few = DIMENSIONS // 10
    eigenvalues = np.concatenate(
        [rng.uniform(0, 1, DIMENSIONS - few), rng.uniform(30, 60, few)]
    )
    basis, triangle = np.linalg.qr(rng.normal(size=(DIMENSIONS, DIMENSIONS)))
    basis *= np.sign(np.diag(triangle))  # else they are not uniform
    return basis * eigenvalues @ basis.T


def floor(matrix: np.ndarray, examples: np.ndarray) -> float:
    """Returns the lowest mean loss that any parameters have on these examples."""
    away = examples - examples.mean(0)
    return 0.5 * np.einsum("ni,ij,nj->n", away, matrix, away, optimize=True).mean()


class Quadratic(Problem):
    """The mean of (θ − x)ᵀQ(θ − x)/2 over examples x of N(0, 0.6²), from θ = 1.

    The target is 1 % above the lowest loss that the validation examples allow, which
    is their noise; the start lies 180 % above it. Seeds differ in the batches.
    """

    name, title, metric = "quadratic", "Noisy quadratic, 100-d", "loss"
    steps, evaluations, batch_size = 2_400, 100, 128

    def __init__(self) -> None:
        """Draws the matrix and the examples, always the same."""
        rng = np.random.default_rng(0)
        self.matrix = curvature(rng)
        shape = len(Splits._fields), EXAMPLES, DIMENSIONS
        self.splits = Splits(*rng.normal(0, NOISE, shape))
        self.target = 1.01 * floor(self.matrix, self.splits.valid)

    def load(self) -> Splits:
        """Returns 1,000 examples for each split."""
        return Splits(*(jnp.asarray(x, jnp.float32) for x in self.splits))

    def init(self, key: Array) -> Array:
        """Returns ones."""
        del key
        return jnp.ones(DIMENSIONS)

    def loss(self, params: Array, batch: Array, key: Array) -> Array:
        """Returns the mean loss of a batch."""
        del key
        return self.measure(params, batch)

    def measure(self, params: Array, split: Array) -> Array:
        """Returns the mean loss of a split."""
        away = params[None] - split
        bent = jnp.matmul(
            away,
            jnp.asarray(self.matrix, away.dtype),
            precision=jax.lax.Precision.HIGHEST,
        )
        return 0.5 * (away * bent).sum(-1).mean()


PROBLEMS = (Quadratic(),)
