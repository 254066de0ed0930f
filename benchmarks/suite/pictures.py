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
from benchmarks.suite.problems import problems
from benchmarks.suite.statistics import is_toy, profile

DPI = 110
RATIOS = np.geomspace(1, 20, 400)


def save(figure: Figure, axes: Axes, path: Path, columns: int) -> None:
    """Puts the legend of these axes below all and writes the picture."""
    handles = axes.get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=columns, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png(figure, DPI))


def draw_profiles(steps: pd.DataFrame, path: Path) -> None:
    """Draws the performance profile of all problems, and of those with data."""
    figure = Figure(figsize=(11, 5.5), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    with_data = steps[[name for name in steps if not is_toy(name)]]
    for axes, table in zip(panels, (steps, with_data), strict=True):
        for name, shares in profile(table, RATIOS).iterrows():
            axes.step(RATIOS, 100 * shares, where="post", **line(_label(name)))
        finish(axes, "steps to the target ÷ fewest of any optimizer", "")
        axes.set(xscale="log", xlim=(1, RATIOS[-1]), ylim=(-2, 102))
        axes.set_xticks([1, 1.5, 2, 3, 5, 10, 20], [*"1", "1.5", *"235", "10", "20"])
        axes.minorticks_off()
    panels[0].set_title(f"all {len(steps.columns)} problems")
    panels[1].set_title(f"the {len(with_data.columns)} with data or noise")
    panels[0].set_ylabel("share of problems solved within (%)")
    save(figure, panels[0], path, columns=5)


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
        + ("; the better eps at each learning rate, one seed" if len(tuned) else "")
    )
    save(figure, panels[0], path, columns=7 if len(tuned) else 5)


def draw_curves(
    axes: Axes, rows: pd.DataFrame, column: pd.Series, look: dict, skip: int
) -> None:
    """Draws the median over seeds, and their quartiles as a band."""
    curves = np.array(column.tolist(), float)
    steps = np.linspace(0, rows.steps.iloc[0], curves.shape[1] + skip)[skip:]
    curves[~np.isfinite(curves)] = np.nan
    lower, median, upper = np.nanpercentile(curves, (25, 50, 75), axis=0)
    axes.fill_between(steps, lower, upper, color=look["color"], alpha=0.1, lw=0)
    axes.plot(steps, median, **look)


def draw_sensitivity(
    axes: Axes, problem: Problem, rows: pd.DataFrame, look: dict
) -> None:
    """Draws the last validation metric over the learning rate, with the better eps."""
    last = pd.Series([valid[-1] for valid in rows.valid], rows.index, dtype=float)
    groups = last.groupby(rows.rate)
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


def draw_toys(tuned: pd.DataFrame, path: Path) -> None:
    """Draws the steps to the target over the learning rate, a panel a function."""
    names = [name for name in problems() if name in set(tuned.problem)]
    figure = Figure(figsize=(12, 8), layout="constrained")
    panels = figure.subplots(2, 3, sharex=True, sharey=True)
    for axes, problem in zip(panels.flat, names, strict=False):
        rows = tuned[tuned.problem == problem]
        for name in _present(rows):
            mine = rows[rows.optimizer == name].groupby("rate").steps_to_target.min()
            axes.plot(mine.index, mine, marker="o", markersize=3, **line(_label(name)))
        # Before the logarithm, which has no limits where no trial reaches the target.
        axes.set_xlim(0.8 * tuned.rate.min(), 1.25 * tuned.rate.max())
        axes.set_ylim(10, 1.3 * rows.steps.max())
        finish(axes, "learning rate", "steps to f < 0.001")
        axes.set(xscale="log", yscale="log", title=problems()[problem].title)
        axes.label_outer()
    save(figure, panels.flat[0], path, columns=7)


def _present(rows: pd.DataFrame) -> Iterable[str]:
    return [name for name in CANDIDATES if name in set(rows.optimizer)]


def _label(name: str) -> str:
    return CANDIDATES[name].label
