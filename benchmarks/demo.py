"""Do these optimizers train a small image classifier as well as Adam and SGD?

A convolutional network (Flax NNX) learns the 1,797 digits of scikit-learn.
Every optimizer tries four learning rates, decaying to 0 by a cosine, from the
same seeds, without weight decay; the best final validation accuracy, mean of
the seeds, decides.

rate            the chosen one; edge: at an end of its grid, so that others may
                be better
test %          mean ± standard error over the seeds; the 360 images alone
                give a standard error near 0.7, so smaller differences say
                nothing
steps to 95 %   of validation accuracy, evaluated every 4 steps: median of the
                seeds
"""

import argparse
import os
import sys
import textwrap
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from flax import nnx
from matplotlib.figure import Figure
from tqdm import tqdm

from adabelief_optax import adabelief, aida, ladabelief
from benchmarks import cli
from benchmarks.convnet import ConvNet
from benchmarks.data.digits import load_splits
from benchmarks.looks import finish, line, png

BATCH, PERIOD, STEPS = 64, 4, 16  # images a step, steps to an evaluation, to an epoch
EPOCHS, SEEDS = 15, 5
RATES = (3e-3, 1e-2, 3e-2, 1e-1)
SGD_RATES = (1e-2, 3e-2, 1e-1, 3e-1)
BETAS = {"b1": 0.9, "b2": 0.999}
AIDA_RATES = (1e-3, 3e-3, 1e-2, 3e-2)  # a third of Adam's
BELIEF = BETAS | {"eps": 1e-16, "eps_root": 1e-16}  # what the README recommends
BFLOAT16 = {"mu_dtype": "bfloat16", "nu_dtype": "bfloat16"}


class Method(NamedTuple):
    """What is compared: an optimizer, its arguments, and the rates that it tries."""

    label: str  # one of `looks.LOOKS`
    rule: Callable[..., optax.GradientTransformation]
    arguments: dict[str, Any]
    rates: tuple[float, ...] = RATES


METHODS = {
    "sgd": Method("SGD+momentum", optax.sgd, {"momentum": 0.9}, SGD_RATES),
    "adam": Method("Adam", optax.adam, BETAS | {"eps": 1e-8}),
    "adabelief": Method("AdaBelief", adabelief, BELIEF),
    "aida": Method("Aida", aida, BELIEF | {"k": 2}, AIDA_RATES),
    "ladabelief": Method("LAdaBelief", ladabelief, BELIEF),
    "adabelief-bf16": Method("AdaBelief, bf16", adabelief, BELIEF | BFLOAT16),
    "aida-bf16": Method("Aida, bf16", aida, BELIEF | BFLOAT16, AIDA_RATES),
}


def evaluate(params: nnx.State, images: Any, digits: Any) -> tuple[jax.Array, ...]:
    """Returns the mean cross entropy and the accuracy of one network."""
    graph = nnx.graphdef(nnx.eval_shape(lambda: ConvNet(nnx.Rngs(0))))
    logits = nnx.merge(graph, params)(images)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, digits)
    return losses.mean(), (logits.argmax(-1) == digits).mean()


def train(make: Callable, splits: Sequence, rate: Any, key: Any, order: Any) -> Any:
    """Trains one network, in the order of the images in each epoch.

    Returns:
        Its curves, one point a period, and the accuracy on the images to test.
    """
    (images, digits), valid, test = splits
    tx, gradient = make(rate), jax.value_and_grad(evaluate, has_aux=True)

    def step(carry: tuple, batch: jax.Array) -> tuple[tuple, jax.Array]:
        params, state = carry
        (loss, _), grads = gradient(params, images[batch], digits[batch])
        updates, state = tx.update(grads, state, params)
        return (optax.apply_updates(params, updates), state), loss

    def period(carry: tuple, batches: jax.Array) -> tuple[tuple, tuple]:
        carry, losses = jax.lax.scan(step, carry, batches)
        return carry, (losses.mean(), *evaluate(carry[0], *valid))

    batches = order[:, : STEPS * BATCH].reshape(-1, PERIOD, BATCH)
    params = nnx.state(ConvNet(nnx.Rngs(key)))
    (params, _), curves = jax.lax.scan(period, (params, tx.init(params)), batches)
    return *curves, evaluate(params, *test)[1]


class Runs(NamedTuple):
    """What the learning rates and seeds of one optimizer did: [rate, seed, time]."""

    train_loss: np.ndarray
    valid_loss: np.ndarray
    valid_accuracy: np.ndarray
    test_accuracy: np.ndarray  # in the end

    @property
    def best(self) -> int:
        """The learning rate of the best validation accuracy; in a tie, of the loss."""
        accuracy = self.valid_accuracy[..., -1].mean(1).round(6)
        return int(np.lexsort((-self.valid_loss[..., -1].mean(1), accuracy))[-1])


def tune(method: Method, splits: Sequence, epochs: int, count: int) -> Runs:
    """Trains all learning rates and seeds of an optimizer under one `vmap`."""
    grid = method.rates

    def make(rate: Any) -> optax.GradientTransformation:
        schedule = optax.cosine_decay_schedule(rate, epochs * STEPS)
        return method.rule(schedule, **method.arguments)

    rates, seeds = np.repeat(grid, count), np.tile(range(count), len(grid))
    ids = np.tile(np.arange(len(splits[0][1])), (epochs, 1))
    orders = [np.random.default_rng(seed).permuted(ids, axis=1) for seed in seeds]
    run = jax.jit(jax.vmap(partial(train, make), (None, 0, 0, 0)))
    keys = jax.vmap(jax.random.key)(seeds)
    found = jax.device_get(run(splits, rates, keys, np.stack(orders)))
    return Runs(*(np.reshape(a, (len(grid), count, *a.shape[1:])) for a in found))


def steps_to_target(accuracy: np.ndarray, target: float = 0.95) -> str:
    """Returns the median over seeds, and how many seeds got there at all."""
    reached = accuracy >= target
    steps = PERIOD * np.where(reached.any(-1), reached.argmax(-1) + 1.0, np.inf)
    median = np.median(steps)
    shown = f"{median:.0f}" if np.isfinite(median) else "–"
    return f"{shown} ({np.isfinite(steps).sum()} of {len(steps)})"


def print_results(results: list[tuple[Method, Runs]]) -> None:
    """Prints one line per optimizer, then the arguments and grid of each."""
    row = "{:<16}{:>10}{:>16}{:>17}".format
    print("\n" + row("optimizer", "rate", "test %", "steps to 95 %"))
    for method, runs in results:
        edge = "edge " if runs.best in (0, len(method.rates) - 1) else ""
        rate = f"{edge}{method.rates[runs.best]}"
        test = 100 * runs.test_accuracy[runs.best]
        test = f"{test.mean():.2f} ± {test.std(ddof=1) / len(test) ** 0.5:.2f}"
        steps = steps_to_target(runs.valid_accuracy[runs.best])
        print(row(method.label, rate, test, steps))
    print("\noptimizer       rate: mean final validation accuracy in %")
    print("                other arguments")
    for (label, _, arguments, rates), runs in results:
        means = zip(rates, 100 * runs.valid_accuracy[..., -1].mean(1), strict=True)
        grid = ", ".join(f"{rate:>5g}: {mean:5.2f}" for rate, mean in means)
        print(f"{label:<16}{grid}")
        words = " ".join(f"{k}={v}" for k, v in arguments.items())
        print(textwrap.indent(textwrap.fill(words, 63), " " * 16))


def save_picture(results: list[tuple[Method, Runs]], path: Path) -> None:
    """Draws the validation error, one optimizer per panel, all others in gray."""
    rows = -(-len(results) // 4)
    figure = Figure(figsize=(11, 0.7 + 2.6 * rows), layout="constrained")
    panels = figure.subplots(rows, 4, sharex=True, sharey=True, squeeze=False).flat
    errors = [100 * (1 - runs.valid_accuracy[runs.best]) for _, runs in results]
    lowest = min(0.5, *(error.mean(0).min() / 2 for error in errors))
    for (method, runs), error, axes in zip(results, errors, panels, strict=False):
        steps = PERIOD * np.arange(1, error.shape[-1] + 1)
        for other in errors:
            axes.plot(steps, other.mean(0), color="#C8C8C8", lw=0.8)
        color = line(method.label)["color"]
        axes.fill_between(steps, error.min(0), error.max(0), color=color, alpha=0.2)
        axes.plot(steps, error.mean(0), color=color, lw=1.8)
        axes.axhline(5, color="gray", linestyle=":")
        axes.set_title(f"{method.label}, {method.rates[runs.best]:g}", color=color)
        finish(axes, "training step", "")
        axes.set(yscale="log", ylim=(max(lowest, 0.1), 100))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.label_outer()
    for axes in list(panels):
        axes.set_axis_off()
    for axes in figure.axes[::4]:
        axes.set_ylabel("validation error (%)")
    figure.suptitle(
        "8x8 digits, each optimizer at its best learning rate: mean and range of "
        f"{len(errors[0])} seeds\nGray: the others. Dotted: 95 % of the images right."
    )
    path.write_bytes(png(figure, 110))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this benchmark."""
    add, words = parser.add_argument, cli.one_or_more(METHODS)
    add("--optimizers", type=cli.names(METHODS), default=list(METHODS), help=words)
    out = "folder of the picture"
    add("--out", type=cli.folder, help=f"{out}; default demo-output, or smoke-output")
    add("--smoke", action="store_true", help="one epoch and two seeds, for a test")


def run(args: argparse.Namespace) -> None:
    """Trains with every optimizer, prints the results and saves the picture."""
    epochs, seeds = (1, 2) if args.smoke else (EPOCHS, SEEDS)
    out = args.out or Path("smoke-output" if args.smoke else "demo-output")
    out.mkdir(parents=True, exist_ok=True)
    splits, results, picture = load_splits(), [], out / "learning-curves.png"
    print(f"{__doc__}\nJAX {jax.__version__}, {jax.devices()}, {os.cpu_count()} cores")
    print("images to train, validate and test:", *(len(digits) for _, digits in splits))
    try:
        for method in tqdm([METHODS[name] for name in args.optimizers]):
            results.append((method, tune(method, splits, epochs, seeds)))
    except KeyboardInterrupt:  # what has ended is not lost
        if results:
            print_results(results)
        sys.exit(f"stopped after {len(results)} of {len(args.optimizers)} optimizers")
    print_results(results)
    save_picture(results, picture)
    print(f"\nsaved {picture}")
