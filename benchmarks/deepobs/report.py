"""What do the trainings on DeepOBS's problems say, in a table and pictures?"""

from pathlib import Path

OUT = Path(__file__).parents[1]


def write(folder: Path, out: Path) -> None:
    """Stub."""
