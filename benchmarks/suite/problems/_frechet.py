"""The Fréchet distance of generated to real images of Fashion-MNIST.

It compares the mean and covariance of both in the features of a classifier, the judge.
That is not Inception, as for the FID, but the small network of `fashion_cnn`; so the
distances are comparable with each other, and with no other publication's. The judge's
weights are in `judge.npz`, which `python -m benchmarks.suite.problems._frechet` makes:
trained anew it would round otherwise on another machine, and judge otherwise.
"""

import hashlib
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.traverse_util import flatten_dict, unflatten_dict

from benchmarks.data.fashion_mnist import load_splits
from benchmarks.suite.problems.fashion_cnn import FashionCNN

Array = jax.Array
SEED, STEPS, RATE = 0, 2_000, 3e-3  # of the judge's training
JUDGE = Path(__file__).with_name("judge.npz")
SHA256 = "6aa2aa81a96f43df47c9f1408eec0075b89a3ddb15dff98806d2ace6173b0326"


def train_judge(train: Any, steps: int = STEPS) -> Any:
    """Returns the parameters of the classifier after its training by Adam."""
    problem, key, train = FashionCNN(), jax.random.key(SEED), jax.device_put(train)
    tx = optax.adam(optax.cosine_decay_schedule(RATE, steps))

    def step(carry: tuple, key: Array) -> tuple[tuple, Array]:
        *carry, loss = problem.step(tx, *carry, train, key)
        return tuple(carry), loss

    params = problem.init(key)
    carry = params, problem.start(tx, params)
    keys = jax.random.split(key, steps)
    return jax.jit(lambda carry: jax.lax.scan(step, carry, keys)[0][0])(carry)


def judge() -> Any:
    """Returns the judge's parameters, or raises ValueError if they are others."""
    found = hashlib.sha256(JUDGE.read_bytes()).hexdigest()
    if found != SHA256:
        raise ValueError(f"{JUDGE}: expected SHA-256 {SHA256}, found {found}")
    with np.load(JUDGE) as arrays:
        return unflatten_dict(dict(arrays), sep="/")


def features(params: Any, images: Array, size: int = 250) -> Array:
    """Returns the classifier's features of images of bytes, `size` at a time."""
    network = FashionCNN().module(params)
    return jax.lax.map(lambda x: network.features(x[None])[0], images, batch_size=size)


def moments(x: Array) -> tuple[Array, Array]:
    """Returns the mean of the examples and their covariance."""
    centred = x - x.mean(0, keepdims=True)
    with jax.default_matmul_precision("highest"):
        return x.mean(0), centred.T @ centred / (len(x) - 1)


def square_root(matrix: Array) -> Array:
    """Returns the positive semidefinite root of such a matrix."""
    values, vectors = jnp.linalg.eigh(matrix)
    roots = jnp.sqrt(jnp.maximum(values, 0))  # rounding makes some slightly negative
    with jax.default_matmul_precision("highest"):
        return (vectors * roots[None]) @ vectors.T


def distance(x: tuple[Array, Array], y: tuple[Array, Array]) -> Array:
    """Returns the (squared) Fréchet distance of two Gaussians, given their moments.

        |μ₁ − μ₂|² + tr(C₁ + C₂ − 2 (C₁^½ C₂ C₁^½)^½)

    It is NaN if any moment is not finite.
    """
    # What eigh does with NaN depends on the platform, so it sees none.
    (mean1, c1), (mean2, c2) = jax.tree.map(jnp.nan_to_num, (x, y))
    root = square_root(c1)
    with jax.default_matmul_precision("highest"):
        overlap = jnp.trace(square_root(root @ c2 @ root))
    result = ((mean1 - mean2) ** 2).sum() + jnp.trace(c1 + c2) - 2 * overlap
    finite = jnp.array([jnp.isfinite(a).all() for a in (*x, *y)]).all()
    return jnp.where(finite, result, jnp.nan)


if __name__ == "__main__":
    arrays = flatten_dict(train_judge(load_splits().train), sep="/")
    np.savez_compressed(JUDGE, **arrays)
    print(f"SHA256 = {hashlib.sha256(JUDGE.read_bytes()).hexdigest()!r}")
