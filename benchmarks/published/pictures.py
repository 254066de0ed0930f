"""How are the published curves drawn?"""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from benchmarks import looks
from benchmarks.published.curves import CIFAR, LABELS, TREEBANK, read

# Of the three that are named in every claim; all others are faint.
NAMED = {
    "adabelief": looks.LOOKS["AdaBelief"].color,
    "adam": looks.LOOKS["Adam"].color,
    "sgd": looks.LOOKS["SGD+momentum"].color,
}
FAINT = "#D0D0D0"
LIMITS = {
    "LSTM-1-layer": (83, 100),
    "LSTM-2-layer": (65, 100),
    "LSTM-3-layer": (60, 100),
}


def draw(folder: Path) -> None:
    """Draws both tasks."""
    for name, figure in (("cifar10", cifar()), ("treebank", treebank())):
        place = "outside lower center"
        figure.legend(handles=legend(), loc=place, ncols=5, frameon=False)
        (folder / f"{name}.png").write_bytes(looks.png(figure, 110))


def cifar() -> Figure:
    """Draws training and test accuracy, a column for each model."""
    figure = Figure(figsize=(10, 6.5), layout="constrained")
    rows = figure.subplots(2, 3, sharex=True, sharey="row")
    for (above, below), (model, title) in zip(rows.T, CIFAR.items(), strict=True):
        curves(above, model, "train")
        curves(below, model, "test")
        above.set_title(title)
        looks.finish(above, "", "")
        looks.finish(below, "epoch", "")
    rows[0, 0].set(ylabel="training accuracy (%)", ylim=(72, 100.5))
    rows[1, 0].set(ylabel="test accuracy (%)", ylim=(72, 97))
    figure.suptitle("CIFAR-10, as published: one training per line")
    return figure


def treebank() -> Figure:
    """Draws the test perplexity, a column for each number of layers."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    every = figure.subplots(1, 3, sharex=True)
    for axes, (model, title) in zip(every, TREEBANK.items(), strict=True):
        curves(axes, model, "test")
        axes.set(title=title, ylim=LIMITS[model])
        looks.finish(axes, "epoch", "")
    every[0].set_ylabel("test perplexity")
    figure.suptitle("Penn Treebank, as published: one training per line")
    return figure


def curves(axes: Axes, model: str, part: str) -> None:
    """Draws all trainings of a model, the named ones on top."""
    for training in (t for t in read() if t.model == model):
        values = getattr(training, part)
        epochs = range(1, len(values) + 1)
        style = "-" if training.source == "authors" else "--"
        if training.optimizer in NAMED:
            color = NAMED[training.optimizer]
            axes.plot(epochs, values, style, color=color, lw=1.2, zorder=3)
        elif training.source == "authors":
            axes.plot(epochs, values, color=FAINT, lw=0.8, zorder=1)


def legend() -> list[Line2D]:
    """Returns what the lines mean."""
    named = [
        Line2D([], [], color=color, label=LABELS[name]) for name, color in NAMED.items()
    ]
    gray = Line2D([], [], color=FAINT, label="other methods, authors")
    dashed = Line2D([], [], color="black", linestyle="--", label="dashed: replication")
    return [*named, gray, dashed]
