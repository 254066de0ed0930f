"""Which optimizer trains what, how well and how fast, at equal tuning?

Every optimizer gets the same number of trials on every problem; the best final
validation metric chooses the learning rate and eps, which new seeds then use.

one-shot    the default learning rate and eps, ten seeds
small       10 trials with three seeds each, then twenty seeds, four times as many
            steps, of eight optimizers: about five hours on a CPU core
full        40 trials with three seeds each, then twenty seeds, four times as many
            steps: for a GPU
pilot       Adam alone, 10 trials and ten seeds, by which the targets are set

Each finished trial goes to the folder of results. The same command goes on where it was
stopped. `python -m benchmarks report` makes tables and pictures of the results.
"""

import argparse
import copy
import os
import sys
from pathlib import Path

import jax

from benchmarks import cli, locks, machine, store
from benchmarks.data import MissingData
from benchmarks.suite.candidates import CANDIDATES
from benchmarks.suite.problem import Problem
from benchmarks.suite.problems import problems
from benchmarks.suite.progress import Progress, expected_seconds
from benchmarks.suite.step_cost import time_steps
from benchmarks.suite.tasks import BUDGETS, Budget, Task, complete
from benchmarks.suite.trials import CALLS

SMOKE_RESULTS, SMOKE_OPTIMIZERS = Path("smoke-output"), ("adabelief",)


def run_problem(
    problem: Problem, args: argparse.Namespace, progress: Progress
) -> MissingData | None:
    """Runs all budgets of all optimizers on a problem, then times their steps.

    It returns why the problem is left out, if it is.
    """
    bar = progress.bar
    try:
        splits = problem.load()
    except MissingData as error:
        bar.write(f"{problem.name} is left out: {error}", sys.stdout)
        progress.leave_out(*expected(problem, args))
        return error
    for budget, name in chosen(args):
        bar.set_description(f"{problem.name}, {name}")
        path = store.path_of(args.results, budget, problem.name)
        size = budget_of(budget, args)
        complete(Task(problem, name, CANDIDATES[name], size, path), splits, progress)
    if not (args.no_seconds or args.smoke):
        path = store.path_of(args.results, "seconds", problem.name)
        bar.set_description(f"{problem.name}, seconds of a step")
        known = {record["optimizer"] for record in store.read(path)}
        if not known >= (names := {name for _, name in chosen(args)}):
            store.append(path, time_steps(problem, sorted(names), splits))
    return None


def budget_of(name: str, args: argparse.Namespace) -> Budget:
    """Returns a budget; a smoke run has two trials, if there are any, and two seeds."""
    budget = BUDGETS[name]
    if not args.smoke:
        return budget
    # As many trials as seeds, which one compilation then serves.
    two, one = min(2, budget.trials), budget.tuning_seeds[:1]
    return Budget(two, one, budget.seeds[:2], 1, SMOKE_OPTIMIZERS)


def chosen(args: argparse.Namespace) -> list[tuple[str, str]]:
    """Returns the pairs of budget and optimizer."""
    return [
        (budget, name)
        for name in CANDIDATES
        for budget in args.budget
        if name in (args.optimizer or budget_of(budget, args).optimizers)
    ]


def expected(problem: Problem, args: argparse.Namespace) -> tuple[int, float]:
    """Returns how many trainings a problem has, and how long they may take."""
    parts = [
        (count, budget.steps(problem))
        for name, _ in chosen(args)
        for budget in [budget_of(name, args)]
        for count in budget.parts
    ]
    seconds = sum(expected_seconds(problem, *part) for part in parts)
    return sum(count for count, _ in parts), seconds


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this benchmark."""
    add = parser.add_argument
    some = {
        "budget": (BUDGETS, ["small"], "small"),
        "problem": (problems(), list(problems()), "all"),
        "optimizer": (CANDIDATES, None, "those of the budget"),
    }
    for option, (known, default, shown) in some.items():
        words = f"{cli.one_or_more(known)}; default {shown}"
        add(f"--{option}", type=cli.names(known), default=default, help=words)
    words = "default benchmarks/results; smoke: smoke-output"
    add("--results", type=cli.folder, help=words)
    add("--fashion-mnist", type=cli.folder, help="folder with its four IDX files")
    add("--no-seconds", action="store_true", help="do not time single steps in the end")
    add(
        "--smoke",
        action="store_true",
        help="a few steps of AdaBelief, for a test",
    )


def run(args: argparse.Namespace) -> None:
    """Goes through the problems; those whose data is missing are left out."""
    if args.fashion_mnist:
        os.environ["FASHION_MNIST"] = str(args.fashion_mnist)
    # What --smoke trains must never be among the published results.
    args.results = args.results or (SMOKE_RESULTS if args.smoke else store.RESULTS)
    print(f"{__doc__}\n{machine.summary()}", flush=True)
    group = [problems()[name] for name in args.problem]
    if args.smoke:
        group = list(map(smaller, group))
        # Nearly all of so short a run is compiling.
        jax.config.update("jax_disable_most_optimizations", True)
    parts = [expected(problem, args) for problem in group]
    total = sum(count for count, _ in parts), sum(seconds for _, seconds in parts)
    with locks.locked(args.results):
        progress = Progress(*total)
        try:
            left_out = [run_problem(problem, args, progress) for problem in group]
        except KeyboardInterrupt:
            progress.bar.close()
            sys.exit("stopped; the same command goes on from what is recorded")
        progress.bar.close()
    if all(left_out):
        sys.exit("nothing was trained: the data of every problem is missing")


def smaller(problem: Problem) -> Problem:
    """Returns the problem with one step between evaluations."""
    problem = copy.copy(problem)
    problem.evaluations = problem.steps = CALLS
    return problem
