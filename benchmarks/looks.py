"""How does each optimizer look in every picture of the project?

One order, one colour and one line for each. Any two colours look different, also to
eyes without cones for green, and stand out on white; where two optimizers share one,
the dashes differ.
"""

from io import BytesIO
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image


class Look(NamedTuple):
    """A colour and the dashes of a line."""

    color: str
    linestyle: Any = "-"


DASHES, DOTS, DASH_DOTS = "--", (0, (1, 1.5)), "-."
BLACK, GRAY, GREEN = "#000000", "#717171", "#0D511F"
BROWN, ORANGE, PINK = "#985900", "#FF5C04", "#FF44B7"
PLUM, BLUE, SKY = "#623563", "#0000ED", "#0A95FE"
# In the order of every legend and table.
LOOKS = {
    "SGD+momentum": Look(BLACK),
    "SGD, averaged": Look(BLACK, DASHES),
    "Adam": Look(BROWN),
    "Adam, warm-up": Look(BROWN, DASH_DOTS),
    "AdamW": Look(BROWN, DASHES),
    "RAdam": Look(BROWN, DOTS),
    "Yogi": Look(GRAY),
    "Lion": Look(GRAY, DASHES),
    "optax.adabelief": Look(SKY, DASHES),
    "Adam+": Look(PLUM),
    "AdaBelief": Look(BLUE),
    "AdaBelief, warm-up": Look(BLUE, DASH_DOTS),
    "AdaBelief, bf16": Look(SKY, DASH_DOTS),
    "AdaBelief, rectified": Look(BLUE, DOTS),
    "Aida, K=1": Look(PINK),
    "Aida": Look(ORANGE),
    "Aida, bf16": Look(PINK, DASHES),
    "LAdam": Look(GREEN, DASHES),
    "LAdaBelief": Look(GREEN),
}


def line(label: str) -> dict[str, Any]:
    """Returns the arguments of `Axes.plot` for an optimizer, its label among them."""
    look = LOOKS[label]
    # Dashes lie on top, where two lines are the same.
    return {
        "label": label,
        "zorder": 2 if look.linestyle == "-" else 3,
        **look._asdict(),
    }


def finish(axes: Axes, xlabel: str, ylabel: str) -> None:
    """Names both axes and draws a faint grid."""
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.grid(alpha=0.3)


def png(figure: Figure, dpi: int = 100) -> bytes:
    """Returns a picture in 256 colours: a third of the usual bytes."""
    full, small = BytesIO(), BytesIO()
    figure.savefig(full, format="png", dpi=dpi)
    # The two rounds of k-means keep the colours of thin lines.
    few = Image.open(full).convert("RGB").quantize(256, kmeans=2)
    few.save(small, "png", optimize=True)
    return small.getvalue()


def show(figure: Figure, alt: str, dpi: int = 100) -> None:
    """Displays a figure in a notebook; `alt` is read to those who do not see it."""
    from IPython import display  # which only notebooks have

    # Not the argument `alt`, which Colab's IPython does not know.
    display.display(display.Image(png(figure, dpi), metadata={"alt": alt}))


def say(text: str) -> None:
    """Displays Markdown in a notebook, such as an answer with computed numbers."""
    from IPython import display

    display.display(display.Markdown(text))
