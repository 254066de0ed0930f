"""Which problems are there? Every file of this folder with `PROBLEMS` adds its own."""

import pkgutil
from functools import cache
from importlib import import_module

from benchmarks.problem import Problem


@cache
def problems() -> dict[str, Problem]:
    """Returns all problems by name, in the order of the files' names."""
    modules = sorted(info.name for info in pkgutil.iter_modules(__path__))
    found = [import_module(f"{__name__}.{name}").PROBLEMS for name in modules]
    return {problem.name: problem for group in found for problem in group}
