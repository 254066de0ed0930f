"""Do all processes do the same, in the same folder?

What a process finds wrong, all others hear of, and all exit with the same line: one
that went on alone would wait for the others.
"""

import json
import secrets
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

LONGEST = 4096  # bytes of a message
PATIENCE = 10  # seconds until a file that one process writes is seen by the others


def gather(message: Any) -> list[Any]:
    """Returns the messages of all processes, in order; JSON has to know them."""
    if jax.process_count() == 1:
        return [message]
    text = json.dumps(message).encode()
    assert len(text) <= LONGEST, "too long for the others"
    padded = np.frombuffer(text.ljust(LONGEST), np.uint8)
    rows = np.asarray(multihost_utils.process_allgather(padded))
    return [json.loads(row.tobytes()) for row in rows.reshape(-1, LONGEST)]


def together(check: Callable[[], str | None]) -> None:
    """Exits in all processes if one of them has something to complain about."""
    for complaint in filter(None, gather(check())):
        raise SystemExit(complaint)


def first(function: Callable[[], Any]) -> Any:
    """Returns what process 0 gets; if it must exit, all do, with its line."""
    answer, line = None, None
    if jax.process_index() == 0:
        try:
            answer = function()
        except SystemExit as error:
            line = str(error)
    answer, line = gather([answer, line])[0]
    if line is not None:
        raise SystemExit(line)
    return answer


def same_devices() -> None:
    """Exits if some processes have more devices than others."""
    counts = Counter(device.process_index for device in jax.devices())
    if len(set(counts.values())) > 1:
        raise SystemExit(
            f"the processes have {min(counts.values())} to {max(counts.values())} "
            "devices each: give all the same number"
        )


def same_options(options: dict[str, Any]) -> None:
    """Exits if the processes were started with different options, and says which."""
    every = gather(options)
    differences = []
    for name in options:
        values = [other.get(name) for other in every]
        other = next((i for i, x in enumerate(values) if x != values[0]), 0)
        if other:
            differences.append(
                f"--{name.replace('_', '-')} is {values[0]} in process 0 and "
                f"{values[other]} in process {other}"
            )
    if differences:
        raise SystemExit(
            f"the processes have different options: {'; '.join(differences)}"
        )


def shared(folder: Path) -> None:
    """Exits if a process cannot write in the folder, or the others do not see it.

    Process 0 looks for a file of every other process, and they look for its.
    """
    me, others = jax.process_index(), range(1, jax.process_count())
    names = [f".process-{number}" for number in gather(secrets.token_hex(8))]
    together(lambda: unwritable(folder / names[me]))
    looked_for = others if me == 0 else [0]
    try:
        together(lambda: unseen(folder, me, {i: folder / names[i] for i in looked_for}))
    finally:
        with suppress(OSError):
            (folder / names[me]).unlink()


def unwritable(path: Path) -> str | None:
    """Writes a small file, or says why that is not possible."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("This process can write here.\n")
    except OSError as error:
        return (
            f"process {jax.process_index()} cannot write in {path.parent}: "
            f"{error.strerror}; what is saved there already is whole"
        )
    return None


def unseen(folder: Path, me: int, files: dict[int, Path]) -> str | None:
    """Waits until the files are there, or says whose is not."""
    end = time.monotonic() + PATIENCE
    for process, file in files.items():
        while not file.exists():
            if time.monotonic() > end:
                return (
                    f"process {me} does not see in {folder} what process {process} "
                    "wrote there: --directory must be one folder that all share"
                )
            time.sleep(0.05)
    return None
