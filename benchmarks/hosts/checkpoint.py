"""What is saved, so that a run that was killed ends as if it had not been?

Orbax writes a checkpoint into a temporary folder, which it renames when all is
there: one that was being written when the run was killed is none. An item `state`
has the arrays, under dictionaries by the names of their paths. What holds no array
leaves no trace in it, so that states of different classes with the same arrays, as
Optax's AdaBelief and ours, are the same checkpoint. An item `record` has the
position in the data, and the options by which the run can be repeated.
"""

from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from flax import traverse_util

KEPT = 3
# Optimizers that go on with one another's state.
SAME = {"optax.adabelief": "adabelief"}


def open_manager(directory: Path) -> ocp.CheckpointManager:
    """Returns the manager of the checkpoints in a folder, which it makes."""
    handlers = {
        "state": ocp.StandardCheckpointHandler(),
        "record": ocp.JsonCheckpointHandler(),
    }
    options = ocp.CheckpointManagerOptions(
        max_to_keep=KEPT, cleanup_tmp_directories=True
    )
    return ocp.CheckpointManager(
        directory.absolute(), item_handlers=handlers, options=options
    )


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
    manager.save(step, args=ocp.args.Composite(**items), force=True)


def restore(
    manager: ocp.CheckpointManager, step: int, like: Any, options: dict[str, Any]
) -> tuple[Any, dict[str, Any]]:
    """Returns state and record of a checkpoint.

    Args:
        manager: of the folder.
        step: which of its checkpoints.
        like: shapes, dtypes and shardings of the state.
        options: of this run.

    Raises:
        SystemExit: if the checkpoint does not fit, naming the first difference.
    """
    wanted = by_path(like)
    found = saved_leaves(manager, step)
    reader = ocp.args.Composite(record=ocp.args.JsonRestore())
    record = manager.restore(step, args=reader)["record"]
    differences = [
        first_difference(found, wanted),
        other_option(record["options"], options),
    ]
    if any(differences):
        path = manager.directory / str(step)
        reasons = "; ".join(filter(None, differences))
        raise SystemExit(f"checkpoint {path} does not fit: {reasons}")
    tree = traverse_util.unflatten_dict(wanted, sep="/")
    reader = ocp.args.Composite(state=ocp.args.StandardRestore(tree))
    leaves = by_path(manager.restore(step, args=reader)["state"])
    return jax.tree.structure(like).unflatten(leaves[p] for p in wanted), record


def saved_leaves(manager: ocp.CheckpointManager, step: int) -> dict[str, Any]:
    """Returns the shapes and dtypes in a checkpoint, without reading its arrays."""
    metadata = manager.item_metadata(step)["state"]
    if metadata is None:
        path = manager.directory / str(step)
        raise SystemExit(f"checkpoint {path} was not written by this command")
    return traverse_util.flatten_dict(metadata.tree, sep="/")


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
