"""Which PyTorch optimizers are timed beside ours, when they are installed?"""

import contextlib
import io
import pkgutil
from typing import Any

from benchmarks.speed.cases import RATE
from benchmarks.timing import Runner, on_cpu

# By import path: arguments, and the bytes per parameter that a step must move. The
# arguments make each compute what our defaults do.
PEERS: dict[str, tuple[dict[str, Any], int]] = {
    "torch.optim.AdamW": ({"fused": True, "weight_decay": 0.0}, 28),
    "adabelief_pytorch.AdaBelief": ({"rectify": False}, 28),
    "pytorch_optimizer.AdaBelief": ({}, 28),
    "pytorch_optimizer.Aida": ({"k": 2}, 36),
}


def start(name: str, shapes: list[Any]) -> Runner | None:
    """Returns an optimizer that has made one step, or None if it cannot run."""
    try:
        import torch

        make = pkgutil.resolve_name(":".join(name.rsplit(".", 1)))
    except (ImportError, AttributeError):
        return None
    device = "cpu" if on_cpu() else "cuda"
    if device == "cuda" and not torch.cuda.is_available():
        return None
    torch.manual_seed(0)
    params = []
    for shape in shapes:
        draw = [torch.randn(shape.shape, device=device) for _ in range(2)]
        params.append(torch.nn.Parameter(draw[0]))
        params[-1].grad = draw[1]
    # adabelief_pytorch prints pages of advice.
    with contextlib.redirect_stdout(io.StringIO()):
        optimizer = make(params, lr=RATE, **PEERS[name][0])
    optimizer.step()  # makes the state
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    states = optimizer.state_dict()["state"].values()
    state_bytes = sum(
        x.nbytes
        for state in states
        for key, x in state.items()
        if key != "step" and hasattr(x, "nbytes")
    )
    return Runner(optimizer.step, wait, state_bytes)
