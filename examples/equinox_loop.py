"""Trains an Equinox model on scikit-learn's digits, with all that a project needs.

    python examples/equinox_loop.py --directory RUN

It has clipping by norm, warm-up and cosine decay, weight decay of the kernels alone,
bfloat16 activations, accumulated gradients, TensorBoard and checkpoints. Ctrl-C saves
and ends. The same command then goes on from the newest checkpoint.
"""

import argparse
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
from sklearn.datasets import load_digits
from tensorboardX import SummaryWriter

from adabelief_optax import aida, stepsize_statistics

BATCH, ACCUMULATED, SCHEDULE, LOG_EVERY, SAVE_EVERY = 64, 2, 400, 20, 100


def make_model(width: int, key: jax.Array) -> eqx.nn.Sequential:
    """Returns a perceptron for one image, in float32."""
    inner, outer = jax.random.split(key)
    first, norm = eqx.nn.Linear(64, width, key=inner), eqx.nn.LayerNorm(width)
    last = eqx.nn.Linear(width, 10, key=outer)
    return eqx.nn.Sequential([first, norm, eqx.nn.Lambda(jax.nn.relu), last])


def logits_of(model: eqx.Module, x: jax.Array) -> jax.Array:
    """Returns a batch of logits, computed in bfloat16 from float32 parameters."""
    params, rest = eqx.partition(model, eqx.is_inexact_array)
    half = jax.tree.map(lambda p: p.astype(jnp.bfloat16), params)
    logits = jax.vmap(eqx.combine(half, rest))(x.astype(jnp.bfloat16))
    return logits.astype(jnp.float32)


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


def loss_of(model: eqx.Module, x: jax.Array, y: jax.Array) -> jax.Array:
    """Returns the mean cross entropy."""
    logits = logits_of(model, x)
    return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()


TX = make_optimizer()


# JAX pairs donated buffers with outputs in their order: return model and state in the
# order of the arguments.
@eqx.filter_jit(donate="all-except-first")
def train_step(
    batch: tuple[jax.Array, jax.Array], model: eqx.Module, opt_state: optax.OptState
) -> tuple[eqx.Module, optax.OptState, jax.Array]:
    """Returns the next model and state, and the loss."""
    loss, grads = eqx.filter_value_and_grad(loss_of)(model, *batch)
    params = eqx.filter(model, eqx.is_inexact_array)
    updates, opt_state = TX.update(grads, opt_state, params)
    return eqx.apply_updates(model, updates), opt_state, loss


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
    model = make_model(128, jax.random.key(0))
    opt_state = TX.init(eqx.filter(model, eqx.is_inexact_array))
    statistics = jax.jit(stepsize_statistics)
    events, stop = args.directory / "events", threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    print(f"checkpoints in {args.directory}, curves in {events}; to see them:")
    print(f"pip install tensorboard; tensorboard --logdir {events}")
    options = ocp.CheckpointManagerOptions(SAVE_EVERY, max_to_keep=2)
    with ocp.CheckpointManager(args.directory.absolute(), options=options) as manager:
        start, arrays = resume(manager, eqx.filter((model, opt_state), eqx.is_array))
        if start:
            model, opt_state = eqx.combine(arrays, (model, opt_state))
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
            images, labels = x[batch], y[batch]
            model, opt_state, loss = train_step((images, labels), model, opt_state)
            if step % LOG_EVERY == 0:
                log(writer, step, {"loss": loss, **statistics(opt_state)})
            arrays = eqx.filter((model, opt_state), eqx.is_array)
            items = ocp.args.StandardSave(arrays)
            manager.save(step, args=items, force=step == args.steps or stop.is_set())
            if stop.is_set():
                writer.close()
                print(f"told to end: saved step {step}")
                raise SystemExit(130)
    writer.close()
    digits = eqx.filter_jit(logits_of)(model, x[1500:]).argmax(-1)
    print(f"test accuracy {(digits == y[1500:]).mean():.3f}")


if __name__ == "__main__":
    main()
