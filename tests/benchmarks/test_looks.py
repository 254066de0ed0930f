"""Do all who look at or listen to a picture get what it shows?"""

from itertools import combinations

import numpy as np
import pytest
from IPython import display
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from benchmarks import looks

COLORS = sorted({look.color for look in looks.LOOKS.values()})
# What is left of linear red, green and blue without the cones for green: Machado,
# Oliveira and Fernandes 2009, at the highest severity.
DEUTERANOPIA = np.array(
    [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ]
)
XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)


def linear(color):
    """Returns the linear red, green and blue of an sRGB colour."""
    c = np.array(to_rgb(color))
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def lab(rgb):
    """Returns the CIELAB coordinates of linear red, green and blue."""
    t = XYZ @ rgb.clip(0, 1) / XYZ.sum(1)
    x, y, z = np.where(t > (6 / 29) ** 3, np.cbrt(t), t * (29 / 6) ** 2 / 3 + 4 / 29)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize(
    "eyes", [np.eye(3), DEUTERANOPIA], ids=["all cones", "deuteranopia"]
)
def test_two_colours_look_different(eyes):
    seen = {color: lab(eyes @ linear(color)) for color in COLORS}
    pairs = combinations(COLORS, 2)
    distances = {(a, b): np.linalg.norm(seen[a] - seen[b]) for a, b in pairs}
    closest = min(distances, key=distances.get)
    # A difference (ΔE, CIE 1976) of 2.3 is just visible.
    assert distances[closest] >= 20, closest


def test_two_optimizers_of_one_colour_have_different_dashes():
    assert len(set(looks.LOOKS.values())) == len(looks.LOOKS)


@pytest.mark.parametrize("color", COLORS)
def test_a_line_is_dark_enough_on_white(color):
    # WCAG 2.1 asks for this contrast of what one must see in a picture.
    assert 1.05 / (XYZ[1] @ linear(color) + 0.05) >= 3


def test_a_figure_in_a_notebook_has_a_text(monkeypatch):
    shown = []
    monkeypatch.setattr(display, "display", shown.append)
    looks.show(Figure(), "A curve that falls", dpi=10)
    data, metadata = shown[0]._repr_png_()
    assert data
    assert metadata["alt"] == "A curve that falls"
