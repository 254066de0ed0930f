"""What do all devices compute, and which arrays has each of them?

All have the parameters; the optimizer's state is spread over them.
"""

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from benchmarks.hosts import network
from benchmarks.optimizers import OPTIMIZERS

EPS = {"eps": 1e-8, "eps_root": 1e-8}  # the authors' for images
LAYERWISE = {"stacked_axes": network.STACKED_AXES}
ARGUMENTS = {
    "adabelief": EPS,
    "aida": LAYERWISE,
    "ladam": LAYERWISE,
    "ladabelief": LAYERWISE,
    "adam": {},
    "optax.adabelief": EPS,
}


class State(NamedTuple):
    """What a step changes."""

    params: Any
    opt_state: Any


def optimizer(args: argparse.Namespace) -> optax.GradientTransformation:
    """Returns the optimizer that the options ask for."""
    dtypes = {}
    if args.moments != "float32":
        if args.optimizer in ("adam", "optax.adabelief"):
            raise SystemExit(
                f"--moments is {args.moments}, but {args.optimizer} is Optax's, which "
                "has no dtype for both moments; allowed is float32"
            )
        dtypes = {"mu_dtype": args.moments, "nu_dtype": args.moments}
    given = ARGUMENTS[args.optimizer] | dtypes
    return OPTIMIZERS[args.optimizer].rule(args.learning_rate, **given)


def divided(mesh: jax.sharding.Mesh, leaf: Any) -> NamedSharding:
    """Returns a sharding over the first dimension that the devices divide."""
    axes: list[str | None] = [None] * len(leaf.shape)
    for i, length in enumerate(leaf.shape):
        if length and length % mesh.size == 0:
            axes[i] = "data"
            break
    return NamedSharding(mesh, PartitionSpec(*axes))


class Program(NamedTuple):
    """The compiled functions, and where their arrays are."""

    init: Callable[[], State]
    step: Callable[[State, jax.Array, jax.Array], tuple[State, jax.Array]]
    like: State  # shapes, dtypes and shardings
    batch: NamedSharding


def layout(mesh: jax.sharding.Mesh, shapes: State) -> State:
    """Returns shapes with shardings: the parameters everywhere, the rest spread."""

    def placed(sharding: NamedSharding, x: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)

    everywhere = partial(placed, NamedSharding(mesh, PartitionSpec()))
    return State(
        jax.tree.map(everywhere, shapes.params),
        jax.tree.map(lambda x: placed(divided(mesh, x), x), shapes.opt_state),
    )


def build(args: argparse.Namespace) -> Program:
    """Returns the functions of a run over all devices of all processes."""
    mesh = jax.make_mesh((jax.device_count(),), ("data",), axis_types=(AxisType.Auto,))
    tx, loss = optimizer(args), jax.value_and_grad(network.evaluate, has_aux=True)

    def init() -> State:
        params = network.draw(args.width, args.depth, args.seed)
        return State(params, tx.init(params))

    def step(
        state: State, images: jax.Array, labels: jax.Array
    ) -> tuple[State, jax.Array]:
        (mean, _), grads = loss(state.params, images, labels)
        # Each device updates its part of the state, then all get the parameters.
        parts = jax.tree.map(partial(divided, mesh), grads)
        grads = jax.lax.with_sharding_constraint(grads, parts)
        updates, opt_state = tx.update(grads, state.opt_state, state.params)
        return State(optax.apply_updates(state.params, updates), opt_state), mean

    like = layout(mesh, jax.eval_shape(init))
    state = jax.tree.map(lambda x: x.sharding, like)
    batch, mean = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in (["data"], []))
    step = jax.jit(
        step,
        in_shardings=(state, batch, batch),
        out_shardings=(state, mean),
        donate_argnums=0,
    )
    return Program(jax.jit(init, out_shardings=state), step, like, batch)


def place(array: np.ndarray, sharding: NamedSharding) -> jax.Array:
    """Returns a global array, of which each process makes its own part alone."""
    return jax.make_array_from_callback(array.shape, sharding, array.__getitem__)
