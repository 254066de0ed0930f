"""A Wasserstein GAN with gradient penalty: one step of training two players.

    critic       mean c(fake) − mean c(real) + λ mean (|∇c(between)| − 1)²
    generator    −mean c(fake)

where c is the critic and each image between is drawn from the line that joins a real
and a generated one. The critic takes several steps for each of the generator. Both have
the same optimizer, with a state each.

References:
    Gulrajani, Ahmed, Arjovsky, Dumoulin, Courville: Improved Training of Wasserstein
    GANs, arXiv 1704.00028, 2017
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from benchmarks.suite.problem import Array, Network


class GAN(Network):
    """A model of `generator` and `critic`, whose images are rows; real ones, bytes."""

    latent: int  # size of the normal vectors that the generator makes images of
    critic_steps = 5  # for each of the generator
    penalty = 10.0  # λ
    cosine, betas = False, (0.5, 0.999)  # as AdaBelief's authors set for GANs

    def latents(self, key: Array, count: int) -> Array:
        """Returns what the generator starts from."""
        return jax.random.normal(key, (count, self.latent))

    def generate(self, params: Any, latents: Array) -> Array:
        """Returns images, of pixels from 0 to 1."""
        return nnx.sigmoid(self.module(params).generator(latents))

    def loss(self, params: Any, batch: Any, key: Array) -> Array:
        """Returns the critic's loss."""
        critic, (draw, mix) = self.module(params).critic, jax.random.split(key)
        real = batch.reshape(len(batch), -1) / 255
        fake = self.generate(params, self.latents(draw, len(real)))
        between = fake + jax.random.uniform(mix, (len(real), 1)) * (real - fake)
        slopes = jax.grad(lambda x: critic(x).sum())(between)
        # The root has no slope at 0, the length if the critic has died.
        lengths = jnp.sqrt((slopes**2).sum(1) + 1e-12)
        separation = critic(fake).mean() - critic(real).mean()
        return separation + self.penalty * ((lengths - 1) ** 2).mean()

    def generator_loss(self, params: Any, key: Array) -> Array:
        """Returns the generator's loss, on as many images as are in a batch."""
        fake = self.generate(params, self.latents(key, self.batch_size))
        return -self.module(params).critic(fake).mean()

    def start(self, tx: optax.GradientTransformation, params: Any) -> Any:
        """Returns a state for each player."""
        return {player: tx.init(params[player]) for player in params}

    def turn(self, tx: Any, player: str, loss: Callable, carry: Any) -> Any:
        """Returns parameters and states after a step of one player, and its loss."""
        params, state = carry
        mine = params[player]
        value, grads = jax.value_and_grad(lambda p: loss(params | {player: p}))(mine)
        updates, new = tx.update(grads, state[player], mine)
        mine = optax.apply_updates(mine, updates)
        return (params | {player: mine}, state | {player: new}), value

    def step(
        self,
        tx: optax.GradientTransformation,
        params: Any,
        state: Any,
        train: Any,
        key: Array,
    ) -> tuple[Any, Any, Array]:
        """Returns both after a generator's step, and the mean of the critic's losses.

        The critic's steps come first.
        """

        def criticise(carry: Any, key: Array) -> Any:
            draw, noise = jax.random.split(key)
            loss = partial(self.loss, batch=self.batch(train, draw), key=noise)
            return self.turn(tx, "critic", loss, carry)

        last, *keys = jax.random.split(key, self.critic_steps + 1)
        carry, losses = jax.lax.scan(criticise, (params, state), jnp.stack(keys))
        generate = partial(self.generator_loss, key=last)
        (params, state), _ = self.turn(tx, "generator", generate, carry)
        return params, state, losses.mean()
