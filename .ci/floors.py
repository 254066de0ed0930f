"""Prints the lowest versions that pyproject.toml allows, as constraints for pip."""

import re
import tomllib
from pathlib import Path

project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
extras = project["optional-dependencies"]
extra = dict.fromkeys(extras["benchmarks"] + extras["examples"])
on_jax = [r for r in extra if r.startswith(("equinox", "flax", "orbax"))]
for requirement in project["dependencies"] + on_jax:
    name, version = re.fullmatch(r"([\w-]+)>=([\d.]+)", requirement).groups()
    print(f"{name}=={version}")
    if name == "jax":
        print(f"jaxlib=={version}")
