"""What do both commands take and give alike? Some options, a table and a JSON file."""

import argparse
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from benchmarks import cli
from benchmarks.speed.cases import REFERENCE


def add_shared_arguments(
    parser: argparse.ArgumentParser, known: Collection[str]
) -> None:
    """Adds the choice of optimizers and what else both commands have."""
    add, parse = parser.add_argument, cli.names(known)
    add(
        "--optimizers",
        type=lambda text: list(dict.fromkeys([REFERENCE, *parse(text)])),
        default=",".join(known),
        help=f"some of {', '.join(known)} (default all); {REFERENCE} always runs",
        metavar="NAME,NAME",
    )
    add("--json", type=cli.file, help="write all numbers to this file")
    add("--smoke", action="store_true", help="as small as can be, for a test")


def print_table(rows: list[list[str]]) -> None:
    """Prints aligned columns, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *others in rows:
        cells = [cell.rjust(n) for cell, n in zip(others, widths[1:], strict=True)]
        print("   ".join([first.ljust(widths[0]), *cells]).rstrip(), flush=True)


def write(results: dict[str, Any], path: Path | None) -> None:
    """Writes all numbers to a file, if there is to be one."""
    if path:
        path.write_text(json.dumps(results, indent=2) + "\n")
