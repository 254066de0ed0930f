"""CIFAR-100, and All-CNN-C, which is made of convolutions alone (1412.6806, 2014)."""

import jax
from flax import nnx

from benchmarks.data import cifar
from benchmarks.deepobs import images
from benchmarks.deepobs.problem import Array, dropped, keys
from benchmarks.deepobs.problems.cifar10_3c3d import Cifar

# Of each group: channels, size, stride and padding of its convolutions, after dropout.
GROUPS = (
    (0.2, ((96, 3, 1, "SAME"), (96, 3, 1, "SAME"), (96, 3, 2, "SAME"))),
    (0.5, ((192, 3, 1, "SAME"), (192, 3, 1, "SAME"), (192, 3, 2, "SAME"))),
    (0.5, ((192, 3, 1, "VALID"), (192, 1, 1, "SAME"), (100, 1, 1, "SAME"))),
)


class Model(nnx.Module):
    """Nine convolutions; the logits are the means of the last one's channels."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        """Draws the weights; biases are 0.1."""
        layers, inputs = [layer for _, group in GROUPS for layer in group], 3
        for number, (outputs, size, stride, padding) in enumerate(layers, 1):
            layer = nnx.Conv(
                inputs,
                outputs,
                (size, size),
                stride,
                padding=padding,
                kernel_init=nnx.initializers.glorot_normal(),
                bias_init=nnx.initializers.constant(0.1),
                rngs=rngs,
            )
            setattr(self, f"conv{number}", layer)
            inputs = outputs

    def __call__(self, x: Array, key: Array | None = None) -> Array:
        """Returns the logits, none of them negative, of images from 0 to 255."""
        x, number = jax.vmap(images.standardized)(x), 0
        for (rate, group), k in zip(GROUPS, keys(key, len(GROUPS)), strict=True):
            x = dropped(x, rate, k)
            for _ in group:
                number += 1
                x = jax.nn.relu(getattr(self, f"conv{number}")(x))
        return x.mean((1, 2))


class CifarAllCnn(Cifar):
    """Cross entropy, with decay of the weights."""

    name, title, model = "cifar100_allcnnc", "CIFAR-100, All-CNN-C", Model
    kind, batch_size, epochs, weight_decay = cifar.CIFAR100, 256, 350, 0.0005
