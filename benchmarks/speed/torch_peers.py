"""Which PyTorch optimizers are timed beside ours, when they are installed?"""

import contextlib
import io
import pkgutil
from typing import Any

import jax

from benchmarks.speed.cases import RATE
from benchmarks.timing import Runner

# By import path: arguments, and the bytes per parameter that a step must move. The
# arguments make each compute what our defaults do.
PEERS: dict[str, tuple[dict[str, Any], int]] = {
    "torch.optim.AdamW": ({"fused": True, "weight_decay": 0.0}, 28),
    "adabelief_pytorch.AdaBelief": ({"rectify": False}, 28),
    "pytorch_optimizer.AdaBelief": ({}, 28),
    "pytorch_optimizer.Aida": ({"k": 2}, 36),
}


def device() -> str:
    """Returns PyTorch's name for the kind of device that JAX runs on."""
    return "cpu" if jax.default_backend() == "cpu" else "cuda"


def state_bytes(optimizer: Any) -> int:
    """Returns the bytes of an optimizer's tensors, without the step count."""
    states = optimizer.state_dict()["state"].values()
    entries = [item for state in states for item in state.items()]
    return sum(
        x.nbytes for name, x in entries if name != "step" and hasattr(x, "nbytes")
    )


def start(name: str, shapes: list[Any]) -> Runner | None:
    """Returns an optimizer that has made one step, or None if it cannot run."""
    try:
        import torch

        make = pkgutil.resolve_name(":".join(name.rsplit(".", 1)))
    except (ImportError, AttributeError):
        return None
    if device() == "cuda" and not torch.cuda.is_available():
        return None
    torch.manual_seed(0)
    params = []
    for shape in shapes:
        draw = [torch.randn(shape.shape, device=device()) for _ in range(2)]
        params.append(torch.nn.Parameter(draw[0]))
        params[-1].grad = draw[1]
    # adabelief_pytorch prints pages of advice.
    with contextlib.redirect_stdout(io.StringIO()):
        optimizer = make(params, lr=RATE, **PEERS[name][0])
    optimizer.step()  # makes the state
    wait = torch.cuda.synchronize if device() == "cuda" else lambda: None
    return Runner(optimizer.step, wait, state_bytes(optimizer))
