"""Trains a Flax NNX model on scikit-learn's digits, with all that a project needs.

    python examples/flax_nnx.py --directory RUN

It has clipping by norm, warm-up and cosine decay, weight decay of the kernels alone,
bfloat16 activations, accumulated gradients, TensorBoard and checkpoints. Ctrl-C saves
and ends. The same command then goes on from the newest checkpoint.
"""

import argparse
import signal
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
from flax import nnx
from sklearn.datasets import load_digits
from tensorboardX import SummaryWriter

from adabelief_optax import aida, stepsize_statistics

BATCH, ACCUMULATED, SCHEDULE, LOG_EVERY, SAVE_EVERY = 64, 2, 400, 20, 100


class Network(nnx.Module):
    """A perceptron that computes in bfloat16; its parameters are float32."""

    def __init__(self, width: int, rngs: nnx.Rngs) -> None:
        """Draws the weights."""
        self.inner = nnx.Linear(64, width, dtype=jnp.bfloat16, rngs=rngs)
        self.norm = nnx.LayerNorm(width, dtype=jnp.bfloat16, rngs=rngs)
        self.outer = nnx.Linear(width, 10, dtype=jnp.bfloat16, rngs=rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        """Returns the logits, in float32 for the loss."""
        x = nnx.relu(self.norm(self.inner(images)))
        return self.outer(x).astype(jnp.float32)


def make_optimizer() -> optax.MultiSteps:
    """Returns Aida on accumulated gradients; the schedule counts Aida's steps."""
    rate = optax.warmup_cosine_decay_schedule(0.0, 1e-2, 20, SCHEDULE // ACCUMULATED)
    rule = aida(
        rate,
        weight_decay=1e-2,
        # Biases and norms do not decay. In a model that scans over layers, arrays
        # of several layers have one more axis: there, write p.ndim > 2.
        weight_decay_mask=lambda tree: jax.tree.map(lambda p: p.ndim > 1, tree),
    )
    tx = optax.chain(optax.clip_by_global_norm(1.0), rule)
    return optax.MultiSteps(tx, every_k_schedule=ACCUMULATED)


def loss_of(model: Network, x: jax.Array, y: jax.Array) -> jax.Array:
    """Returns the mean cross entropy."""
    return optax.softmax_cross_entropy_with_integer_labels(model(x), y).mean()


# JAX pairs donated buffers with outputs in their order. nnx.jit keeps that order.
@partial(nnx.jit, donate_argnums=(0, 1))
def train_step(
    model: Network, optimizer: nnx.Optimizer, x: jax.Array, y: jax.Array
) -> jax.Array:
    """Updates model and optimizer in place, and returns the loss."""
    loss, grads = nnx.value_and_grad(loss_of)(model, x, y)
    optimizer.update(model, grads)
    return loss


def log(writer: SummaryWriter, step: int, metrics: dict[str, jax.Array]) -> None:
    """Prints the loss, and writes all metrics for TensorBoard."""
    print(f"step {step}: loss {float(metrics['loss']):.3f}", flush=True)
    for name, value in metrics.items():
        writer.add_scalar(name, float(value), step)


def resume(manager: ocp.CheckpointManager, like: Any) -> tuple[int, Any]:
    """Returns step and arrays of the newest checkpoint that can be read, or 0, None."""
    sys.unraisablehook = lambda _: None  # else Orbax's threads print more errors
    steps, problem = sorted(manager.all_steps(), reverse=True), ""
    for step in steps:
        try:
            arrays = manager.restore(step, args=ocp.args.StandardRestore(like))
        except Exception as error:  # Orbax has no class of its own for these
            words = " ".join(str(error).split())[:200]
            problem = problem or f"checkpoint {step} cannot be read ({words})"
            continue
        if problem:
            print(f"{problem}: it is renamed, and the run goes on from step {step}")
        for newer in steps[: steps.index(step)]:
            path = manager.directory / str(newer)
            path.rename(path.with_name(f"damaged-{newer}-{time.time():.0f}"))
        manager.reload()
        return step, arrays
    if problem:
        raise SystemExit(f"{problem}, nor can an older one: nothing is changed")
    return 0, None


def main() -> None:
    """Trains, from the checkpoint if there is one, and prints the accuracy."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=SCHEDULE, help="train up to here")
    parser.add_argument("--directory", type=Path, required=True, help="for the run")
    args = parser.parse_args()
    if args.steps < 1:
        parser.error(f"--steps is {args.steps}, allowed is an integer >= 1")
    x, y = load_digits(return_X_y=True)
    x, y = (x / 16).astype(np.float32), y.astype(np.int32)
    model = Network(128, nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, make_optimizer(), wrt=nnx.Param)
    statistics = nnx.jit(stepsize_statistics)
    events, stop = args.directory / "events", threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    print(f"checkpoints in {args.directory}, curves in {events}; to see them:")
    print(f"pip install tensorboard; tensorboard --logdir {events}")
    options = ocp.CheckpointManagerOptions(SAVE_EVERY, max_to_keep=2)
    with ocp.CheckpointManager(args.directory.absolute(), options=options) as manager:
        start, arrays = resume(manager, nnx.state((model, optimizer)))
        if start:
            nnx.update((model, optimizer), arrays)
            print(f"resumed at step {start}")
        if start > args.steps:
            raise SystemExit(f"--steps is {args.steps}, but {start} are done already")
        # purge_step drops the points that a killed run has written after its last
        # checkpoint. Without the suffix, a run that goes on within the same second
        # would write over the file of the one before.
        suffix = f".{time.time_ns()}"
        writer = SummaryWriter(
            str(events), purge_step=start + 1, filename_suffix=suffix
        )
        for step in range(start + 1, args.steps + 1):
            batch = np.random.default_rng(step).integers(1500, size=BATCH)
            loss = train_step(model, optimizer, x[batch], y[batch])
            if step % LOG_EVERY == 0:
                log(writer, step, {"loss": loss, **statistics(optimizer.opt_state)})
            state = ocp.args.StandardSave(nnx.state((model, optimizer)))
            manager.save(step, args=state, force=step == args.steps or stop.is_set())
            if stop.is_set():
                writer.close()
                print(f"told to end: saved step {step}")
                raise SystemExit(130)
    writer.close()
    digits = nnx.jit(Network.__call__)(model, x[1500:]).argmax(-1)
    print(f"test accuracy {(digits == y[1500:]).mean():.3f}")


if __name__ == "__main__":
    main()
