"""Which optimizer trains what, how well and how fast, at equal tuning?

On every problem each optimizer's learning rates and eps are searched until the best is
bracketed; ten seeds choose among the best, by the end and by the steps to the target;
twenty fresh seeds of each choice are what the report is made of (`suite/protocol.py`).
All problems and optimizers take about twelve hours of a CPU core, or minutes of a GPU.

What has trained goes to the folder of results at once, and the same command goes on
where it was stopped. Several may run beside one another: each takes what no other is
at. `python -m benchmarks report` makes tables and pictures of the results.
"""

import argparse
import copy
import sys
from pathlib import Path

import jax
from filelock import FileLock, Timeout
from tqdm import tqdm

from benchmarks import cli, machine, store
from benchmarks.data import MissingData, Splits
from benchmarks.suite import protocol, records
from benchmarks.suite.candidates import CANDIDATES
from benchmarks.suite.problem import Problem
from benchmarks.suite.problems import problems
from benchmarks.suite.protocol import SEEDS, Seeds, Wanted
from benchmarks.suite.trials import Trial, train_all

SMOKE_RESULTS, SMOKE_STEPS = Path("smoke-output"), 25
SMOKE_SEEDS = Seeds((1000,), (1001,), (100, 101))


def wanted(problem: Problem, name: str, args: argparse.Namespace) -> Wanted:
    """Returns what an optimizer wants to train next; nothing when all is done."""
    found = records.found(problem, records.read(args.results, problem, name))
    seeds = SMOKE_SEEDS if args.smoke else SEEDS
    return protocol.missing(problem, CANDIDATES[name], found, seeds)


def stage(
    problem: Problem, name: str, splits: Splits, args: argparse.Namespace
) -> bool:
    """Trains what an optimizer wants next; False if it wants nothing."""
    want, (optimizer, *_, warmup) = wanted(problem, name, args), CANDIDATES[name]
    trials = [
        Trial(setting.rate, setting.eps, warmup, seed)
        for setting, seeds in want.items()
        for seed in seeds
    ]
    curves = train_all(problem, optimizer, splits, trials)
    bar = tqdm(want.items(), f"{problem.name}, {name}", unit=" settings")
    for setting, seeds in bar:
        mine = [next(curves) for _ in seeds]
        record = records.describe(problem, name, setting, seeds, mine)
        store.append(records.path_of(args.results, problem.name), [record])
    return bool(want)


def complete(
    problem: Problem, name: str, splits: Splits, args: argparse.Namespace
) -> None:
    """Trains all that an optimizer lacks, unless another process is at it."""
    lock = FileLock(args.results / records.FOLDER / f"{problem.name},{name}.lock")
    try:
        with lock.acquire(timeout=0):
            while stage(problem, name, splits, args):
                pass
    except Timeout:
        print(f"{problem.name}, {name}: another process is at it", flush=True)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this benchmark."""
    add = parser.add_argument
    for option, known in {"problem": problems(), "optimizer": CANDIDATES}.items():
        words = f"{cli.one_or_more(known)}; default all"
        add(f"--{option}", type=cli.names(known), default=list(known), help=words)
    words = "default benchmarks/results; smoke: smoke-output"
    add("--results", type=cli.folder, help=words)
    add("--smoke", action="store_true", help="a few steps of SGD, for a test")


def run(args: argparse.Namespace) -> None:
    """Goes through the problems; those whose data is missing are left out."""
    # What --smoke trains must never be among the published results.
    args.results = args.results or (SMOKE_RESULTS if args.smoke else store.RESULTS)
    (args.results / records.FOLDER).mkdir(parents=True, exist_ok=True)
    print(f"{__doc__}\n{machine.summary()}", flush=True)
    group, left_out = [problems()[name] for name in args.problem], 0
    if args.smoke:
        group, args.optimizer = list(map(smaller, group)), ["sgd"]
        # Nearly all of so short a run is compiling.
        jax.config.update("jax_disable_most_optimizations", True)
    for problem in group:
        names = [x for x in args.optimizer if wanted(problem, x, args)]
        try:
            splits = jax.device_put(problem.load()) if names else None
        except MissingData as error:
            print(f"{problem.name} is left out: {error}", flush=True)
            left_out += 1
            continue
        for name in names:
            complete(problem, name, splits, args)
    if left_out == len(group):
        sys.exit("nothing was trained: the data of every problem is missing")


def smaller(problem: Problem) -> Problem:
    """Returns the problem with one step between evaluations."""
    problem = copy.copy(problem)
    problem.evaluations = problem.steps = SMOKE_STEPS
    return problem
