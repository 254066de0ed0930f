"""War and Peace, character by character, and two LSTM layers."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from benchmarks.data import Splits, tolstoi
from benchmarks.deepobs.problem import (
    Array,
    Measures,
    Network,
    cross_entropy,
    dropped,
    keys,
)

HIDDEN, LENGTH, STREAMS, DROPOUT = 128, 50, 50, 0.2
VALIDATE = 653_237  # the first characters to train; as many as there are to test


def glorot(key: Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
    """Returns Glorot's uniform numbers; a vector has as many inputs as outputs."""
    limit = (6 / (shape[0] + shape[-1])) ** 0.5
    return jax.random.uniform(key, shape, dtype, -limit, limit)


class Cell(nnx.Module):
    """An LSTM layer with one matrix for all gates, and 1 added to the forget gate."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        """Draws the weights; biases are 0."""
        self.gates = nnx.Linear(2 * HIDDEN, 4 * HIDDEN, kernel_init=glorot, rngs=rngs)

    def __call__(self, xs: Array, memory: tuple[Array, Array]) -> tuple[Array, Any]:
        """Returns the outputs at all times, which is their first axis, and the end."""

        def step(memory: tuple[Array, Array], x: Array) -> tuple[Any, Array]:
            c, h = memory
            gates = self.gates(jnp.concatenate([x, h], -1))
            entry, new, forget, exit = jnp.split(gates, 4, -1)
            c = jax.nn.sigmoid(forget + 1) * c + jax.nn.sigmoid(entry) * jnp.tanh(new)
            h = jax.nn.sigmoid(exit) * jnp.tanh(c)
            return (c, h), h

        memory, outputs = jax.lax.scan(step, memory, xs)
        return outputs, memory


class Model(nnx.Module):
    """Dropout before and after each layer, other entries at each time."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        """Draws the weights."""
        self.embedding = nnx.Embed(
            tolstoi.VOCABULARY, HIDDEN, embedding_init=glorot, rngs=rngs
        )
        self.layer1, self.layer2 = Cell(rngs), Cell(rngs)
        self.logits = nnx.Linear(
            HIDDEN, tolstoi.VOCABULARY, kernel_init=glorot, bias_init=glorot, rngs=rngs
        )

    def __call__(self, x: Array, memory: Any, key: Array | None) -> tuple[Array, Any]:
        """Returns the logits of a batch of rows, and what the layers remember."""
        x, drop, new = self.embedding(x.T), keys(key, 4), []
        for i, layer in enumerate((self.layer1, self.layer2)):
            x, end = layer(dropped(x, DROPOUT, drop[2 * i]), memory[i])
            x = dropped(x, DROPOUT, drop[2 * i + 1])
            new.append(end)
        return self.logits(x.swapaxes(0, 1)), tuple(new)


def rows(characters: np.ndarray) -> tuple[Array, Array]:
    """Returns windows of 50 characters, and of those that follow each.

    The text is laid out in 50 streams; 50 rows are a batch, a window of each stream.
    """
    count = (len(characters) - 1) // (STREAMS * LENGTH) * STREAMS * LENGTH
    if not count:
        raise ValueError(f"expected over {STREAMS * LENGTH} characters")

    def windows(x: np.ndarray) -> Array:
        streams = x.reshape(STREAMS, -1, LENGTH)
        return jnp.asarray(streams.swapaxes(0, 1).reshape(-1, LENGTH))

    return windows(characters[:count]), windows(characters[1 : count + 1])


class TolstoiCharRnn(Network):
    """Cross entropy of the next character; gradients end with the window."""

    name, title, model = "tolstoi_char_rnn", "War and Peace, LSTM", Model
    metric, batch_size, epochs, shuffled = "accuracy", STREAMS, 200, False

    def load(self, validate: int = VALIDATE) -> Splits:
        """Returns windows; the first characters of those to train validate."""
        train, test = tolstoi.read()
        return Splits(rows(train[validate:]), rows(train[:validate]), rows(test))

    def memory(self) -> Any:
        """Returns zeros: every pass over the text begins so."""
        zero = jnp.zeros((STREAMS, HIDDEN))
        return ((zero, zero), (zero, zero))

    def measure(
        self, params: Any, memory: Any, batch: Any, key: Array, training: bool
    ) -> tuple[Measures, Any]:
        """Returns the mean loss of all characters, and the share of right ones."""
        x, y = batch
        logits, memory = self.module(params)(x, memory, key if training else None)
        right = (logits.argmax(-1) == y).mean()
        return {"loss": cross_entropy(logits, y), "accuracy": right}, memory
