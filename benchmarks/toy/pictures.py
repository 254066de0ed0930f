"""Where do the optimizers walk? Pictures of the paths over the functions' contours.

`Walks` are paths by the optimizer's label: of one case [step, 2], or of all of
`paths.CASES` [case, step, 2]. Many paths run along one valley: the first optimizer is
drawn widest, the last on top of it narrowest, so that all are visible.
"""

from collections.abc import Collection, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image

from benchmarks.looks import line
from benchmarks.toy.paths import CASES, TARGET, Case, steps_to_target, values

Walks = dict[str, np.ndarray]
DOTS = f"dots: where each is when the first has f < {TARGET:g}, or else at the end"


def looks(labels: Collection[str]) -> Iterator[dict[str, Any]]:
    """Yields the arguments of `Axes.plot` for each optimizer, from wide to narrow."""
    for label, width in zip(labels, np.linspace(6, 1.3, len(labels)), strict=True):
        look = line(label)
        marker = "o" if look["linestyle"] == "-" else "D"
        dot = {"marker": marker, "markersize": 5 + width, "markeredgecolor": "k"}
        yield look | dot | {"linewidth": width, "markeredgewidth": 0.7}


def draw_contours(axes: Axes, case: Case) -> None:
    """Draws a function, darker where it is higher; its minimum and the start."""
    function, start = case
    corners = np.array([function.minimum, start])
    reach = 0.65 * np.ptp(corners, 0).max()
    x, y = (np.linspace(m - reach, m + reach, 200) for m in corners.mean(0))
    # The logarithm shows the floor of a valley; it ends where the target is reached.
    heights = np.log10(np.maximum(function.f(*np.meshgrid(x, y)), TARGET))
    axes.contourf(x, y, heights, levels=12, cmap="Greys", alpha=0.3)
    axes.plot(*function.minimum, "k*", markersize=14, zorder=4)
    axes.plot(*start, "ks", markersize=8, zorder=4)
    axes.set(title=f"{function.title}, from {start}", xlabel="x", ylabel="y")
    axes.set(xlim=x[[0, -1]], ylim=y[[0, -1]], aspect="equal")


def last_steps(case: Case, walks: Walks) -> list[int]:
    """Returns for each path the step that reaches the target, or its last one."""
    ends = [(steps_to_target(values(case, p)), len(p) - 1) for p in walks.values()]
    return [int(min(end)) for end in ends]


def draw_paths(axes: Axes, case: Case, walks: Walks) -> None:
    """Draws the paths to the target, and where all are when the first is there."""
    ends = last_steps(case, walks)
    for look, path, end in zip(looks(walks), walks.values(), ends, strict=True):
        axes.plot(*path[: end + 1].T, **look | {"marker": ""})
        axes.plot(*path[min(ends)], **look | {"linestyle": "", "zorder": 5})


def handles(labels: Collection[str]) -> list[Line2D]:
    """Returns what a legend shows: the minimum, the start and all optimizers."""
    point = {"linestyle": "", "color": "k", "markersize": 10}
    fixed = [("minimum", "*"), ("start", "s")]
    points = [Line2D([], [], label=name, marker=m, **point) for name, m in fixed]
    size = {"linewidth": 3, "markersize": 8}
    return points + [Line2D([], [], **look | size) for look in looks(labels)]


def of_case(walks: Walks, index: int) -> Walks:
    """Returns the paths of one case."""
    return {label: path[index] for label, path in walks.items()}


def draw_all(walks: Walks, columns: int) -> Figure:
    """Returns a figure of the paths of all cases, and a legend in its corner."""
    rows = (len(CASES) + 1) // columns
    figure = Figure(figsize=(3.25 * columns, 3.5 * rows), layout="constrained")
    *panels, corner = figure.subplots(rows, columns).flat
    for i, (axes, case) in enumerate(zip(panels, CASES, strict=True)):
        draw_contours(axes, case)
        draw_paths(axes, case, of_case(walks, i))
    corner.set_axis_off()
    corner.legend(handles=handles(walks), loc="center")
    figure.suptitle(DOTS)
    return figure


def frame_steps(case: Case, walks: Walks, frames: int) -> np.ndarray:
    """Returns the step of each frame, the last one where all reach the target."""
    steps = [steps_to_target(values(case, path)) for path in walks.values()]
    longest = len(next(iter(walks.values()))) - 1
    last = max([s for s in steps if np.isfinite(s)], default=longest)
    # Strides grow, so that one can see the fast ones move.
    return np.rint(last * np.linspace(0, 1, frames) ** 2).astype(int)


def moving_lines(axes: Axes, labels: Collection[str]) -> list[Line2D]:
    """Returns a line without points for each optimizer, its dot at the end."""
    return [axes.plot([], [], **look, markevery=[-1])[0] for look in looks(labels)]


def move(lines: list[Line2D], walks: Walks, step: int) -> None:
    """Gives lines their paths up to a step: 300 points at most, denser at the start."""
    points = np.unique(np.rint(step * np.linspace(0, 1, 300) ** 2).astype(int))
    for artist, path in zip(lines, walks.values(), strict=True):
        artist.set_data(*path[points].T)


def photograph(figure: Figure) -> Image.Image:
    """Returns a picture of a figure."""
    buffer = BytesIO()
    figure.savefig(buffer, dpi=75)
    return Image.open(buffer).convert("RGB")


def save_gif(pictures: list[Image.Image], path: Path) -> None:
    """Writes a GIF that pauses at its end."""
    # With one palette for all frames, a frame holds only what changes, and is small.
    # Maximum coverage finds the few pixels of each colour, k-means then meets it.
    coverage = Image.Quantize.MAXCOVERAGE
    palette = pictures[-1].quantize(256, method=coverage, kmeans=1)
    first, *rest = [
        picture.quantize(palette=palette, dither=Image.Dither.NONE)
        for picture in pictures
    ]
    times = [120] * len(rest) + [3000]  # milliseconds
    first.save(path, save_all=True, append_images=rest, duration=times, loop=0)
