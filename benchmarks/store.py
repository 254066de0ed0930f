"""How are finished trainings kept, so that nothing is trained twice?

Lines of JSON, appended as soon as trainings end, in a file for each problem. A last
line that was cut off is none, and goes when the next is written.
"""

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).parent / "results"
DIGITS = 8  # significant ones, of what is stored
Record = dict[str, Any]


def path_of(folder: Path, benchmark: str, problem: str) -> Path:
    """Returns the file of a problem's trainings."""
    return folder / benchmark / f"{problem}.jsonl"


def read(path: Path) -> list[Record]:
    """Returns the records of a file, without a last line that was cut off.

    It never writes: the report reads too, while a run may be writing.

    Raises:
        SystemExit: if a line is no record.
    """
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    records: list[Record] = []
    for number, line in enumerate(lines, 1):
        record = parsed(line)
        if record is None and number == len(lines) and not ends(path):
            break
        if record is None:
            raise SystemExit(
                f"{path}, line {number} is no JSON object: mend or drop it"
            )
        records.append(record)
    return records


def parsed(line: str) -> Record | None:
    """Returns the record of a line, or None if it is none."""
    with suppress(ValueError):
        record = json.loads(line)
        return record if isinstance(record, dict) else None
    return None


def ends(path: Path) -> bool:
    """Whether the last line of a file has its end."""
    return path.read_bytes().endswith(b"\n")


def append(path: Path, records: list[Record]) -> None:
    """Writes records behind those of the file, on disk when it returns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    mend(path)
    text = "".join(f"{json.dumps(record, allow_nan=False)}\n" for record in records)
    with path.open("a") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def mend(path: Path) -> None:
    """Ends the last line, or drops it if it was cut off."""
    if not path.exists() or not path.stat().st_size or ends(path):
        return
    whole, end, last = path.read_bytes().rpartition(b"\n")
    if parsed(last.decode(errors="replace")) is None:
        os.truncate(path, len(whole) + len(end))
    else:
        with path.open("ab") as file:
            file.write(b"\n")


def rounded(values: Any, digits: int = DIGITS) -> Any:
    """Returns numbers as JSON knows them; what is not finite becomes None."""
    if np.ndim(values):
        return [rounded(value, digits) for value in values]
    return float(f"{values:.{digits}g}") if np.isfinite(values) else None
