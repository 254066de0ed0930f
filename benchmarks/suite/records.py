"""How are trainings kept, so that none is computed twice?

A line of JSON for the trainings of one setting that ran together, in
`results/suite/PROBLEM.jsonl`: what they depend on, then lists with an entry a seed.
Curves are kept of the fresh seeds alone, as quartiles over them.
"""

from collections.abc import Iterable
from pathlib import Path

import jax
import numpy as np

from benchmarks import machine, store
from benchmarks.store import Record
from benchmarks.suite.candidates import CANDIDATES
from benchmarks.suite.problem import Problem
from benchmarks.suite.protocol import SEEDS, Found, Outcome, Setting
from benchmarks.suite.trials import Curves

FOLDER, POINTS = "suite", 25  # of a curve, beside its start
LISTS = ("seeds", "first", "best", "last", "test", "steps_to_target")


def path_of(folder: Path, problem: str) -> Path:
    """Returns the file of a problem."""
    return store.path_of(folder, FOLDER, problem)


def key_of(problem: Problem, name: str) -> Record:
    """Returns what all trainings of an optimizer on a problem have in common."""
    return {
        "problem": problem.name,
        "version": problem.version,
        "optimizer": name,
        "warmup": CANDIDATES[name].warmup,
        "steps": problem.steps,
    }


def read(folder: Path, problem: Problem, name: str) -> list[Record]:
    """Returns the records of an optimizer on the problem as it is today.

    Raises:
        SystemExit: if a training is there twice.
    """
    key, path = key_of(problem, name).items(), path_of(folder, problem.name)
    rows = [row for row in store.read(path) if key <= row.items()]
    every = [(row["rate"], row["eps"], seed) for row in rows for seed in row["seeds"]]
    if len(every) > len(set(every)):
        twice = next(x for x in every if every.count(x) > 1)
        raise SystemExit(f"{path}: {name} has rate, eps and seed {twice} twice")
    return rows


def found(problem: Problem, rows: Iterable[Record]) -> Found:
    """Returns what the protocol asks of records."""
    sign, result = -1 if problem.larger_is_better else 1, {}
    for row in rows:
        setting = Setting(round(2 * np.log10(row["rate"])), row["eps"])
        trainings = zip(row["seeds"], row["last"], row["steps_to_target"], strict=True)
        for seed, last, steps in trainings:
            end = np.inf if last is None else sign * last
            log_steps = float(np.log(max(1, steps or problem.steps)))
            outcome = Outcome(end, log_steps, steps is not None)
            result.setdefault(setting, {})[seed] = outcome
    return result


def steps_to(problem: Problem, valid: np.ndarray) -> float:
    """Returns the step at which a curve first has the target's metric, or NaN.

    Between two evaluations the metric is taken to be a straight line.
    """
    sign = -1 if problem.larger_is_better else 1
    curve, target = sign * np.asarray(valid, float), sign * problem.target
    steps = np.linspace(0, problem.steps, len(curve))
    (there,) = np.nonzero(curve <= target)
    if not len(there):
        return np.nan
    i = there[0]
    if not i or not np.isfinite(curve[i - 1]):
        return float(steps[i])
    return float(np.interp(-target, -curve[[i - 1, i]], steps[[i - 1, i]]))


def quartiles(curves: np.ndarray) -> list:
    """Returns the quartiles over seeds of curves, which are [seed, time]."""
    finite = np.where(np.isfinite(curves), curves, np.nan)
    lost = np.isnan(finite).all(0)  # else NumPy warns
    found = np.nanpercentile(np.where(lost, 0.0, finite), (25, 50, 75), axis=0)
    return store.rounded(np.where(lost, np.nan, found), 4)


def describe(
    problem: Problem,
    name: str,
    setting: Setting,
    seeds: tuple[int, ...],
    curves: list[Curves],
) -> Record:
    """Returns the record of a setting's seeds."""
    valid = np.array([curve.valid for curve in curves], float)
    best = np.nanmax if problem.larger_is_better else np.nanmin
    with np.errstate(all="ignore"):
        record = key_of(problem, name) | {
            "rate": setting.rate,
            "eps": setting.eps,
            "seeds": list(seeds),
            "first": store.rounded(valid[:, 0]),
            "best": store.rounded(best(valid, axis=1)),
            "last": store.rounded(valid[:, -1]),
            "test": store.rounded([curve.test for curve in curves]),
            "steps_to_target": store.rounded(
                [steps_to(problem, curve) for curve in valid]
            ),
        }
    if set(seeds) <= set(SEEDS.fresh):
        thin = problem.evaluations // POINTS
        train = np.array([curve.train for curve in curves], float)
        means = train.reshape(len(train), POINTS, thin).mean(-1)
        record |= {"train": quartiles(means), "valid": quartiles(valid[:, ::thin])}
    device = jax.devices()[0]
    kind = "cpu" if device.platform == "cpu" else device.device_kind
    return record | {"device": kind, "machine": machine.summary()}
