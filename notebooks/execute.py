"""Executes notebooks in place: python notebooks/execute.py [PATH ...], or all."""

import os
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

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


if __name__ == "__main__":
    for path in [Path(p) for p in sys.argv[1:]] or sorted(FOLDER.glob("*.ipynb")):
        print(path, flush=True)
        notebook = execute(path)
        nbformat.write(notebook, path)
