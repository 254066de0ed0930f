"""How are the published curves drawn?"""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from benchmarks import looks
from benchmarks.published.curves import CIFAR, LABELS, MODELS, TREEBANK, Training

# Of the three that are named in every claim; all others are faint.
NAMED = {
    name: looks.LOOKS[look].color
    for name, look in (
        ("adabelief", "AdaBelief"),
        ("adam", "Adam"),
        ("sgd", "SGD+momentum"),
    )
}
FAINT = "#D0D0D0"
LIMITS = {
    "LSTM-1-layer": (83, 100),
    "LSTM-2-layer": (65, 100),
    "LSTM-3-layer": (60, 100),
}


def draw(trainings: list[Training], folder: Path) -> list[Path]:
    """Draws both tasks, and returns the paths."""
    paths = []
    for name, figure in (
        ("cifar10", cifar(trainings)),
        ("treebank", treebank(trainings)),
    ):
        figure.legend(
            handles=legend(), loc="outside lower center", ncols=5, frameon=False
        )
        paths.append(folder / f"{name}.png")
        paths[-1].write_bytes(looks.png(figure, 110))
    return paths


def cifar(trainings: list[Training]) -> Figure:
    """Draws training and test accuracy, a column for each model."""
    figure = Figure(figsize=(10, 6.5), layout="constrained")
    rows = figure.subplots(2, 3, sharex=True, sharey="row")
    for column, (model, title) in enumerate(MODELS[CIFAR].items()):
        mine = [t for t in trainings if (t.task, t.model) == (CIFAR, model)]
        for axes, part in zip(rows[:, column], ("train", "test"), strict=True):
            curves(axes, mine, part)
        rows[0, column].set_title(title)
        looks.finish(rows[0, column], "", "")
        looks.finish(rows[1, column], "epoch", "")
    rows[0, 0].set(ylabel="training accuracy (%)", ylim=(72, 100.5))
    rows[1, 0].set(ylabel="test accuracy (%)", ylim=(72, 97))
    figure.suptitle("CIFAR-10, as published: one training per line")
    return figure


def treebank(trainings: list[Training]) -> Figure:
    """Draws the test perplexity, a column for each number of layers."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    for axes, (model, title) in zip(
        figure.subplots(1, 3, sharex=True), MODELS[TREEBANK].items(), strict=True
    ):
        mine = [t for t in trainings if (t.task, t.model) == (TREEBANK, model)]
        curves(axes, mine, "test")
        axes.set(title=title, ylim=LIMITS[model])
        looks.finish(axes, "epoch", "")
        if model == "LSTM-1-layer":
            axes.set_ylabel("test perplexity")
    figure.suptitle("Penn Treebank, as published: one training per line")
    return figure


def curves(axes: Axes, trainings: list[Training], part: str) -> None:
    """Draws all trainings of a model, the named ones on top."""
    for training in trainings:
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
