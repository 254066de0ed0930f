"""Writes the table of licences of CONTRIBUTING.md: python .ci/licences.py."""

import re
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

# The words that packages have for the commonest licences.
NAMES = {
    r"Apache[ -](2\.0|License.*|Software License)": "Apache-2.0",
    r"BSD( License|[ -][23]-Clause( License)?)?|3-Clause BSD License": "BSD",
    r"ISC .*": "ISC",
    r"MIT License": "MIT",
    r"Mozilla Public License 2\.0 .*": "MPL-2.0",
    r"Python Software Foundation License": "PSF-2.0",
    r"GNU General Public License.*": "GPL",
}
# Those of other platforms, whose metadata is not at hand.
ELSEWHERE = {
    "appnope": "BSD",
    "cffi": "MIT-0",
    "colorama": "BSD",
    "nest-asyncio": "BSD",
    "pycparser": "BSD",
}


def licence(package: str) -> str:
    """Returns the licence that a package's metadata names."""
    try:
        found = metadata(package)
    except PackageNotFoundError:
        return ELSEWHERE[package]
    kinds = [c for c in found.get_all("Classifier", []) if c.startswith("License :: O")]
    text = found["License-Expression"] or (kinds and kinds[-1].split(" :: ")[-1])
    text = text or found["License"]
    return next((n for words, n in NAMES.items() if re.fullmatch(words, text)), text)


def table(packages: list[str], direct: set[str]) -> str:
    """Returns the packages by licence, in bold those that the project asks for."""
    rows: dict[str, list[str]] = {}
    for package in packages:
        name = f"**{package}**" if package in direct else package
        rows.setdefault(licence(package), []).append(name)
    rows = dict(sorted(rows.items(), key=lambda row: -len(row[1])))
    lines = [f"| {name} | {', '.join(row)} |\n" for name, row in rows.items()]
    return "| licence | packages |\n|---|---|\n" + "".join(lines)


if __name__ == "__main__":
    lock = Path("constraints.txt").read_text()
    packages = sorted(set(re.findall(r"^([a-z][\w-]*)==", lock, re.MULTILINE)))
    project = Path("pyproject.toml").read_text()
    direct = {n.lower() for n in re.findall(r'"([\w-]+)(?:\[\w+\])?[>=]=', project)}
    page = Path("CONTRIBUTING.md")
    old = re.compile(r"^\| licence \|.*\n(?:\|.*\n)*", re.MULTILINE)
    page.write_text(old.sub(lambda _: table(packages, direct), page.read_text()))
