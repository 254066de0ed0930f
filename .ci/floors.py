"""Prints the lowest versions that pyproject.toml allows, as constraints for pip."""

import re
import tomllib
from pathlib import Path

project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
flax = [r for r in project["optional-dependencies"]["benchmarks"] if "flax" in r]
for requirement in project["dependencies"] + flax:
    name, version = re.fullmatch(r"([\w-]+)>=([\d.]+)", requirement).groups()
    print(f"{name}=={version}")
    if name == "jax":
        print(f"jaxlib=={version}")
