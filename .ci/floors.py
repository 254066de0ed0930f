"""Prints what the tests need at the lowest versions allowed.

JAX and what builds on it have their lowest version, and all else its newest.
"""

import itertools
import tomllib
from pathlib import Path

ON_JAX = ("chex>", "equinox>", "flax>", "jax>", "optax>", "orbax-checkpoint>")

project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
extras = project["optional-dependencies"]
needed = [extras[name] for name in extras if name != "lint"]
for requirement in sorted({*itertools.chain(project["dependencies"], *needed)}):
    if requirement.startswith(ON_JAX):
        print(requirement.replace(">=", "=="))
    elif not requirement.startswith(project["name"]):
        print(requirement)
