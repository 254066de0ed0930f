"""Writes the repository's address into README.md and the notebooks: make address.

They cannot look it up in `[project.urls]` of pyproject.toml, where it is kept: GitHub,
Colab and people without a clone read them as they are. The last part of the address is
the name of the package, and of the folder that a clone makes.
"""

import re
import tomllib
from pathlib import Path

GITHUB = "https://github.com/"
# An owner and the name, after github.com/ or in Colab's address after github/.
ADDRESS = re.compile(r"(\bgithub(?:\.com)?/)[\w-]+/adabelief_optax\b")


def with_address(text: str, repository: str) -> str:
    """Returns a text with the address of this repository in place of another."""
    path = repository.removeprefix(GITHUB)
    return ADDRESS.sub(lambda match: match[1] + path, text)


if __name__ == "__main__":
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    for path in [Path("README.md"), *Path("notebooks").glob("*.ipynb")]:
        text = path.read_text()
        path.write_text(with_address(text, project["urls"]["Repository"]))
