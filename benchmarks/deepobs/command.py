"""What do the optimizers do on DeepOBS's own problems, at DeepOBS's protocol?

With --check it compares trainings with those that others have published instead. Each
finished training goes to the folder of results; the same command goes on where it was
stopped. In the end the page DEEPOBS.md and its pictures are made of all results.
"""

import argparse
import math
import os
import sys
import time
from pathlib import Path

import jax
from tqdm import tqdm

from benchmarks import cli, locks, machine
from benchmarks.data import VARIABLE, MissingData
from benchmarks.deepobs import compare, report
from benchmarks.deepobs.check import PUBLISHED, SEEDS, Size, check, read
from benchmarks.deepobs.problems import PROBLEMS
from benchmarks.deepobs.runs import RESULTS
from benchmarks.deepobs.training import SCHEDULES
from benchmarks.optimizers import OPTIMIZERS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this benchmark."""
    add = parser.add_argument
    for option, known in {"problem": PROBLEMS, "optimizer": OPTIMIZERS}.items():
        words = f"{cli.one_or_more(known)}; default all"
        add(f"--{option}", type=cli.names(known), default=list(known), help=words)
    count = cli.integer(1)
    add("--epochs", type=count, help="of a training; default the problem's own number")
    add("--tuning-epochs", type=count, help="default as many as --epochs")
    words = "of the learning rate, default constant, as DeepOBS has it"
    add("--schedule", choices=SCHEDULES, default="constant", help=words)
    words = "trainings of networks at once, under vmap; default 1, without a CPU 4"
    add("--together", type=count, help=words)
    words = "after which to stop; the same command goes on later"
    add("--seconds", type=count, help=words)
    add("--rates", type=compare.rates, default=compare.RATES, help=compare.RATES_HELP)
    words = "that choose the learning rate, default 1"
    add("--tuning-seeds", type=count, default=1, help=words)
    add("--seeds", type=count, help="of the chosen rate, default 10; of --check, 3")
    words = "default benchmarks/results/deepobs"
    add("--results", type=cli.folder, default=RESULTS, help=words)
    add("--data", type=cli.folder, help=f"the folder of data, in place of {VARIABLE}")
    words = "compare the trainings of FILE with ours, and nothing else"
    options = {"nargs": "?", "const": PUBLISHED, "metavar": "FILE", "help": words}
    add("--check", type=Path, **options)
    words = "train nothing: make the page and its pictures"
    add("--report", action="store_true", help=words)
    words = "where DEEPOBS.md and figures/ go"
    add("--out", type=cli.folder, default=report.OUT, help=words)


def run(args: argparse.Namespace) -> None:
    """Checks, or compares and reports."""
    if args.data:
        os.environ[VARIABLE] = str(args.data)
    if args.report:
        report.write(args.results, args.out)
        return
    print(f"{machine.summary()}", flush=True)
    args.together = args.together or (1 if jax.default_backend() == "cpu" else 4)
    with (
        locks.locked(args.results),
        Progress(total=0, unit="step", mininterval=1) as bar,
        # A GPU else rounds the factors of products to ten bits.
        jax.default_matmul_precision("float32"),
    ):
        bar.until = time.monotonic() + (args.seconds or math.inf)
        try:
            if args.check:
                check_file(args, bar)
            else:
                compare_all(args, bar)
        except KeyboardInterrupt:
            sys.exit("stopped; the same command goes on from what is recorded")


class Progress(tqdm):
    """A bar that stops what it counts, as Ctrl-C does, after so many seconds."""

    until = math.inf

    def update(self, n: float | None = 1) -> bool | None:
        """Counts steps."""
        shown: bool | None = super().update(n)
        if time.monotonic() > self.until:
            raise KeyboardInterrupt
        return shown


def check_file(args: argparse.Namespace, bar: tqdm) -> None:
    """Prints a line for each training of a file; exits with 1 if one did not hold."""
    others = set(PROBLEMS) - set(args.problem)
    trainings = [x for x in read(args.check) if x["problem"] not in others]
    found = []
    size = Size(args.epochs, args.seeds or SEEDS, args.results, args.together)
    for verdict in check(trainings, size, bar):
        bar.write(verdict.line, sys.stdout)
        sys.stdout.flush()
        found.append(verdict.held)
    held, failed, unknown = (found.count(x) for x in (True, False, None))
    bar.write(f"{held} held, {failed} not held, {unknown} not checked", sys.stdout)
    if failed:
        sys.exit(1)


def compare_all(args: argparse.Namespace, bar: tqdm) -> None:
    """Tunes and trains all optimizers on all problems whose data is here."""
    trained = False
    for name in args.problem:
        problem = PROBLEMS[name]()
        problem.together = problem.together and args.together
        try:
            splits = problem.load()
        except MissingData as error:
            bar.write(f"{name} is left out: {error}", sys.stdout)
            continue
        trained = True
        size = compare.Size(
            args.rates,
            args.tuning_seeds,
            args.seeds or compare.SEEDS,
            args.tuning_epochs or args.epochs or problem.epochs,
            args.epochs or problem.epochs,
            args.schedule,
        )
        bar.total += len(args.optimizer) * compare.steps(problem, splits, size)
        for optimizer in args.optimizer:
            bar.set_description(f"{name}, {optimizer}")
            compare.tune_and_train(problem, splits, optimizer, size, args.results, bar)
    if not trained:
        sys.exit("nothing was trained: the data of every problem is missing")
    report.write(args.results, args.out)
