"""A recurrent network of LSTM cells that predicts Shakespeare's next character."""

import jax
import jax.numpy as jnp
from flax import nnx

from benchmarks.data.shakespeare import VOCABULARY
from benchmarks.suite.problem import Array
from benchmarks.suite.problems._text import Text

EMBEDDING, HIDDEN = 32, 64


class Model(nnx.Module):
    """One layer of LSTM."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        """Draws the weights; the recurrent ones are orthogonal, gate by gate."""
        gates = nnx.initializers.orthogonal()
        normal = nnx.initializers.normal(1.0)
        self.embedding = nnx.Embed(
            VOCABULARY, EMBEDDING, embedding_init=normal, rngs=rngs
        )
        self.input = nnx.Linear(EMBEDDING, 4 * HIDDEN, rngs=rngs)
        self.recurrent = nnx.Linear(
            HIDDEN, 4 * HIDDEN, use_bias=False, kernel_init=gates, rngs=rngs
        )
        self.output = nnx.Linear(HIDDEN, VOCABULARY, rngs=rngs)

    def __call__(self, text: Array) -> Array:
        """Returns logits of what follows each character, [crop, time, character]."""
        # Of all characters at once, then looked up: no product but h's in the loop.
        inputs = self.input(self.embedding.embedding[...])[text.T]

        def step(state: tuple, x: Array) -> tuple:
            h, c = state
            i, f, g, o = jnp.split(x + self.recurrent(h), 4, -1)
            c = nnx.sigmoid(f + 1) * c + nnx.sigmoid(i) * jnp.tanh(g)
            h = nnx.sigmoid(o) * jnp.tanh(c)
            return (h, c), h

        zeros = jnp.zeros((len(text), HIDDEN))
        _, hidden = jax.lax.scan(step, (zeros, zeros), inputs)
        return self.output(hidden.swapaxes(0, 1))


class CharLstm(Text):
    """No state is carried from one crop to the next."""

    name, title = "char-lstm", "Shakespeare, LSTM"
    model, batch_size, steps, target = Model, 16, 1_600, 2.9


PROBLEMS = (CharLstm(),)
