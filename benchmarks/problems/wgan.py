"""Fashion-MNIST, generated: a Wasserstein GAN with gradient penalty (1704.00028, 2017).

Gulrajani, Ahmed, Arjovsky, Dumoulin and Courville: Improved Training of Wasserstein GANs.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from benchmarks import fashion_mnist, frechet
from benchmarks.problem import Array, Network, Splits

LATENT, HIDDEN, CRITIC_STEPS, PENALTY = 32, 256, 3, 10.0


class Generator(nnx.Module):
    """Two dense layers, from a normal vector to an image."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.dense1 = nnx.Linear(LATENT, HIDDEN, rngs=rngs)
        self.dense2 = nnx.Linear(HIDDEN, HIDDEN, rngs=rngs)
        self.dense3 = nnx.Linear(HIDDEN, 28 * 28, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = nnx.leaky_relu(self.dense1(x), 0.2)
        x = nnx.leaky_relu(self.dense2(x), 0.2)
        return nnx.sigmoid(self.dense3(x))


class Critic(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.dense1 = nnx.Linear(28 * 28, HIDDEN, rngs=rngs)
        self.dense2 = nnx.Linear(HIDDEN, HIDDEN // 2, rngs=rngs)
        self.dense3 = nnx.Linear(HIDDEN // 2, 1, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = nnx.leaky_relu(self.dense1(x), 0.2)
        x = nnx.leaky_relu(self.dense2(x), 0.2)
        return self.dense3(x)[:, 0]


class Model(nnx.Module):
    """Both players."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.generator, self.critic = Generator(rngs), Critic(rngs)


class WGAN(Network):
    name, title, metric = "wgan", "Fashion-MNIST, WGAN-GP", "Fréchet distance"
    model, batch_size, steps, target = Model, 64, 400, 10.0
    cosine, betas = False, (0.5, 0.999)

    def load(self) -> Splits:
        train, valid, test = fashion_mnist.load_splits()
        params = frechet.classifier(train)

        def judge(images, seed, count):
            latent = jax.random.normal(jax.random.key(seed), (count, LATENT))
            real = frechet.moments(frechet.features(params, images))
            return {"classifier": params, "real": real, "latent": latent}

        return jax.device_put(Splits(train[0], judge(valid[0], 0, 1000), judge(test[0], 1, 5000)))

    def measure(self, params, split):
        images = self.module(params).generator(split["latent"])
        fake = frechet.features(split["classifier"], 255 * images.reshape(-1, 28, 28))
        return frechet.distance(split["real"], frechet.moments(fake))

    def loss(self, params, batch, key):
        """Critic's."""
        model, (draw, mix) = self.module(params), jax.random.split(key)
        real = batch.reshape(len(batch), -1) / 255
        fake = model.generator(jax.random.normal(draw, (len(real), LATENT)))
        between = fake + jax.random.uniform(mix, (len(real), 1)) * (real - fake)
        slopes = jax.grad(lambda x: model.critic(x).sum())(between)
        norms = jnp.sqrt((slopes**2).sum(1) + 1e-12)
        return (model.critic(fake) - model.critic(real)).mean() + PENALTY * ((norms - 1) ** 2).mean()

    def generator_loss(self, params, key):
        model = self.module(params)
        return -model.critic(model.generator(jax.random.normal(key, (self.batch_size, LATENT)))).mean()

    def start(self, tx, params):
        return {k: tx.init(p) for k, p in params.items()}

    def improve(self, tx, player, loss, params, state):
        value, grads = jax.value_and_grad(lambda p: loss(params | {player: p}))(params[player])
        updates, new = tx.update(grads, state[player], params[player])
        return params | {player: optax.apply_updates(params[player], updates)}, state | {player: new}, value

    def step(self, tx, params, state, train, key):
        *keys, last = jax.random.split(key, CRITIC_STEPS + 1)
        def f(carry, key):
            a, b = jax.random.split(key)
            batch = self.batch(train, a)
            *carry, value = self.improve(tx, "critic", lambda p: self.loss(p, batch, b), *carry)
            return tuple(carry), value
        (params, state), values = jax.lax.scan(f, (params, state), jnp.stack(keys))
        params, state, _ = self.improve(tx, "generator", lambda p: self.generator_loss(p, last), params, state)
        return params, state, values.mean()


PROBLEMS: tuple[Any, ...] = (WGAN(),)
