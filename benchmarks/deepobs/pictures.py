"""How are the trainings on DeepOBS's problems drawn?"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter

from benchmarks import looks
from benchmarks.deepobs.compare import ends_by_rate
from benchmarks.deepobs.problem import Problem
from benchmarks.deepobs.runs import curve_of
from benchmarks.optimizers import OPTIMIZERS
from benchmarks.store import Record


class Tuned(NamedTuple):
    """The trainings of one optimizer on one problem."""

    name: str
    tuning: list[Record]
    seeds: list[Record]
    epochs: int

    def curves(self, metric: str) -> np.ndarray:
        """Returns the curves of all seeds: [seed, epoch]."""
        return np.array([curve_of(r, metric) for r in self.seeds])


def draw(problem: Problem, found: list[Tuned], path: Path) -> None:
    """Draws the learning curves and the sensitivity to the learning rate."""
    figure = Figure(figsize=(11, 5.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    for one in found:
        look = looks.line(OPTIMIZERS[one.name].label)
        draw_curves(left, problem, one, look)
        ends = ends_by_rate(problem, one.tuning)
        right.plot(list(ends), list(ends.values()), marker="o", markersize=3, **look)
    looks.finish(left, "epoch", f"test {problem.metric}")
    looks.finish(right, "learning rate", f"last validation {problem.metric}")
    left.xaxis.set_major_locator(MaxNLocator(integer=True))
    right.set(xscale="log")
    right.xaxis.set_minor_formatter(NullFormatter())
    if problem.target is not None:
        left.axhline(problem.target, color="gray", linestyle=":")
    limit(left, right, problem, found)
    dotted = "" if problem.target is None else " (dotted: the target)"
    figure.suptitle(
        f"{problem.title}: median and quartiles of the seeds at the best learning rate"
        f"{dotted}, and what every rate ends with"
    )
    handles = left.get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=5, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(looks.png(figure, 110))


def draw_curves(axes: Axes, problem: Problem, one: Tuned, look: dict[str, Any]) -> None:
    """Draws the median over seeds, and their quartiles as a band."""
    curves = one.curves(f"test_{problem.metric}")
    if np.isfinite(curves).all():
        lower, median, upper = np.percentile(curves, (25, 50, 75), axis=0)
        epochs = np.arange(curves.shape[1])
        axes.fill_between(epochs, lower, upper, color=look["color"], alpha=0.1, lw=0)
        axes.plot(epochs, median, **look)


def limit(left: Axes, right: Axes, problem: Problem, found: list[Tuned]) -> None:
    """Shows the last tenth of the progress on the left, and all of it on the right."""
    curves = [one.curves(f"test_{problem.metric}") for one in found]
    start = np.mean([x[0, 0] for x in curves])
    best = problem.sign * np.nanmax([problem.sign * x[:, -1].mean() for x in curves])
    for axes, share in ((left, 0.1), (right, 1.0)):
        worst, top = best + share * (start - best), best - share * (start - best) / 20
        axes.set_ylim(*sorted((worst, top)))
