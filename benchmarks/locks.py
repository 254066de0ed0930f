"""Does another process work in this folder?

The lock goes with its process: one that was killed holds nothing. It is as good as the
file system's locks are, which on network file systems depends on the server.
"""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

LOCK, HOLDER = ".lock", ".holder"  # the holder's name is beside the lock, for messages


def acquire(folder: Path) -> FileLock:
    """Makes the folder and locks it, or exits and says who holds it."""
    lock = FileLock(folder / LOCK)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        name = f"process {os.getpid()} on {socket.gethostname()} since {since}"
        (folder / HOLDER).write_text(name)
    except Timeout:
        raise SystemExit(
            f"{folder} is in use by {holder(folder)}: wait until it ends, or name "
            "another folder"
        ) from None
    except OSError as error:
        raise SystemExit(
            f"cannot write in {folder}: {error.strerror}; name another folder"
        ) from None
    return lock


def release(lock: FileLock) -> None:
    """Lets others have the folder."""
    with suppress(OSError):  # it may have turned read-only
        Path(lock.lock_file).with_name(HOLDER).unlink()
    lock.release()


def holder(folder: Path) -> str:
    """Returns what the holder has written about itself."""
    with suppress(OSError):
        return (folder / HOLDER).read_text() or "another process"
    return "another process"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Has the folder locked in the block, or exits and says who holds it."""
    lock = acquire(folder)
    try:
        yield
    finally:
        release(lock)
