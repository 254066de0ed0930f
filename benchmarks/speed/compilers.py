"""How does one compile for a TPU or a GPU on a machine that has neither?"""

import os
import sys
from contextlib import suppress
from importlib import import_module
from typing import Any

from jax.experimental import topologies

PACKAGES = {"tpu": ["libtpu"], "cuda": ["jax-cuda13-pjrt", "jax-cuda12-pjrt"]}
H200 = """
gpu_device_info {
  threads_per_block_limit: 1024 threads_per_warp: 32 shared_memory_per_block: 49152
  shared_memory_per_core: 233472 threads_per_core_limit: 2048 core_count: 132
  fpus_per_core: 128 block_dim_limit_x: 2147483647 block_dim_limit_y: 65535
  block_dim_limit_z: 65535 memory_bandwidth: 4800000000000 l2_cache_size: 52428800
  clock_rate_ghz: 1.98 device_memory_size: 150000000000
  shared_memory_per_block_optin: 232448 cuda_compute_capability { major: 9 }
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
}
platform_name: "CUDA" dnn_version_info { major: 9 minor: 10 }
device_description_str: "NVIDIA H200"
"""
MISSING = (
    "no {0} compiler here: pip install 'jax[{1}]' "
    "(make traffic-{2} does it in an environment of its own)"
)


def topology(platform: str, eight: bool = False) -> Any:
    """Returns the devices to compile for, or exits and says what to install.

    Args:
        platform: "tpu" or "cuda".
        eight: eight devices, and not four TPU chips or one GPU.
    """
    try:
        if platform == "tpu":
            # Else it asks the network where it is, and warns that it does not know.
            os.environ["TPU_ACCELERATOR_TYPE"] = f"v5litepod-{8 if eight else 4}"
            os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
            # It locks a TPU that several processes would use, and there is none.
            os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
            return topologies.get_topology_desc(
                "v5e:2x4" if eight else "v5e:2x2", platform="tpu"
            )
        for plugin in ("xla_cuda13", "xla_cuda12"):
            with suppress(ImportError):
                import_module(f"jax_plugins.{plugin}")
        return topologies.get_topology_desc(
            "h200", "cuda", target_config=H200, topology=f"1x1x{8 if eight else 1}"
        )
    except (RuntimeError, OSError):  # what JAX raises where the plugin is missing
        names = ("TPU", "tpu", "tpu") if platform == "tpu" else ("GPU", "cuda13", "gpu")
        sys.exit(MISSING.format(*names))
