"""What do the optimizers do on DeepOBS's own problems, at DeepOBS's protocol?

With --check it compares trainings with those that others have published instead. Each
finished training goes to the folder of results; the same command goes on where it was
stopped. In the end the page DEEPOBS.md and its pictures are made of all results.
"""

import argparse
import sys
from pathlib import Path

import jax
from filelock import FileLock, Timeout

from benchmarks import cli, machine
from benchmarks.data import MissingData
from benchmarks.deepobs import compare, report
from benchmarks.deepobs.check import PUBLISHED, check, read
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
    add("--rates", type=compare.rates, default=compare.RATES, help=compare.RATES_HELP)
    add("--seeds", type=count, help="of the chosen rate, default 10; of --check, 3")
    words = "default benchmarks/results/deepobs"
    add("--results", type=cli.folder, default=RESULTS, help=words)
    words = "compare the trainings of FILE with ours, and nothing else"
    options = {"nargs": "?", "const": PUBLISHED, "metavar": "FILE", "help": words}
    add("--check", type=Path, **options)
    words = "train nothing: make the page and its pictures"
    add("--report", action="store_true", help=words)
    words = "where DEEPOBS.md and figures/ go"
    add("--out", type=cli.folder, default=report.OUT, help=words)


def run(args: argparse.Namespace) -> None:
    """Checks, or compares and reports."""
    if args.report:
        report.write(args.results, args.out)
        return
    print(machine.summary(), flush=True)
    args.together = args.together or (1 if jax.default_backend() == "cpu" else 4)
    args.results.mkdir(parents=True, exist_ok=True)
    try:
        with (
            FileLock(args.results / ".lock", timeout=0),
            # A GPU else rounds the factors of products to ten bits.
            jax.default_matmul_precision("float32"),
        ):
            if args.check:
                check_file(args)
            else:
                compare_all(args)
    except Timeout:
        sys.exit(f"{args.results} is in use by another process: wait until it ends")
    except KeyboardInterrupt:
        sys.exit("stopped; the same command goes on from what is recorded")


def check_file(args: argparse.Namespace) -> None:
    """Prints a line for each training of a file; exits with 1 if one did not hold."""
    others = set(PROBLEMS) - set(args.problem)
    trainings = [x for x in read(args.check) if x["problem"] not in others]
    found = []
    for verdict in check(trainings, args):
        print(verdict.line, flush=True)
        found.append(verdict.held)
    held, failed, unknown = (found.count(x) for x in (True, False, None))
    print(f"{held} held, {failed} not held, {unknown} not checked")
    if failed:
        sys.exit(1)


def compare_all(args: argparse.Namespace) -> None:
    """Tunes and trains all optimizers on all problems whose data is here."""
    trained = False
    for name in args.problem:
        problem = PROBLEMS[name]()
        problem.together = max(problem.together, args.together)
        try:
            splits = problem.load()
        except MissingData as error:
            print(f"{name} is left out: {error}", flush=True)
            continue
        trained = True
        for optimizer in args.optimizer:
            compare.tune_and_train(problem, splits, optimizer, args)
    if not trained:
        sys.exit("nothing was trained: the data of every problem is missing")
    report.write(args.results, args.out)
