"""Data sets: each file here loads one, checks it, and says what is missing."""

import os
from pathlib import Path
from typing import Any, NamedTuple

INSTALL = 'pip install "adabelief-optax[benchmarks]"'
DOWNLOAD = "python -m benchmarks data"
VARIABLE = "ADABELIEF_OPTAX_DATA"


class MissingData(Exception):
    """Says in one line what to install, or which option to give."""


class Splits(NamedTuple):
    """Trees of arrays, an example along the first axis of each."""

    train: Any
    valid: Any
    test: Any


def cache() -> Path:
    """Returns the folder of what is downloaded, which ADABELIEF_OPTAX_DATA names."""
    if named := os.environ.get(VARIABLE):
        return Path(named)
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(caches) / "adabelief_optax" / "data"
