"""Runs a command while no other runs with the same lock: alone.py LOCK COMMAND...

The system takes the lock back however this program ends, and needs no `flock`, which
macOS does not have.
"""

import fcntl
import subprocess
import sys
from pathlib import Path

if __name__ == "__main__":
    path, *command = sys.argv[1:]
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"waiting for the program that has locked {path}", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        # make hands open files down, for its -j.
        sys.exit(subprocess.call(command, close_fds=False))
