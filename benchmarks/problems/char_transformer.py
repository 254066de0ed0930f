"""A small causal Transformer that predicts Shakespeare's next character."""

import jax
import jax.numpy as jnp
from flax import nnx

from benchmarks.problem import Array
from benchmarks.shakespeare import VOCABULARY, Text

WIDTH, HEADS, LAYERS = 32, 2, 2


class Block(nnx.Module):
    """Attention and two dense layers, each after a LayerNorm, each added to its input."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        """Draws the weights."""
        self.norm1 = nnx.LayerNorm(WIDTH, rngs=rngs)
        self.qkv = nnx.Linear(WIDTH, 3 * WIDTH, use_bias=False, rngs=rngs)
        self.out = nnx.Linear(WIDTH, WIDTH, use_bias=False, rngs=rngs)
        self.norm2 = nnx.LayerNorm(WIDTH, rngs=rngs)
        self.up = nnx.Linear(WIDTH, 4 * WIDTH, rngs=rngs)
        self.down = nnx.Linear(4 * WIDTH, WIDTH, rngs=rngs)

    def attend(self, x: Array) -> Array:
        """Returns what each time reads from those before it and from itself."""
        crops, times, _ = x.shape
        qkv = self.qkv(x).reshape(crops, times, 3, HEADS, WIDTH // HEADS)
        q, k, v = qkv.transpose(2, 0, 3, 1, 4)
        scores = q @ k.swapaxes(-1, -2) * (WIDTH // HEADS) ** -0.5
        past = jnp.broadcast_to(jnp.tri(times, dtype=bool), scores.shape)
        weights = jax.nn.softmax(jnp.where(past, scores, -1e9))
        return self.out((weights @ v).swapaxes(1, 2).reshape(x.shape))

    def __call__(self, x: Array) -> Array:
        """Returns the next layer's input, [crop, time, width]."""
        x += self.attend(self.norm1(x))
        return x + self.down(nnx.relu(self.up(self.norm2(x))))


class Model(nnx.Module):
    """Pre-norm, with learned positions."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        """Draws the weights."""
        self.embedding = nnx.Embed(VOCABULARY, WIDTH, rngs=rngs)
        self.positions = nnx.Param(
            0.02 * jax.random.normal(rngs.params(), (Text.length, WIDTH))
        )
        for i in range(LAYERS):
            setattr(self, f"block{i}", Block(rngs))
        self.norm = nnx.LayerNorm(WIDTH, rngs=rngs)
        self.output = nnx.Linear(WIDTH, VOCABULARY, rngs=rngs)

    def __call__(self, text: Array) -> Array:
        """Returns the logits of what follows each character, [crop, time, character]."""
        x = self.embedding(text)
        x += jnp.broadcast_to(self.positions[: text.shape[1]], x.shape)
        for i in range(LAYERS):
            x = getattr(self, f"block{i}")(x)
        return self.output(self.norm(x))


class CharTransformer(Text):
    """Two layers, two heads."""

    name, title = "char-transformer", "Shakespeare, Transformer"
    model, batch_size, steps, target = Model, 16, 400, 0.0


PROBLEMS = (CharTransformer(),)
