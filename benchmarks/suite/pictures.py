"""Which pictures does the report show?"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.looks import finish, line, png
from benchmarks.suite.candidates import CANDIDATES
from benchmarks.suite.problem import Problem
from benchmarks.suite.statistics import (
    by_problem,
    is_toy,
    median_steps,
    profile,
    sensitivity,
)

DPI = 110
RATIOS = np.geomspace(1, 20, 400)


def save(figure: Figure, axes: Axes, path: Path, columns: int) -> None:
    """Puts the legend of these axes below all and writes the picture."""
    handles = axes.get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=columns, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png(figure, DPI))


def draw_summary(seeds: pd.DataFrame, tuned: pd.DataFrame, path: Path) -> None:
    """Draws the performance profile and, if anything was tuned, the sensitivity."""
    count = 2 if len(tuned) else 1
    figure = Figure(figsize=(6 * count, 5.5), layout="constrained")
    panels = figure.subplots(1, count, squeeze=False)[0]
    steps = by_problem(seeds, median_steps)
    for name, shares in profile(steps, RATIOS).iterrows():
        panels[0].step(RATIOS, 100 * shares, where="post", **line(_label(name)))
    finish(panels[0], "τ: steps to the target ÷ fewest of any optimizer", "")
    panels[0].set(xscale="log", xlim=(1, RATIOS[-1]), ylim=(-2, 102))
    panels[0].set_xticks([1, 1.5, 2, 3, 5, 10, 20], [*"1", "1.5", *"235", "10", "20"])
    panels[0].minorticks_off()
    panels[0].set_ylabel("share of problems solved within τ (%)")
    if len(tuned):
        draw_wrong_rates(panels[1], tuned[~tuned.problem.map(is_toy)])
    save(figure, panels[0], path, columns=4)


def draw_wrong_rates(axes: Axes, tuned: pd.DataFrame) -> None:
    """Draws how much of the best gain a wrong learning rate leaves."""
    rows = sensitivity(tuned)
    for name in _present(rows):
        group = rows[rows.optimizer == name].groupby("wrong").left
        # A mean over few problems would say more of these than of the rate.
        mean = group.mean()[group.count() >= rows.problem.nunique() / 2]
        axes.plot(10**mean.index, mean, marker="o", markersize=3, **line(_label(name)))
    finish(axes, "learning rate ÷ the best one", "gain that is left (%)")
    axes.set(xscale="log", ylim=(0, 103))


def draw_problem(
    problem: Problem, seeds: pd.DataFrame, tuned: pd.DataFrame, path: Path
) -> None:
    """Draws the learning curves of the seeds and what every tuning trial came to."""
    figure = Figure(figsize=(15 if len(tuned) else 10, 6), layout="constrained")
    panels = figure.subplots(1, 3 if len(tuned) else 2)
    for name in _present(seeds):
        rows, look = seeds[seeds.optimizer == name], line(_label(name))
        draw_curves(panels[0], rows, rows.train, look, skip=1)
        draw_curves(panels[1], rows, rows.valid, look, skip=0)
        if len(tuned):
            draw_sensitivity(panels[2], problem, tuned[tuned.optimizer == name], look)
    finish(panels[0], "training step", "training loss")
    finish(panels[1], "training step", f"validation {problem.metric}")
    panels[1].axhline(problem.target, color="gray", linestyle=":")
    if len(tuned):
        finish(panels[2], "learning rate", f"last validation {problem.metric}")
        panels[2].set(xscale="log")
    limit(panels[0], seeds.train, larger_is_better=False)
    for axes in panels[1:]:
        limit(axes, seeds.valid, problem.larger_is_better)
    figure.suptitle(
        f"{problem.title}: median and quartiles of the seeds (dotted: the target)"
        + ("; right: tuning, the better eps at each rate" if len(tuned) else "")
    )
    save(figure, panels[0], path, columns=7 if len(tuned) else 5)


def draw_curves(
    axes: Axes, rows: pd.DataFrame, column: pd.Series, look: dict, skip: int
) -> None:
    """Draws the median over seeds, and their quartiles as a band."""
    curves = np.array(column.tolist(), float)
    steps = np.linspace(0, rows.steps.iloc[0], curves.shape[1] + skip)[skip:]
    curves[~np.isfinite(curves)] = np.nan
    alive = ~np.isnan(curves).all(0)
    curves, steps = curves[:, alive], steps[alive]
    lower, median, upper = np.nanpercentile(curves, (25, 50, 75), axis=0)
    axes.fill_between(steps, lower, upper, color=look["color"], alpha=0.1, lw=0)
    axes.plot(steps, median, **look)


def draw_sensitivity(
    axes: Axes, problem: Problem, rows: pd.DataFrame, look: dict
) -> None:
    """Draws the last validation metric over the learning rate, with the better eps."""
    last = pd.Series([valid[-1] for valid in rows.valid], rows.index, dtype=float)
    groups = last.groupby([rows.rate, rows.eps]).mean().groupby(level=0)
    better = groups.max() if problem.larger_is_better else groups.min()
    axes.plot(better.index, better, marker="o", markersize=3, **look)


def limit(axes: Axes, curves: pd.Series, larger_is_better: bool) -> None:
    """Leaves out the first eighth of the steps, and the worst tenth of the rest."""
    values = np.array(curves.tolist(), float)
    values = values[:, values.shape[1] // 8 :]
    shares = (10, 99) if larger_is_better else (1, 90)
    lower, upper = np.nanpercentile(values, shares)
    margin = 0.05 * (upper - lower)
    axes.set_ylim(lower - margin, upper + margin)


def draw_toy(
    problem: Problem, seeds: pd.DataFrame, tuned: pd.DataFrame, path: Path
) -> None:
    """Draws the steps to the target over the rate if tuned, else the curves."""
    figure = Figure(figsize=(8, 5.5), layout="constrained")
    axes = figure.subplots()
    for name in _present(tuned if len(tuned) else seeds):
        rows, look = (tuned if len(tuned) else seeds), line(_label(name))
        rows = rows[rows.optimizer == name]
        if len(tuned):
            steps = rows.steps_to_target.groupby([rows.rate, rows.eps]).mean()
            best = steps.groupby(level=0).min()
            axes.plot(best.index, best, marker="o", markersize=3, **look)
        else:
            draw_curves(axes, rows, rows.valid, look, skip=0)
    if len(tuned):
        # Before the logarithm, which has no limits where no trial reaches the target.
        axes.set_xlim(0.8 * tuned.rate.min(), 1.25 * tuned.rate.max())
        axes.set_ylim(10, 1.3 * tuned.steps.max())
        finish(axes, "learning rate", "steps to f ≤ 0.001, the better eps")
        axes.set(xscale="log", yscale="log")
    else:
        finish(axes, "step", "f, median and quartiles of the seeds")
        axes.set(yscale="log")
    axes.set_title(problem.title)
    save(figure, axes, path, columns=4)


def _present(rows: pd.DataFrame) -> Iterable[str]:
    return [name for name in CANDIDATES if name in set(rows.optimizer)]


def _label(name: str) -> str:
    return CANDIDATES[name].label
