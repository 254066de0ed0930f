"""How do the commands read their options?

Types for `argparse`, whose errors say what is allowed.
"""

import argparse
import math
from collections.abc import Callable, Collection
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any


def allowed(words: str, convert: Callable, check: Callable, text: str) -> Any:
    """A type, given all arguments but the text."""
    with suppress(ValueError):
        if check(value := convert(text)):
            return value
    raise argparse.ArgumentTypeError(f"{text!r}; allowed is {words}")


def integer(least: int) -> Callable[[str], int]:
    """Returns the type of an integer from `least` on."""
    return partial(allowed, f"an integer >= {least}", int, lambda n: n >= least)


def one_or_more(known: Collection[str]) -> str:
    """Returns the words that say which names are allowed."""
    return f"one or more of {','.join(known)}, with commas"


def names(known: Collection[str]) -> Callable[[str], list[str]]:
    """Returns the type of one or more of these names, with commas between them."""

    def split(text: str) -> list[str]:
        return [name.strip() for name in text.split(",")]

    return partial(allowed, one_or_more(known), split, set(known).issuperset)


positive = partial(allowed, "a number > 0", float, lambda x: 0 < x < math.inf)
folder = partial(allowed, "a folder, not a file", Path, lambda p: not p.is_file())
file = partial(
    allowed,
    "a file in a folder that exists",
    Path,
    lambda p: p.parent.is_dir() and not p.is_dir(),
)
