"""Do the imports of the benchmarks point one way, and is each program on its own?"""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import benchmarks

ROOT = Path(benchmarks.__file__).parent
SHARED = {"data"}  # a folder, and no program


def module_of(path):
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(source):
    """Yields every name that a module imports, whether it is a module or not."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports name the whole path"
            for alias in node.names:
                yield node.module
                yield f"{node.module}.{alias.name}"


PATHS = {module_of(path): path for path in sorted(ROOT.rglob("*.py"))}
IMPORTS = {
    module: {name for name in imported(path.read_text()) if name in PATHS}
    for module, path in PATHS.items()
}


def program_of(module):
    """Returns the folder or the file of a program, or None for what is shared."""
    _, *parts = module.split(".")
    if len(parts) == 1 and parts[0] == "demo":
        return "demo"
    folders = {x.parent.name for x in ROOT.glob("*/__init__.py")} - SHARED
    return parts[0] if parts and parts[0] in folders else None


def circle(imports):
    """Returns the modules of a circle of imports, or none."""
    try:
        list(TopologicalSorter(imports).static_order())
    except CycleError as error:
        return error.args[1]
    return []


def crossings(imports):
    """Returns the imports from a program's folder that come from outside of it."""
    return [
        (module, name)
        for module, names in imports.items()
        for name in names
        if program_of(name) not in (None, program_of(module))
    ]


def test_the_programs_are_found():
    programs = {program_of(module) for module in PATHS}
    assert programs == {None, "deepobs", "demo", "speed", "suite", "toy"}
    assert "benchmarks.toy.paths" in IMPORTS["benchmarks.toy.pictures"]


def test_imports_make_no_circle():
    assert not circle(IMPORTS)


def test_no_program_imports_from_another():
    assert not crossings(IMPORTS)


@pytest.mark.parametrize(
    ("module", "name", "is_circle", "is_crossing"),
    [
        ("toy.paths", "toy.pictures", True, False),
        ("toy.paths", "suite.problem", False, True),
        ("suite.problem", "demo", False, True),
        ("functions", "suite.problems.toy", True, True),
        ("suite.run", "timing", False, False),
    ],
)
def test_a_wrong_import_would_be_found(module, name, is_circle, is_crossing):
    module, name = f"benchmarks.{module}", f"benchmarks.{name}"
    imports = IMPORTS | {module: IMPORTS[module] | {name}}
    assert bool(circle(imports)) == is_circle
    assert bool(crossings(imports)) == is_crossing
