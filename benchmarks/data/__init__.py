"""Data sets: each file here loads one, checks it, and says what is missing."""

import os
from importlib.util import find_spec
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


def folder_of(package: str, contents: str) -> Path:
    """Returns the folder of an installed package, without importing it.

    Of all that such a package needs we need nothing. `contents` says what comes with
    it, in a subject and a verb.
    """
    if (spec := find_spec(package)) is None:
        raise MissingData(f"{contents} with {package}: {INSTALL}")
    return Path(spec.origin).parent
