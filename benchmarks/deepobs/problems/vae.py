"""MNIST and Fashion-MNIST, and a variational autoencoder of convolutions."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from benchmarks.data import Splits, fashion_mnist, mnist_whole
from benchmarks.deepobs.problem import (
    Array,
    Measures,
    Network,
    dropped,
    first_validate,
    keys,
)

LATENT, DROPOUT = 8, 0.2
GLOROT = {"kernel_init": nnx.initializers.glorot_uniform()}


def leaky(x: Array) -> Array:
    """Returns x where it is positive, else 0.3 x."""
    return jax.nn.leaky_relu(x, 0.3)


class Model(nnx.Module):
    """Three convolutions to 8 latent numbers, three transposed ones back."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        """Draws the weights: Glorot's uniform ones, and no biases."""

        def conv(inputs: int, stride: int) -> nnx.Conv:
            return nnx.Conv(inputs, 64, (4, 4), stride, rngs=rngs, **GLOROT)

        def back(inputs: int, stride: int) -> nnx.ConvTranspose:
            # With `transpose_kernel` it is the gradient of a convolution, as in
            # TensorFlow.
            return nnx.ConvTranspose(
                inputs, 64, (4, 4), stride, transpose_kernel=True, rngs=rngs, **GLOROT
            )

        def dense(inputs: int, outputs: int) -> nnx.Linear:
            return nnx.Linear(inputs, outputs, rngs=rngs, **GLOROT)

        self.conv1, self.conv2, self.conv3 = conv(1, 2), conv(64, 2), conv(64, 1)
        self.mean, self.spread = dense(3136, LATENT), dense(3136, LATENT)
        self.dense1, self.dense2 = dense(LATENT, 24), dense(24, 49)
        self.back1, self.back2, self.back3 = back(1, 2), back(64, 1), back(64, 1)
        self.pixels = dense(14 * 14 * 64, 784)

    def encode(self, x: Array, key: Array | None) -> tuple[Array, Array]:
        """Returns μ, and s = log σ, of images with pixels from 0 to 1."""
        x = x[..., None]
        for layer, k in zip(
            (self.conv1, self.conv2, self.conv3), keys(key, 3), strict=True
        ):
            x = dropped(leaky(layer(x)), DROPOUT, k)
        x = x.reshape(len(x), -1)
        return self.mean(x), self.spread(x) / 2

    def decode(self, z: Array, key: Array | None) -> Array:
        """Returns rows of pixels."""
        x = leaky(self.dense2(leaky(self.dense1(z)))).reshape(-1, 7, 7, 1)
        for layer, k in zip((self.back1, self.back2), keys(key, 2), strict=True):
            x = dropped(jax.nn.relu(layer(x)), DROPOUT, k)
        x = jax.nn.relu(self.back3(x))
        return jax.nn.sigmoid(self.pixels(x.reshape(len(x), -1)))


class Vae(Network):
    """The squared error of all pixels, and the divergence of z from the normal."""

    model, metric, batch_size = Model, "loss", 64

    def measure(
        self, params: Any, memory: Any, batch: Any, key: Array, training: bool
    ) -> tuple[Measures, Any]:
        """Returns the mean loss; z is drawn in evaluation too."""
        draw, *drop = jax.random.split(key, 3)
        encode, decode = drop if training else (None, None)
        module, x = self.module(params), batch[0] / 255
        mean, s = module.encode(x, encode)
        z = mean + jax.random.normal(draw, mean.shape) * jnp.exp(s)
        error = (module.decode(z, decode) - x.reshape(len(x), -1)) ** 2
        divergence = -(1 + 2 * s - mean**2 - jnp.exp(2 * s)).sum(-1) / 2
        return {"loss": (error.sum(-1) + divergence).mean()}, memory


class MnistVae(Vae):
    """On digits."""

    name, title, epochs = "mnist_vae", "MNIST, VAE", 50

    def load(self) -> Splits:
        """Returns 50,000 images to train, 10,000 to validate and 10,000 to test."""
        return first_validate(*mnist_whole.read())


class FashionVae(Vae):
    """On clothes."""

    name, title, epochs = "fmnist_vae", "Fashion-MNIST, VAE", 100

    def load(self) -> Splits:
        """Returns 50,000 images to train, 10,000 to validate and 10,000 to test."""
        return first_validate(*fashion_mnist.read())
