"""Do these optimizers train a small image classifier as well as Adam and SGD?

A convolutional network (Flax NNX) learns the 1,797 digits of scikit-learn. Every
optimizer tries four learning rates, decaying to 0 by a cosine, from the same seeds,
without weight decay; the best final validation accuracy, mean of the seeds, decides.

rate            the chosen one; edge: at an end of its grid, so others may be better
test %          mean ± standard deviation of the seeds; the 360 images alone give it
                a standard error near 0.7, so smaller differences say nothing
steps to 95 %   of validation accuracy, evaluated every 4 steps: median of the seeds
seconds         to train and evaluate all rates and seeds at once, once compiled
"""

import argparse
import os
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from tqdm import tqdm

from adabelief_optax import adabelief, aida, ladabelief

BATCH, PERIOD, STEPS = 64, 4, 16  # images a step, steps to an evaluation, to an epoch
RATES = (3e-3, 1e-2, 3e-2, 1e-1)
SGD_RATES = (1e-2, 3e-2, 1e-1, 3e-1)
BETAS = {"b1": 0.9, "b2": 0.999}
# AdaBelief's eps is its authors' for images, Aida's and LAdaBelief's the default.
ADABELIEF = BETAS | {"eps": 1e-8, "eps_root": 1e-8}
LAYERWISE = BETAS | {"eps": 0.0, "eps_root": 1e-8}
BFLOAT16 = {"mu_dtype": "bfloat16", "nu_dtype": "bfloat16"}
# Label, optimizer, arguments, rates, and a colour (Okabe and Ito's, safe for all eyes).
METHODS = {
    "sgd": ("SGD+momentum", optax.sgd, {"momentum": 0.9}, SGD_RATES, "#000000"),
    "adam": ("Adam", optax.adam, BETAS | {"eps": 1e-8}, RATES, "#E69F00"),
    "adabelief": ("AdaBelief", adabelief, ADABELIEF, RATES, "#0072B2"),
    "aida": ("Aida", aida, LAYERWISE | {"k": 2}, RATES, "#D55E00"),
    "ladabelief": ("LAdaBelief", ladabelief, LAYERWISE, RATES, "#009E73"),
    "adabelief-bf16": (
        "AdaBelief, bf16",
        adabelief,
        ADABELIEF | BFLOAT16,
        RATES,
        "#56B4E9",
    ),
    "aida-bf16": (
        "Aida, bf16",
        aida,
        LAYERWISE | BFLOAT16,
        RATES,
        "#CC79A7",
    ),
}


def load_splits() -> list[tuple[jax.Array, jax.Array]]:
    """Returns images and digits for training, validation and test, stratified."""
    pixels, digits = load_digits(return_X_y=True)
    images = pixels.reshape(-1, 8, 8, 1).astype(np.float32) / 16
    split = partial(train_test_split, random_state=0)
    train, rest = split(np.arange(len(digits)), test_size=0.4, stratify=digits)
    valid, test = split(rest, test_size=0.5, stratify=digits[rest])
    return [jax.device_put((images[i], digits[i])) for i in (train, valid, test)]


def patches(x: jax.Array, stride: int) -> jax.Array:
    """Returns 3x3 patches of square images: a dense layer on them is a convolution."""
    # Convolutions proper, with their weights under `vmap`, are ten times slower on CPU.
    n, x = x.shape[1], jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    shifts = [x[:, i : i + n : stride, j : j + n : stride] for i, j in np.ndindex(3, 3)]
    return jnp.concatenate(shifts, -1)


class ConvNet(nnx.Module):
    """Two convolutions and two dense layers, from 8x8 images to ten logits."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        """Draws the weights."""
        self.conv1 = nnx.Linear(3 * 3 * 1, 12, rngs=rngs)
        self.conv2 = nnx.Linear(3 * 3 * 12, 24, rngs=rngs)
        self.dense1 = nnx.Linear(4 * 4 * 24, 32, rngs=rngs)
        self.dense2 = nnx.Linear(32, 10, rngs=rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        """Returns the logits of a batch."""
        x = nnx.relu(self.conv1(patches(images, stride=1)))
        x = nnx.relu(self.conv2(patches(x, stride=2)))
        return self.dense2(nnx.relu(self.dense1(x.reshape(len(x), -1))))


def evaluate(params: nnx.State, images: Any, digits: Any) -> tuple[jax.Array, ...]:
    """Returns the mean cross entropy and the accuracy of one network."""
    graph = nnx.graphdef(nnx.eval_shape(lambda: ConvNet(nnx.Rngs(0))))
    logits = nnx.merge(graph, params)(images)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, digits)
    return losses.mean(), (logits.argmax(-1) == digits).mean()


# Of all runs of an optimizer at once, and compiled only once.
draw_all = jax.jit(jax.vmap(lambda key: nnx.state(ConvNet(nnx.Rngs(key)))))
evaluate_all = jax.jit(jax.vmap(evaluate, (0, None, None)))


def train_epoch(make: Callable, splits: list, rate: Any, carry: Any, order: Any) -> Any:
    """Trains one network and returns its curves, one point a period."""
    (images, digits), valid, _ = splits
    tx, gradient = make(rate), jax.value_and_grad(evaluate, has_aux=True)

    def step(carry: tuple, batch: jax.Array) -> tuple[tuple, jax.Array]:
        params, state = carry
        (loss, _), grads = gradient(params, images[batch], digits[batch])
        updates, state = tx.update(grads, state, params)
        return (optax.apply_updates(params, updates), state), loss

    def period(carry: tuple, batches: jax.Array) -> tuple[tuple, tuple]:
        carry, losses = jax.lax.scan(step, carry, batches)
        return carry, (losses.mean(), *evaluate(carry[0], *valid))

    batches = order[: STEPS * BATCH].reshape(-1, PERIOD, BATCH)
    return jax.lax.scan(period, carry, batches)


class Runs(NamedTuple):
    """What the learning rates and seeds of one optimizer did: [rate, seed, time]."""

    train_loss: np.ndarray
    valid_loss: np.ndarray
    valid_accuracy: np.ndarray
    test_accuracy: np.ndarray
    seconds: float

    @property
    def best(self) -> int:
        """The learning rate of the best validation accuracy; in a tie, of the loss."""
        accuracy = self.valid_accuracy[..., -1].mean(1).round(6)
        return int(np.lexsort((-self.valid_loss[..., -1].mean(1), accuracy))[-1])


def train(method: tuple, splits: list, args: argparse.Namespace, bar: tqdm) -> Runs:
    """Trains all learning rates and seeds of an optimizer under one `vmap`."""
    _, rule, fixed, grid, _ = method

    def make(rate: Any) -> optax.GradientTransformation:
        return rule(optax.cosine_decay_schedule(rate, args.epochs * STEPS), **fixed)

    rates, seeds = np.repeat(grid, args.seeds), np.tile(range(args.seeds), len(grid))
    params = draw_all(jax.vmap(jax.random.key)(seeds))
    carry = params, jax.vmap(make(0.0).init)(params)
    ids = np.tile(np.arange(len(splits[0][1])), (args.epochs, 1))
    draws = np.stack([np.random.default_rng(s).permuted(ids, axis=1) for s in seeds], 1)
    epoch = jax.jit(jax.vmap(partial(train_epoch, make, splits)))
    epoch = epoch.lower(rates, carry, draws[0]).compile()
    curves, began = [], time.perf_counter()
    for order in draws:
        carry, points = jax.block_until_ready(epoch(rates, carry, order))
        curves.append(points)
        bar.update()
    seconds = round(time.perf_counter() - began, 1)
    _, test = evaluate_all(carry[0], *splits[2])
    arrays = *(np.concatenate(c, -1) for c in zip(*curves, strict=True)), test
    return Runs(*(np.reshape(a, (len(grid), args.seeds, -1)) for a in arrays), seconds)


def steps_to_target(accuracy: np.ndarray, target: float = 0.95) -> str:
    """Returns the median over seeds, and how many seeds got there at all."""
    reached = accuracy >= target
    steps = PERIOD * np.where(reached.any(-1), reached.argmax(-1) + 1.0, np.inf)
    return f"{np.median(steps):.0f} ({np.isfinite(steps).sum()} of {len(steps)})"


def print_results(results: list[tuple[tuple, Runs]]) -> None:
    """Prints one line per optimizer, then the arguments and grid of each."""
    row = "{:<16}{:>10}{:>16}{:>17}{:>9}".format
    print("\n" + row("optimizer", "rate", "test %", "steps to 95 %", "seconds"))
    for (label, _, _, rates, _), runs in results:
        edge = "edge " if runs.best in (0, len(rates) - 1) else ""
        test = 100 * runs.test_accuracy[runs.best]
        spread = f"{test.mean():.2f} ± {test.std(ddof=1):.2f}"
        steps = steps_to_target(runs.valid_accuracy[runs.best])
        print(row(label, f"{edge}{rates[runs.best]}", spread, steps, runs.seconds))
    print(
        "\noptimizer       rate: mean final validation accuracy in %; other arguments"
    )
    for (label, _, fixed, rates, _), runs in results:
        means = zip(rates, 100 * runs.valid_accuracy[..., -1].mean(1), strict=True)
        grid = ", ".join(f"{rate:>5g}: {mean:5.2f}" for rate, mean in means)
        print(f"{label:<16}{grid}; ", *(f"{k}={v}" for k, v in fixed.items()))


def save_picture(results: list[tuple[tuple, Runs]], path: Path) -> None:
    """Draws the mean over seeds as a line and their range as a band."""
    figure = Figure(figsize=(10, 6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for (label, _, _, rates, color), runs in results:
        label += f", learning rate {rates[runs.best]} of {', '.join(map(str, rates))}"
        for axes, y in ((left, runs.train_loss), (right, 100 * runs.valid_accuracy)):
            x, y = PERIOD * np.arange(1, y.shape[-1] + 1), y[runs.best]
            axes.fill_between(x, y.min(0), y.max(0), color=color, alpha=0.12, lw=0)
            axes.plot(x, y.mean(0), color=color, label=label)
            axes.set_xlabel("training step")
            axes.grid(alpha=0.3)
    left.set(yscale="log", ylabel="training loss (cross entropy)")
    right.set(ylabel="validation accuracy (%)")
    right.set_ylim(90 if right.get_ylim()[1] > 95 else 0, 100)
    right.axhline(95, color="gray", linestyle=":")
    spread = f"mean (line) and lowest to highest (band) of {len(y)} seeds"
    figure.suptitle(f"A small convolutional network learns 8x8 digits\n{spread}")
    handles = left.get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=2)
    figure.savefig(path, dpi=150)


def allowed(words: str, convert: Callable, check: Callable, text: str) -> Any:
    """An argparse type, given all but the text, whose error says what is allowed."""
    with suppress(ValueError):
        if check(value := convert(text)):
            return value
    raise argparse.ArgumentTypeError(f"{text!r}; allowed is {words}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this benchmark."""
    add, known = parser.add_argument, METHODS.keys()
    epochs = partial(allowed, "an integer >= 1", int, lambda n: n >= 1)
    seeds = partial(allowed, "an integer >= 2", int, lambda n: n >= 2)
    words = f"one or more of {','.join(METHODS)}, with commas"
    names = partial(allowed, words, lambda t: t.split(","), lambda t: known >= set(t))
    folder = partial(allowed, "a folder, not a file", Path, lambda p: not p.is_file())
    add("--epochs", type=epochs, default=15, help="of 16 steps; default %(default)s")
    add("--seeds", type=seeds, default=5, help="at least 2; default %(default)s")
    add("--optimizers", type=names, default=",".join(METHODS), help=words)
    add("--out", type=folder, default="demo-output", help="folder of the picture")
    add("--smoke", action="store_true", help="one epoch and two seeds, for a test")


def run(args: argparse.Namespace) -> None:
    """Trains with every optimizer, prints the results and saves the picture."""
    if args.smoke:
        args.epochs, args.seeds = 1, 2
    args.out.mkdir(parents=True, exist_ok=True)
    splits, results, picture = load_splits(), [], args.out / "learning-curves.png"
    print(f"{__doc__}\nJAX {jax.__version__}, {jax.devices()}, {os.cpu_count()} cores")
    print("images to train, validate and test:", *(len(digits) for _, digits in splits))
    with tqdm(total=args.epochs * len(args.optimizers), unit="epoch") as bar:
        for method in map(METHODS.get, args.optimizers):
            bar.set_description(method[0])
            results.append((method, train(method, splits, args, bar)))
    print_results(results)
    save_picture(results, picture)
    print(f"\nsaved {picture}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.demo")
    add_arguments(parser)
    run(parser.parse_args())
