"""What is said of the hardware and the versions that made a result?"""

import os
import platform
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import jax
import optax


@cache
def summary() -> str:
    """Returns the hardware and the versions in one line."""
    device = jax.devices()[0]
    kind = processor() if device.platform == "cpu" else device.device_kind
    count = os.cpu_count() if device.platform == "cpu" else jax.device_count()
    python = platform.python_version()
    numbers = f"JAX {jax.__version__}, Optax {optax.__version__}, Python {python}"
    return f"{count} x {kind}, {numbers}"


def processor() -> str:
    """Returns the model of the CPU, where the system tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def versions(*packages: str) -> dict[str, str]:
    """Returns the versions of those packages that are installed."""
    found = {}
    for name in packages:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
