"""The version, from the metadata of the installed package."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("adabelief-optax")
except PackageNotFoundError:  # a source tree on the path that nobody installed
    __version__ = "0+unknown"
