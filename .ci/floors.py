"""Prints the lowest versions that pyproject.toml allows, as constraints for pip."""

import re
import tomllib
from pathlib import Path

project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
extra = project["optional-dependencies"]["benchmarks"]
extra = [r for r in extra if r.startswith(("flax", "orbax"))]  # they depend on JAX
for requirement in project["dependencies"] + extra:
    name, version = re.fullmatch(r"([\w-]+)>=([\d.]+)", requirement).groups()
    print(f"{name}=={version}")
    if name == "jax":
        print(f"jaxlib=={version}")
