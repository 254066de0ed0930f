"""A variational autoencoder on 5,000 images of MNIST."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from sklearn.model_selection import train_test_split

from benchmarks.data import Splits
from benchmarks.data.mnist import PIXELS, read
from benchmarks.suite.problem import Array, Network

HIDDEN, LATENT = 200, 16


class Model(nnx.Module):
    """Kingma and Welling's (2013, arXiv 1312.6114), one hidden layer to each side."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        """Draws the weights."""
        self.encoder = nnx.Linear(PIXELS, HIDDEN, rngs=rngs)
        self.posterior = nnx.Linear(HIDDEN, 2 * LATENT, rngs=rngs)
        self.decoder = nnx.Linear(LATENT, HIDDEN, rngs=rngs)
        self.pixels = nnx.Linear(HIDDEN, PIXELS, rngs=rngs)

    def __call__(self, images: Array, key: Array) -> Array:
        """Returns the negative ELBO of each image, with one draw of z, in nats."""
        hidden = nnx.relu(self.encoder(images))
        mean, log_var = jnp.split(self.posterior(hidden), 2, -1)
        z = mean + jnp.exp(log_var / 2) * jax.random.normal(key, mean.shape)
        logits = self.pixels(nnx.relu(self.decoder(z)))
        reconstruction = optax.sigmoid_binary_cross_entropy(logits, images).sum(-1)
        divergence = (mean**2 + jnp.exp(log_var) - 1 - log_var).sum(-1) / 2
        return reconstruction + divergence


class MnistVae(Network):
    """The negative ELBO; pixels are Bernoulli, so the images are black and white."""

    name, title, metric = "mnist-vae", "MNIST-5k, VAE", "negative ELBO (nats)"
    model, batch_size, steps, target = Model, 64, 2_400, 111.0

    def load(self) -> Splits:
        """Returns 4,000 images to train, 500 to validate, 500 to test: 0 or 1."""
        rows = read()
        split = partial(train_test_split, random_state=0)
        train, rest = split(rows, test_size=1000, stratify=rows[:, -1])
        halves = split(rest, test_size=500, stratify=rest[:, -1])
        white = [(x[:, :-1] > 127).astype(np.float32) for x in (train, *halves)]
        return Splits(*jax.device_put(white))

    def loss(self, params: Any, batch: Any, key: Array) -> Array:
        """Returns the mean negative ELBO of a batch."""
        return self.module(params)(batch, key).mean()

    def measure(self, params: Any, split: Any) -> Array:
        """Returns the mean negative ELBO; the draws of z are always the same."""
        return self.loss(params, split, jax.random.key(0))


PROBLEMS = (MnistVae(),)
