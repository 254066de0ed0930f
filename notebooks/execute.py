"""Executes notebooks in place: python notebooks/execute.py [PATH ...], or all."""

import base64
import io
import os
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from PIL import Image

FOLDER = Path(__file__).parent
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def execute(path: Path) -> nbformat.NotebookNode:
    """Returns a notebook, run from start to end as a user of its folder would."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=600,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(FOLDER)}},
    )
    # The tests set XLA_FLAGS to have several devices. XLA's own log, not Python's
    # warnings, is left out: a busy machine makes it complain of slow compilations.
    env = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    client.execute(env=env | {"TF_CPP_MIN_LOG_LEVEL": "3"})
    notebook.metadata = nbformat.from_dict(METADATA)
    return notebook


def shrink(notebook: nbformat.NotebookNode) -> None:
    """Makes the figures a third of their size, with 64 colours each."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if png := output.get("data", {}).get("image/png"):
                image = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB")
                small = io.BytesIO()
                image = image.quantize(64, dither=Image.Dither.NONE)
                image.save(small, "PNG", optimize=True)
                output.data["image/png"] = base64.b64encode(small.getvalue()).decode()


if __name__ == "__main__":
    for path in [Path(p) for p in sys.argv[1:]] or sorted(FOLDER.glob("*.ipynb")):
        print(path, flush=True)
        notebook = execute(path)
        shrink(notebook)
        nbformat.write(notebook, path)
