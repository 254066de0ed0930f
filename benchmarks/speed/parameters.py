"""On which parameters is a step timed? A transformer's, or many small arrays."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

VOCABULARY = 10_000


def transformer(blocks: int, width: int) -> dict[str, Any]:
    """Returns the shapes of an embedding and of so many blocks."""
    block = {
        "attention_norm": (width,),
        "attention_in": (width, 3 * width),
        "attention_out": (width, width),
        "mlp_norm": (width,),
        "mlp_in": (width, 4 * width),
        "mlp_bias": (4 * width,),
        "mlp_out": (4 * width, width),
    }
    return float32({"embedding": (VOCABULARY, width), "blocks": [block] * blocks})


def llama(layers: int, width: int, scanned: bool) -> dict[str, Any]:
    """Returns the shapes of a model like Llama; 32 layers of 4,096 are 7 B parameters.

    Args:
        layers: how many blocks it has.
        width: of its embeddings.
        scanned: whether all blocks are one, with an axis for the layers in front.
    """
    hidden, vocabulary = 43 * width // 16, 32_000
    attention = ("query", "key", "value", "attention_out")
    block = {
        **dict.fromkeys(("attention_norm", "mlp_norm"), (width,)),
        **dict.fromkeys(attention, (width, width)),
        **dict.fromkeys(("gate", "up"), (width, hidden)),
        "down": (hidden, width),
    }
    stack = {name: (layers, *shape) for name, shape in block.items()}
    ends = {"embedding": (vocabulary, width), "head": (width, vocabulary)}
    blocks = stack if scanned else [block] * layers
    return float32({**ends, "norm": (width,), "blocks": blocks})


def small_arrays(count: int) -> list[Any]:
    """Returns the shapes of so many biases and small kernels."""
    shapes = itertools.cycle([(64,), (32, 32), (3, 3, 8, 16), (128,)])
    return float32(list(itertools.islice(shapes, count)))


def float32(shapes: Any) -> Any:
    """Returns shapes of float32 in place of the tuples in a tree."""
    return jax.tree.map(
        lambda shape: jax.ShapeDtypeStruct(shape, jnp.float32),
        shapes,
        is_leaf=lambda node: isinstance(node, tuple),
    )


def in_dtype(shapes: Any, dtype: Any) -> Any:
    """Returns the same shapes in another dtype."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, dtype), shapes)


def random_tree(seed: int, shapes: Any, scale: float = 1.0) -> Any:
    """Returns normal numbers; zeros might be faster to compute with."""
    rng = np.random.default_rng(seed)

    def draw(x: Any) -> jax.Array:
        numbers = scale * rng.standard_normal(x.shape, np.float32)
        return jnp.asarray(numbers, x.dtype)

    return jax.tree.map(draw, shapes)
