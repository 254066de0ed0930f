"""Which problems are there? Every file without a `_` before its name adds its own."""

import pkgutil
from functools import cache
from importlib import import_module

from benchmarks.suite.problem import Problem


@cache
def problems() -> dict[str, Problem]:
    """Returns all problems by name, in the order of the files' names."""
    modules = sorted(info.name for info in pkgutil.iter_modules(__path__))
    public = [name for name in modules if not name.startswith("_")]
    found = [import_module(f"{__name__}.{name}").PROBLEMS for name in public]
    return {problem.name: problem for group in found for problem in group}
