"""How does each optimizer look in every picture of the project?

One order, one colour and one line for each, Okabe and Ito's colours, which all eyes can
tell apart; where two share a colour, the dashes differ.
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


DOTS = (0, (1, 1.5))
# In the order of every legend and table.
LOOKS = {
    "SGD+momentum": Look("#000000"),
    "Adam": Look("#E69F00"),
    "AdamW": Look("#E69F00", "--"),
    "RAdam": Look("#E69F00", DOTS),
    "Yogi": Look("#999999"),
    "Lion": Look("#999999", "--"),
    "optax.adabelief": Look("#56B4E9", "--"),
    "Adam+": Look("#F0E442"),
    "AdaBelief": Look("#0072B2"),
    "AdaBelief, bf16": Look("#56B4E9"),
    "AdaBelief, rectified": Look("#0072B2", DOTS),
    "Aida, K=1": Look("#CC79A7"),
    "Aida": Look("#D55E00"),
    "Aida, bf16": Look("#CC79A7"),
    "LAdam": Look("#009E73", "--"),
    "LAdaBelief": Look("#009E73"),
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
