"""Is each program of the benchmarks on its own?"""

import ast
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
    folders = {"deepobs", "published", "speed", "suite", "toy"}
    assert programs == {None, "demo", *folders}
    assert "benchmarks.toy.paths" in IMPORTS["benchmarks.toy.pictures"]


def test_no_program_imports_from_another():
    assert not crossings(IMPORTS)


@pytest.mark.parametrize(
    ("module", "name", "wrong"),
    [
        ("toy.paths", "suite.problem", True),
        ("suite.problem", "demo", True),
        ("functions", "suite.problems.toy", True),
        ("suite.run", "timing", False),
    ],
)
def test_a_wrong_import_would_be_found(module, name, wrong):
    module, name = f"benchmarks.{module}", f"benchmarks.{name}"
    assert bool(crossings({module: {name}})) == wrong
