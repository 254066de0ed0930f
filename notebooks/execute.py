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


def execute(
    notebook: nbformat.NotebookNode, **environment: str
) -> nbformat.NotebookNode:
    """Runs a notebook from start to end as a user of its folder would."""
    client = NotebookClient(
        notebook,
        timeout=600,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(FOLDER)}},
    )
    # XLA's own log, not Python's warnings, is left out: a busy machine makes it
    # complain of slow compilations.
    client.execute(env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"} | environment)
    notebook.metadata = nbformat.from_dict(METADATA)
    return notebook


if __name__ == "__main__":
    for path in [Path(p) for p in sys.argv[1:]] or sorted(FOLDER.glob("*.ipynb")):
        print(path, flush=True)
        nbformat.write(execute(nbformat.read(path, as_version=4)), path)
