"""What do long trainings say that AdaBelief's authors and a replication have published?

Nothing is trained. The page PUBLISHED.md and its pictures are made of curves that come
with the code.
"""

import argparse

from benchmarks import cli
from benchmarks.published import page


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this benchmark."""
    words = "where PUBLISHED.md and figures/ go"
    parser.add_argument("--out", type=cli.folder, default=page.OUT, help=words)


def run(args: argparse.Namespace) -> None:
    """Writes the page and its pictures."""
    for path in page.write(args.out):
        print(f"wrote {path}")
