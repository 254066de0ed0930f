"""What is saved, so that a run that was killed ends as if it had not been?

Orbax writes a checkpoint into a temporary folder, which it renames when all is
there: one that was being written when the run was killed is none. An item `state`
has the arrays, under dictionaries by the names of their paths. What holds no array
leaves no trace in it, so that states of different classes with the same arrays, as
Optax's AdaBelief and ours, are the same checkpoint. An item `record` has the
position in the data, and the options by which the run can be repeated.

A checkpoint that cannot be read is passed over: the one before it is as good, and the
steps between are made again.
"""

import json
import logging
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from flax import traverse_util

KEPT = 3
PATIENCE = 30  # seconds that a process waits for the others to end a checkpoint
ITEMS = ("state", "record")
SPARE = 2**20  # bytes that must be free beside those of the arrays
WORDS = 120  # characters kept of an error's words
SUMS = "sha256.json"  # in a checkpoint, written when it is whole
DAMAGED = "damaged-"  # before the name of a checkpoint that is passed over
# Optimizers that go on with one another's state.
SAME = {"optax.adabelief": "adabelief"}


def open_manager(directory: Path) -> ocp.CheckpointManager:
    """Returns the manager of the checkpoints in a folder, which it makes."""
    # It logs a page for each error, which `saving` tells in a line.
    logging.getLogger("absl").setLevel(logging.CRITICAL)
    handlers = {
        "state": ocp.StandardCheckpointHandler(),
        "record": ocp.JsonCheckpointHandler(),
    }
    options = ocp.CheckpointManagerOptions(
        max_to_keep=KEPT,
        cleanup_tmp_directories=True,
        async_options=ocp.options.AsyncOptions(timeout_secs=PATIENCE),
    )
    return ocp.CheckpointManager(
        directory.absolute(), item_handlers=handlers, options=options
    )


class Found(NamedTuple):
    """The newest checkpoint that can be read, and what is wrong with newer ones."""

    step: int | None
    damages: list[str]


def find(directory: Path) -> Found:
    """Returns the newest checkpoint that can be read.

    Raises:
        SystemExit: if there are checkpoints and none can be read, or if the newest was
            not written by this command.
    """
    steps = [int(path.name) for path in directory.glob("*") if path.name.isdecimal()]
    damages: list[str] = []
    for step in sorted(steps, reverse=True):
        if not (reason := damage(directory / str(step))):
            return Found(step, damages)
        damages.append(f"checkpoint {directory / str(step)} cannot be read ({reason})")
    if damages:
        raise SystemExit(
            f"{damages[0]}, and there is no older one that can: name another "
            "--directory to begin anew"
        )
    return Found(None, [])


def pass_over(directory: Path, found: Found) -> list[str]:
    """Renames the checkpoints that cannot be read, and says what is done instead."""
    for path in directory.glob("*"):
        if path.name.isdecimal() and int(path.name) > found.step:
            path.rename(unused(path.with_name(f"{DAMAGED}{path.name}")))
    return [
        f"{damage}: it is now named {DAMAGED}…, and the run goes on from "
        f"{directory / str(found.step)}"
        for damage in found.damages
    ]


def unused(path: Path) -> Path:
    """Returns the path, or a longer one if there is such a file already."""
    return unused(path.with_name(f"{path.name}-again")) if path.exists() else path


def damage(path: Path) -> str | None:
    """Says why a checkpoint cannot be read, or returns None.

    It reads everything, and without Orbax's manager, for which all processes would
    have to do the same.
    """
    items = [path / name for name in ITEMS]
    if any(path.iterdir()) and not any(item.is_dir() for item in items):
        raise SystemExit(
            f"checkpoint {path} was not written by this command: name another "
            "--directory"
        )
    if reason := changed(path):
        return reason
    try:
        read_record(path)
        read_arrays(path)
    except Exception as error:  # Orbax has no class of its own for these
        return reason_of(error)
    return None


def reason_of(error: Exception) -> str:
    """Returns what an error says, in one line of bounded length."""
    words = " ".join(str(error).split()) or type(error).__name__
    if system := re.search(r": ([^:]+) \[os_error_code", words):
        return system[1]  # of several nested ones, the system's own words
    return words if len(words) <= WORDS else f"{words[:WORDS]}…"


def sums(path: Path) -> dict[str, str]:
    """Returns the SHA-256 of each file of a checkpoint."""
    files = sorted(f for f in path.rglob("*") if f.is_file() and f.name != SUMS)
    return {
        file.relative_to(path).as_posix(): sha256(file.read_bytes()).hexdigest()
        for file in files
    }


def seal(directory: Path) -> None:
    """Writes the sums of the newest checkpoint into it, if they are not there yet."""
    steps = [int(path.name) for path in directory.glob("*") if path.name.isdecimal()]
    path = directory / str(max(steps, default=0)) / SUMS
    if steps and not path.exists():
        unfinished = path.with_suffix(".tmp")
        unfinished.write_text(json.dumps(sums(path.parent)))
        unfinished.replace(path)


def changed(path: Path) -> str | None:
    """Says which file is not as it was written; None also where that is not known."""
    try:
        before = dict(json.loads((path / SUMS).read_text()))
    except (OSError, ValueError):
        return None  # killed before it was sealed
    now = sums(path)
    for name, digest in before.items():
        if now.get(name) != digest:
            return f"{name} {'was changed' if name in now else 'is missing'}"
    return None


def read_record(path: Path) -> dict[str, Any]:
    """Returns the position in the data and the options."""
    handler = ocp.JsonCheckpointHandler()
    record = handler.restore(path / "record", args=ocp.args.JsonRestore())
    if not isinstance(record, dict) or not {"position", "options"} <= record.keys():
        raise ValueError("its record has no position in the data or no options")
    return record


def saved_leaves(path: Path) -> dict[str, Any]:
    """Returns the shapes and dtypes in a checkpoint, without reading its arrays."""
    metadata = ocp.PyTreeCheckpointHandler().metadata(path / "state")
    return traverse_util.flatten_dict(metadata.tree, sep="/")


def read_arrays(path: Path) -> Any:
    """Returns all arrays, in the memory of this process."""
    as_numpy = ocp.RestoreArgs(restore_type=np.ndarray)
    leaves = dict.fromkeys(saved_leaves(path), as_numpy)
    args = ocp.args.PyTreeRestore(
        restore_args=traverse_util.unflatten_dict(leaves, sep="/")
    )
    return ocp.PyTreeCheckpointHandler().restore(path / "state", args=args)


def by_path(tree: Any) -> dict[str, Any]:
    """Returns the leaves by the names of their paths."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def save(
    manager: ocp.CheckpointManager, step: int, state: Any, record: dict[str, Any]
) -> None:
    """Starts to save; the arrays may be donated when this returns."""
    tree = traverse_util.unflatten_dict(by_path(state), sep="/")
    items = {"state": ocp.args.StandardSave(tree), "record": ocp.args.JsonSave(record)}
    with saving(manager):
        manager.save(step, args=ocp.args.Composite(**items), force=True)


def finish(manager: ocp.CheckpointManager) -> None:
    """Waits until the last checkpoint is there."""
    with saving(manager):
        manager.wait_until_finished()
        if jax.process_index() == 0:
            seal(Path(manager.directory))


@contextmanager
def saving(manager: ocp.CheckpointManager) -> Iterator[None]:
    """Exits with one line if saving fails, now or since it was begun."""
    try:
        yield
    except Exception as error:  # of a disk that is full, tensorstore's ValueError
        raise SystemExit(refusal(manager.directory, reason_of(error))) from None


def refusal(directory: Path, reason: str) -> str:
    """Returns the line for a checkpoint that cannot be saved."""
    return (
        f"cannot save in {directory}: {reason}; the same command goes on from the "
        "checkpoints that are there"
    )


def no_room(directory: Path, state: Any) -> str | None:
    """Says that the disk is too full for a checkpoint, or returns None.

    Orbax would notice too, but its threads print pages that nothing can hold back.
    """
    needed = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state)) + SPARE
    free = shutil.disk_usage(directory).free
    if free >= needed:
        return None
    words = f"{free:,} bytes are free, {needed:,} are needed"
    return refusal(directory, words)


def restore(
    path: Path, like: Any, options: dict[str, Any]
) -> tuple[Any, dict[str, Any]]:
    """Returns state and record of a checkpoint.

    Args:
        path: of the checkpoint.
        like: shapes, dtypes and shardings of the state.
        options: of this run.

    Raises:
        SystemExit: if the checkpoint does not fit, naming the first difference.
    """
    wanted, record = by_path(like), read_record(path)
    differences = [
        first_difference(saved_leaves(path), wanted),
        other_option(record["options"], options),
    ]
    if any(differences):
        reasons = "; ".join(filter(None, differences))
        raise SystemExit(f"checkpoint {path} does not fit: {reasons}")
    tree = ocp.args.StandardRestore(traverse_util.unflatten_dict(wanted, sep="/"))
    restored = ocp.StandardCheckpointHandler().restore(path / "state", args=tree)
    leaves = by_path(restored)
    return jax.tree.structure(like).unflatten(leaves[p] for p in wanted), record


def first_difference(found: dict[str, Any], wanted: dict[str, Any]) -> str | None:
    """Says which array differs, or returns None."""
    for path in [*wanted, *found]:
        there, here = describe(found.get(path)), describe(wanted.get(path))
        if there != here:
            return f"it has {there} for {path}, expected is {here}"
    return None


def describe(leaf: Any) -> str:
    """Returns the dtype and shape as one word, such as float32[3,4]."""
    if leaf is None:
        return "nothing"
    return f"{leaf.dtype}[{','.join(map(str, leaf.shape))}]"


def other_option(there: dict[str, Any], here: dict[str, Any]) -> str | None:
    """Says which option would change the run, or returns None."""
    for name in here:
        old, new = there.get(name), here[name]
        if SAME.get(old, old) != SAME.get(new, new):
            return f"it was written with --{name.replace('_', '-')} {old}, not {new}"
    return None
