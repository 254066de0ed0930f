"""Data sets: each file here loads one, checks it, and says what is missing."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

INSTALL = 'pip install "adabelief-optax[benchmarks]"'


class MissingData(Exception):
    """Says in one line what to install, or which option to give."""


class Splits(NamedTuple):
    """Trees of arrays, an example along the first axis of each."""

    train: Any
    valid: Any
    test: Any


def folder_of(package: str, contents: str) -> Path:
    """Returns the folder of an installed package, without importing it.

    Of all that such a package needs we need nothing. `contents` says what comes with
    it, in a subject and a verb.
    """
    if (spec := find_spec(package)) is None:
        raise MissingData(f"{contents} with {package}: {INSTALL}")
    return Path(spec.origin).parent
