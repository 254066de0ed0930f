"""On which parameters is a step timed? A transformer's, or many small arrays."""

import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp

VOCABULARY = 10_000


def transformer(parameters: int, width: int) -> dict[str, Any]:
    """Returns the shapes of an embedding and, for the rest, of whole blocks."""
    block = {
        "attention_norm": (width,),
        "attention_in": (width, 3 * width),
        "attention_out": (width, width),
        "mlp_norm": (width,),
        "mlp_in": (width, 4 * width),
        "mlp_bias": (4 * width,),
        "mlp_out": (4 * width, width),
    }
    missing = parameters - VOCABULARY * width
    count = max(0, math.ceil(missing / sum(map(math.prod, block.values()))))
    return _float32({"embedding": (VOCABULARY, width), "blocks": [block] * count})


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
    return _float32({**ends, "norm": (width,), "blocks": blocks})


def small_arrays(count: int) -> list[Any]:
    """Returns the shapes of so many biases and small kernels."""
    shapes = itertools.cycle([(64,), (32, 32), (3, 3, 8, 16), (128,)])
    return _float32(list(itertools.islice(shapes, count)))


def _float32(shapes: Any) -> Any:
    return jax.tree.map(
        lambda shape: jax.ShapeDtypeStruct(shape, jnp.float32),
        shapes,
        is_leaf=lambda node: isinstance(node, tuple),
    )


def in_dtype(shapes: Any, dtype: Any) -> Any:
    """Returns the same shapes in another dtype."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, dtype), shapes)


def random_tree(seed: int, shapes: Any) -> Any:
    """Returns normal numbers; zeros might be faster to compute with."""
    leaves, structure = jax.tree.flatten(shapes)
    keys = jax.random.split(jax.random.key(seed), len(leaves))
    draw = jax.random.normal
    arrays = [draw(k, x.shape, x.dtype) for k, x in zip(keys, leaves, strict=True)]
    return structure.unflatten(arrays)
