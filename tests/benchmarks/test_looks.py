"""Are pictures read to those who do not see them?"""

from IPython import display
from matplotlib.figure import Figure

from benchmarks import looks


def test_a_figure_in_a_notebook_has_a_text(monkeypatch):
    shown = []
    monkeypatch.setattr(display, "display", shown.append)
    looks.show(Figure(), "A curve that falls", dpi=10)
    data, metadata = shown[0]._repr_png_()
    assert data
    assert metadata["alt"] == "A curve that falls"
