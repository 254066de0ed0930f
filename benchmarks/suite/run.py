"""Which optimizer trains what, how well and how fast, at equal tuning?

On every problem each optimizer's learning rates and eps are searched until the best is
bracketed; ten seeds choose among the best, by the end and by the steps to the target;
twenty fresh seeds of each choice are what the report is made of (`suite/protocol.py`).
All problems and optimizers take about twelve hours of a CPU core, or minutes of a GPU.

What trained together goes to the folder of results at once, and the same command goes
on where it was stopped. Several may run beside one another: each takes what no other
is at. `python -m benchmarks report` makes tables and pictures of the results.
"""

import argparse
import copy
import os
import subprocess
import sys
import time
from pathlib import Path

import jax
from filelock import FileLock, Timeout
from tqdm import tqdm

from benchmarks import cli, machine, store
from benchmarks.data import MissingData, Splits
from benchmarks.suite import protocol, records
from benchmarks.suite.candidates import CANDIDATES, FAMILIES
from benchmarks.suite.problem import Problem
from benchmarks.suite.problems import problems
from benchmarks.suite.protocol import SEEDS, Seeds
from benchmarks.suite.trials import WIDTH, Trial, train_all

SMOKE_RESULTS, SMOKE_STEPS = Path("smoke-output"), 25
SMOKE_SEEDS = Seeds((1000,), (1001,), (100, 101))


def stage(
    problem: Problem, names: list[str], splits: Splits, folder: Path, seeds: Seeds
) -> bool:
    """Trains what optimizers of one family want next; False if they want nothing."""
    wanted = [
        (name, setting, missing)
        for name in names
        for setting, missing in protocol.missing(
            problem,
            CANDIDATES[name],
            records.found(problem, records.read(folder, problem, name)),
            seeds,
        ).items()
    ]
    trials = [
        Trial(setting.rate, setting.eps, CANDIDATES[name].warmup, seed)
        for name, setting, missing in wanted
        for seed in missing
    ]
    optimizer, began = CANDIDATES[names[0]].optimizer, time.monotonic()
    curves = train_all(problem, optimizer, splits, trials, WIDTH * len(names))
    bar = tqdm(wanted, f"{problem.name}, {'/'.join(names)}", unit=" settings")
    for name, setting, missing in bar:
        mine = [next(curves) for _ in missing]
        record = records.describe(problem, name, setting, missing, mine)
        records.append(folder, problem, [record])
    seconds = time.monotonic() - began
    bar.write(f"{bar.desc}{len(trials)} trainings, {seconds:.1f} s", sys.stdout)
    return bool(wanted)


def complete(
    problem: Problem, names: list[str], args: argparse.Namespace, until: float
) -> None:
    """Trains all that a family lacks on a problem, unless another process does.

    Raises:
        MissingData: if the problem's data is not here.
    """
    seeds = SMOKE_SEEDS if args.smoke else SEEDS
    lock = FileLock(args.results / records.FOLDER / f"{problem.name},{names[0]}.lock")
    try:
        with lock.acquire(timeout=0):
            if args.smoke or any(unfinished(problem, x, args.results) for x in names):
                splits = jax.device_put(problem.load())
                while time.monotonic() < until and stage(
                    problem, names, splits, args.results, seeds
                ):
                    pass
    except Timeout:
        print(f"{problem.name}, {names[0]}: another process is at it", flush=True)


def unfinished(problem: Problem, name: str, folder: Path) -> bool:
    """Whether an optimizer lacks trainings on a problem."""
    found = records.found(problem, records.read(folder, problem, name))
    return bool(protocol.missing(problem, CANDIDATES[name], found))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this benchmark."""
    add = parser.add_argument
    for option, known in {"problem": problems(), "optimizer": CANDIDATES}.items():
        words = f"{cli.one_or_more(known)}; default all"
        add(f"--{option}", type=cli.names(known), default=list(known), help=words)
    words = "default benchmarks/results; smoke: smoke-output"
    add("--results", type=cli.folder, help=words)
    add("--fashion-mnist", type=cli.folder, help="folder with its four IDX files")
    words = "processes beside one another; default %(default)s"
    add("--workers", type=cli.integer(1), default=1, help=words)
    words = "begin nothing new after so many seconds"
    add("--seconds", type=cli.positive, default=float("inf"), help=words)
    add("--smoke", action="store_true", help="a few steps of SGD, for a test")


def run(args: argparse.Namespace) -> None:
    """Goes through the problems; those whose data is missing are left out."""
    until = time.monotonic() + args.seconds
    if args.workers > 1:
        sys.exit(beside_one_another(args.workers))
    if args.fashion_mnist:
        os.environ["FASHION_MNIST"] = str(args.fashion_mnist)
    # What --smoke trains must never be among the published results.
    args.results = args.results or (SMOKE_RESULTS if args.smoke else store.RESULTS)
    (args.results / records.FOLDER).mkdir(parents=True, exist_ok=True)
    print(f"{__doc__}\n{machine.summary()}", flush=True)
    group = [problems()[name] for name in args.problem]
    if args.smoke:
        group, args.optimizer = list(map(smaller, group)), ["sgd"]
        # Nearly all of so short a run is compiling.
        jax.config.update("jax_disable_most_optimizations", True)
    left_out = {problem.name: None for problem in group}
    for family in FAMILIES:
        names = [name for name in family if name in args.optimizer]
        for problem in group if names else []:
            try:
                complete(problem, names, args, until)
                left_out.pop(problem.name, None)
            except MissingData as error:
                if left_out[problem.name] is None:
                    print(f"{problem.name} is left out: {error}", flush=True)
                left_out[problem.name] = error
    if len(left_out) == len(group):
        sys.exit("nothing was trained: the data of every problem is missing")


def beside_one_another(workers: int) -> int:
    """Runs the same command in several processes, and returns the worst exit code."""
    command = [sys.executable, "-m", "benchmarks", *sys.argv[1:], "--workers", "1"]
    processes = [subprocess.Popen(command) for _ in range(workers)]
    return max(process.wait() for process in processes)


def smaller(problem: Problem) -> Problem:
    """Returns the problem with one step between evaluations."""
    problem = copy.copy(problem)
    problem.evaluations = problem.steps = SMOKE_STEPS
    return problem
