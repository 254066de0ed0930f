"""Which models are trained where the whole training step is timed?"""

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.speed.parameters import VOCABULARY, float32, transformer

SCALE = 0.03  # of the weights at the start


class Model(NamedTuple):
    """A model with the batches that it is trained on.

    Attributes:
        shapes: of its parameters.
        loss: of the parameters and a batch.
        batch: draws one of so many examples.
        sizes: how many examples the timed batches have.
    """

    shapes: Any
    loss: Callable[[Any, Any], jax.Array]
    batch: Callable[[int], Any]
    sizes: tuple[int, ...]


def models(large: bool, smoke: bool) -> dict[str, Model]:
    """Returns both models, larger for an accelerator, as small as can be for a test."""
    blocks, width, length = 4, 256, 32
    texts, images = (1, 2, 8), (4, 16, 64)
    if large:
        blocks, width, length = 8, 512, 512
        texts, images = (1, 4, 16), (64, 256, 1024)
    if smoke:
        blocks, width, length = 1, 16, 8
        texts = images = (1,)

    rng = np.random.default_rng(1)

    def tokens(count: int) -> Any:
        return jnp.asarray(rng.integers(VOCABULARY, size=(count, length + 1)))

    def pictures(count: int) -> Any:
        x = rng.standard_normal((count, 32, 32, 3), np.float32)
        return jnp.asarray(x), jnp.asarray(rng.integers(10, size=count))

    return {
        "Transformer": Model(transformer(blocks, width), _text_loss, tokens, texts),
        "convolutional net": Model(_convnet(width // 8), _image_loss, pictures, images),
    }


def _norm(x: jax.Array, scale: Any = 0.0) -> jax.Array:
    return (1 + scale) * x * jax.lax.rsqrt(jnp.square(x).mean(-1, keepdims=True) + 1e-6)


def _attention(x: jax.Array, block: Any) -> jax.Array:
    heads = max(1, x.shape[-1] // 64)
    both = (x @ block["attention_in"]).reshape(*x.shape[:2], 3, heads, -1)
    seen = jax.nn.dot_product_attention(*jnp.moveaxis(both, 2, 0), is_causal=True)
    return seen.reshape(x.shape) @ block["attention_out"]


def _text_loss(params: Any, tokens: jax.Array) -> jax.Array:
    x = params["embedding"][tokens[:, :-1]]
    for block in params["blocks"]:
        x = x + _attention(_norm(x, block["attention_norm"]), block)
        hidden = _norm(x, block["mlp_norm"]) @ block["mlp_in"] + block["mlp_bias"]
        x = x + jax.nn.gelu(hidden) @ block["mlp_out"]
    logits = _norm(x) @ params["embedding"].T
    loss = optax.softmax_cross_entropy_with_integer_labels(logits, tokens[:, 1:])
    return loss.mean()


def _convnet(channels: int) -> Any:
    """Returns the shapes of four convolutions and two dense layers."""
    widths = [3, *(channels * 2**i for i in range(4))]
    kernels = [(3, 3, *pair) for pair in itertools.pairwise(widths)]
    dense = [(4 * widths[-1], 256), (256, 10)]
    return float32(
        {
            "kernels": kernels,
            "dense": dense,
            "biases": [(shape[-1],) for shape in [*kernels, *dense]],
        }
    )


def _image_loss(params: Any, batch: tuple[jax.Array, jax.Array]) -> jax.Array:
    x, labels = batch
    biases = iter(params["biases"])
    for kernel in params["kernels"]:
        layout = "NHWC", "HWIO", "NHWC"
        x = jax.lax.conv_general_dilated(
            x, kernel, (2, 2), "SAME", dimension_numbers=layout
        )
        x = jax.nn.relu(x + next(biases))
    hidden, output = params["dense"]
    x = jax.nn.relu(x.reshape(len(x), -1) @ hidden + next(biases))
    logits = x @ output + next(biases)
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
