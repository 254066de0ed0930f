"""The hyperparameters of the papers' authors by task."""

from typing import Any, NoReturn


class _Frozen(dict[str, Any]):
    """A dict that cannot be changed; its copies can."""

    def _refuse(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError(
            "RECOMMENDED cannot be changed: make a new dict, such as "
            "RECOMMENDED['transformer'] | {'learning_rate': 3e-4}"
        )

    __setitem__ = __delitem__ = __ior__ = clear = pop = popitem = _refuse
    setdefault: Any = _refuse
    update: Any = _refuse

    def __reduce__(self) -> Any:
        """Copies and pickles as a plain dict."""
        return dict, (dict(self),)


def _row(
    learning_rate: float, b1: float, eps: float, weight_decay: float = 0.0, **rest: Any
) -> dict[str, Any]:
    row = {"learning_rate": learning_rate, "b1": b1, "b2": 0.999, "eps": eps}
    return _Frozen(row | {"eps_root": eps, "weight_decay": weight_decay} | rest)


# `RECOMMENDED[task] | {"learning_rate": 3e-4}` overrides a value.
RECOMMENDED: dict[str, dict[str, Any]] = _Frozen(
    {
        "cifar": _row(1e-3, 0.9, 1e-8, 5e-4, decay="coupled"),
        "imagenet": _row(1e-3, 0.9, 1e-8, 1e-2, decay="decoupled"),
        "object_detection": _row(1e-4, 0.9, 1e-8, 1e-4, decay="coupled"),
        "lstm_1_layer": _row(1e-3, 0.9, 1e-16, 1.2e-6, decay="coupled"),
        "lstm_2_or_3_layers": _row(1e-2, 0.9, 1e-12, 1.2e-6, decay="coupled"),
        "small_gan": _row(2e-4, 0.5, 1e-12),
        "sn_gan": _row(2e-4, 0.5, 1e-16, rectify=True),
        "transformer": _row(5e-4, 0.9, 1e-16, 1e-4, decay="decoupled", rectify=True),
        "rl_rainbow": _row(1e-4, 0.9, 1e-10, rectify=True),
        "rl_halfcheetah": _row(1e-3, 0.9, 1e-12, rectify=True),
        # For `aida`, from its authors' scripts for CIFAR-10 and -100 and for Multi30k.
        # The rate of the latter rises linearly over 58,000 steps to the value here.
        "aida_cifar": _row(1e-3, 0.9, 0.0, 5e-4, eps_root=1e-9, decay="coupled"),
        "aida_transformer": _row(1.1e-4, 0.9, 0.0, b2=0.98, eps_root=1e-16),
    }
)
