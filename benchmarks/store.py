"""How are finished trainings kept, so that nothing is trained twice?

Lines of JSON, added as soon as trainings end, in a file for each problem.
"""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

RESULTS = Path(__file__).parent / "results"
DIGITS = 8  # significant ones, of what is stored
Record = dict[str, Any]


def path_of(folder: Path, benchmark: str, problem: str) -> Path:
    """Returns the file of a problem's trainings."""
    return folder / benchmark / f"{problem}.jsonl"


def read(path: Path) -> list[Record]:
    """Returns the records of a file, or exits and names a line that is none."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    records = []
    for number, line in enumerate(lines, 1):
        record = None
        with suppress(ValueError):
            record = json.loads(line)
        if not isinstance(record, dict):
            raise SystemExit(
                f"{path}, line {number} is no JSON object: mend or drop it"
            )
        records.append(record)
    return records


def append(path: Path, records: list[Record]) -> None:
    """Adds records to a file, all or none; other processes may do so at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    added = "".join(f"{json.dumps(record, allow_nan=False)}\n" for record in records)
    with FileLock(path.with_suffix(".lock")):
        before = path.read_text(encoding="utf-8") if path.exists() else ""
        new = path.with_suffix(".new")
        # Where an editor has dropped the last newline, it comes back.
        new.write_text(f"{before.rstrip()}\n{added}".lstrip(), encoding="utf-8")
        new.replace(path)


def rounded(values: Any, digits: int = DIGITS) -> Any:
    """Returns numbers as JSON knows them; what is not finite becomes None."""
    if np.ndim(values):
        return [rounded(value, digits) for value in values]
    return float(f"{values:.{digits}g}") if np.isfinite(values) else None
