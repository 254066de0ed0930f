"""How are finished trials kept, so that nothing is trained twice?

A line of JSON for each trial, appended as soon as it ends, in
`results/BUDGET/PROBLEM.jsonl`. A line that was cut off is dropped when it is read.
"""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).parents[1] / "results"
DIGITS = 5  # significant ones, of what is stored
Record = dict[str, Any]


def path_of(folder: Path, budget: str, problem: str) -> Path:
    """Returns the file of a problem's trials."""
    return folder / budget / f"{problem}.jsonl"


def read(path: Path) -> list[Record]:
    """Returns the records of a file, without a last line that was cut off."""
    if not path.exists():
        return []
    lines = path.read_text().splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines.pop()
        path.write_text("".join(lines))
    return [json.loads(line) for line in lines]


def append(path: Path, records: list[Record]) -> None:
    """Writes records behind those of the file, on disk when it returns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(f"{json.dumps(record, allow_nan=False)}\n" for record in records)
    with path.open("a") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def rounded(values: Any) -> Any:
    """Returns numbers as JSON knows them; what is not finite becomes None."""
    if np.ndim(values):
        return [rounded(value) for value in values]
    return float(f"{values:.{DIGITS}g}") if np.isfinite(values) else None
