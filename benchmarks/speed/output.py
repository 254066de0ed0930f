"""What do both commands take and give alike? Some options, a table and a JSON file."""

import argparse
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from benchmarks import cli


def add_shared_arguments(
    parser: argparse.ArgumentParser, known: Collection[str], remark: str = ""
) -> None:
    """Adds the choice of optimizers and what else both commands have."""
    add = parser.add_argument
    names = ", ".join(known)
    add(
        "--optimizers",
        type=cli.names(known),
        default=",".join(known),
        help=f"some of {names} (default all){remark}",
        metavar="NAME,NAME",
    )
    add("--json", type=cli.file, help="write all numbers to this file")
    add("--smoke", action="store_true", help="as small as can be, for a test")


def print_table(rows: list[list[str]]) -> None:
    """Prints aligned columns, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        print("   ".join([row[0].ljust(widths[0]), *cells[1:]]).rstrip())


def write(results: dict[str, Any], path: Path | None) -> None:
    """Writes all numbers to a file, if there is to be one."""
    if path:
        path.write_text(json.dumps(results, indent=2) + "\n")
