"""Which optimizer trains what, how well and how fast, at equal tuning?

Every optimizer gets the same number of trials on every problem; the best final
validation metric chooses the learning rate and eps, which ten new seeds then use.

one-shot    the default learning rate and eps, ten seeds
small       10 trials, ten seeds: under four hours on two CPU cores
full        40 trials, ten seeds, four times as many steps: for a GPU

Each finished trial goes to the folder of results. The same command goes on where it was
stopped. `python -m benchmarks report` makes tables and pictures of the results.
"""

import argparse
import copy
import os
import sys
from pathlib import Path

from tqdm import tqdm

from benchmarks import cli, locks, machine
from benchmarks.data import MissingData
from benchmarks.suite import store
from benchmarks.suite.candidates import CANDIDATES
from benchmarks.suite.problem import Problem
from benchmarks.suite.problems import problems
from benchmarks.suite.step_cost import time_steps
from benchmarks.suite.tasks import BUDGETS, Budget, Task, complete
from benchmarks.suite.trials import CALLS

SMOKE_RESULTS = Path("smoke-output")


def run_problem(
    problem: Problem, args: argparse.Namespace, bar: tqdm
) -> MissingData | None:
    """Runs all budgets of all optimizers on a problem, then times their steps.

    It returns why the problem is left out, if it is.
    """
    try:
        splits = problem.load()
    except MissingData as error:
        bar.write(f"{problem.name} is left out: {error}", sys.stdout)
        bar.total -= parts(args)
        return error
    for name in args.optimizer:
        bar.set_description(f"{problem.name}, {name}")
        for budget in args.budget:
            path = store.path_of(args.results, budget, problem.name)
            size = shortened(BUDGETS[budget]) if args.smoke else BUDGETS[budget]
            complete(Task(problem, name, CANDIDATES[name], size, path), splits, bar)
    if not args.no_seconds:
        path = store.path_of(args.results, "seconds", problem.name)
        bar.set_description(f"{problem.name}, seconds of a step")
        known = {record["optimizer"] for record in store.read(path)}
        if not known >= set(args.optimizer):
            store.append(path, time_steps(problem, args.optimizer, splits))
    return None


def parts(args: argparse.Namespace) -> int:
    """Returns how many parts of the progress bar one problem is."""
    roles = sum(2 if BUDGETS[name].trials else 1 for name in args.budget)
    return roles * len(args.optimizer) * CALLS


def shortened(budget: Budget) -> Budget:
    """Returns two trials, if there are any, and two seeds."""
    return Budget(min(2, budget.trials), 2, 1)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this benchmark."""
    add = parser.add_argument
    some = {
        "budget": (BUDGETS, ["small"]),
        "problem": (problems(), list(problems())),
        "optimizer": (CANDIDATES, list(CANDIDATES)),
    }
    for option, (known, default) in some.items():
        shown = "small" if option == "budget" else "all"
        words = f"{cli.one_or_more(known)}; default {shown}"
        add(f"--{option}", type=cli.names(known), default=default, help=words)
    words = "default benchmarks/results; smoke: smoke-output"
    add("--results", type=cli.folder, help=words)
    add("--fashion-mnist", type=cli.folder, help="folder with its four IDX files")
    add("--no-seconds", action="store_true", help="do not time single steps in the end")
    add("--smoke", action="store_true", help="few steps, trials and seeds, for a test")


def run(args: argparse.Namespace) -> None:
    """Goes through the problems; those whose data is missing are left out."""
    if args.fashion_mnist:
        os.environ["FASHION_MNIST"] = str(args.fashion_mnist)
    # What --smoke trains must never be among the published results.
    args.results = args.results or (SMOKE_RESULTS if args.smoke else store.RESULTS)
    print(f"{__doc__}\n{machine.summary()}", flush=True)
    chosen = [problems()[name] for name in args.problem]
    chosen = list(map(smaller, chosen)) if args.smoke else chosen
    total = parts(args) * len(chosen)
    with locks.locked(args.results), tqdm(total=total, unit="part") as bar:
        try:
            left_out = [run_problem(problem, args, bar) for problem in chosen]
        except KeyboardInterrupt:
            sys.exit("stopped; the same command goes on from what is recorded")
    if all(left_out):
        sys.exit("nothing was trained: the data of every problem is missing")


def smaller(problem: Problem) -> Problem:
    """Returns the problem with one step between evaluations."""
    problem = copy.copy(problem)
    problem.evaluations = problem.steps = CALLS
    return problem
