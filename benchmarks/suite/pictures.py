"""Which pictures does the report show?"""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from benchmarks.looks import finish, line, png
from benchmarks.suite.markdown import label, present
from benchmarks.suite.problem import Problem
from benchmarks.suite.problems import problems
from benchmarks.suite.statistics import sign_of

DPI = 110


def save(figure: Figure, axes: Axes, path: Path, columns: int) -> None:
    """Puts the legend of these axes below all and writes the picture."""
    handles = axes.get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=columns, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png(figure, DPI))


def draw_rates(tuned: pd.DataFrame, names: list[str], path: Path) -> None:
    """Draws the steps to the target over the learning rate, a panel a problem."""
    columns = 3
    lines = -(-len(names) // columns)
    figure = Figure(figsize=(5 * columns, 4 * lines + 0.8), layout="constrained")
    panels = figure.subplots(lines, columns, squeeze=False).flat
    for axes, name in zip(panels, names, strict=False):
        draw_steps(axes, problems()[name], tuned[tuned.problem == name])
    for axes in panels[len(names) :]:
        axes.set_axis_off()
    save(figure, panels[0], path, columns=5)


def draw_steps(axes: Axes, problem: Problem, tuned: pd.DataFrame) -> None:
    """Draws the steps that each optimizer takes at each rate, with the better eps.

    It is the geometric mean over the three seeds that all settings have; a seed that
    misses the target counts as all steps, and where all three do there is no point.
    """
    for name in present(tuned):
        mine = tuned[(tuned.optimizer == name) & (tuned.stage == "first")]
        groups = mine.groupby(["rate", "eps"]).steps_to_target
        logs = groups.apply(
            lambda x: np.log(x.fillna(problem.steps).clip(lower=1)).mean()
        )
        best = np.exp(logs[groups.count() > 0]).groupby(level=0).min()
        best = best.reindex(sorted(mine.rate.unique()))
        axes.plot(best.index, best, marker="o", markersize=3, **line(label(name)))
    axes.set(xscale="log", yscale="log", title=problem.title)
    finish(axes, "learning rate", "steps to the target")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5, 7)))
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.yaxis.set_minor_formatter(NullFormatter())


def draw_problem(
    problem: Problem, records: list[dict], tuned: pd.DataFrame, path: Path
) -> None:
    """Draws the curves of the fresh seeds, and how all rates ended."""
    figure = Figure(figsize=(15, 6), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    for i, record in enumerate(records):
        end = record["steps"], 1.02 + 0.012 * i
        look = line(label(record["optimizer"]))
        draw_curve(left, record["train"], *end, look, skip=1)
        draw_curve(middle, record["valid"], *end, look, skip=0)
    for name in present(tuned):
        draw_ends(right, problem, tuned[tuned.optimizer == name], line(label(name)))
    finish(left, "training step", "training loss")
    finish(middle, "training step", f"validation {problem.metric}")
    middle.axhline(problem.target, color="gray", linestyle=":")
    finish(right, "learning rate", f"last validation {problem.metric}")
    right.set(xscale="log")
    limit(left, [r["train"] for r in records], larger_is_better=False)
    for axes in (middle, right):
        limit(axes, [r["valid"] for r in records], problem.larger_is_better)
    figure.suptitle(
        f"{problem.title}: median of the seeds, and its quartiles at the end as bars "
        "(dotted: the target); right: tuning, the better eps at each rate"
    )
    save(figure, right, path, columns=5)


def draw_curve(
    axes: Axes, quartiles: list, steps: int, beside: float, look: dict, skip: int
) -> None:
    """Draws the median over seeds, and beside its end the quartiles as a bar."""
    lower, median, upper = np.array(quartiles, float)
    times = np.linspace(0, steps, len(median) + skip)[skip:]
    axes.plot(times, median, **look)
    axes.vlines(beside * steps, lower[-1], upper[-1], look["color"], lw=2.5)


def draw_ends(axes: Axes, problem: Problem, tuned: pd.DataFrame, look: dict) -> None:
    """Draws the last validation metric over the learning rate, with the better eps."""
    sign, mine = sign_of(problem), tuned[tuned.stage == "first"]
    last = (sign * mine["last"]).groupby([mine.rate, mine.eps]).mean()
    better = sign * last.groupby(level=0).min()
    axes.plot(better.index, better, marker="o", markersize=3, **look)


def limit(axes: Axes, curves: list, larger_is_better: bool) -> None:
    """Leaves out the first quarter of the steps, and the worst tenth of the rest."""
    values = np.array(curves, float)  # [training, quartile, time]
    values = values[:, :, values.shape[-1] // 4 :]
    shares = (10, 99) if larger_is_better else (1, 90)
    lower, upper = np.nanpercentile(values, shares)
    margin = 0.1 * (upper - lower)
    axes.set_ylim(lower - margin, upper + margin)
