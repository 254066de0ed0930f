"""What a belief transformation is told, checked."""

from typing import Any, NamedTuple

from adabelief_optax._checks import (
    AxisName,
    check_axis_name,
    check_dtype,
    check_rates,
    check_stacked_axes,
    check_switch,
)
from adabelief_optax._reduction import Reduction


class Settings(NamedTuple):
    """The arguments of `scale_by_layerwise_belief`, with the reduction they choose."""

    b1: Any
    b2: Any
    eps: Any
    eps_root: Any
    reduction: Reduction
    stacked_axes: Any
    axis_name: AxisName
    momentum: bool
    nesterov: bool
    amsgrad: bool
    rectify: bool
    degenerate_to_sgd: bool
    mu_dtype: Any
    nu_dtype: Any

    def checked(self) -> "Settings":
        """Returns itself.

        Raises:
            ValueError: for an argument out of range, naming it.
        """
        check_rates(self.b1, self.b2, self.eps, self.eps_root)
        check_stacked_axes(self.stacked_axes)
        check_axis_name(self.axis_name)
        for name in ("momentum", "nesterov", "amsgrad", "rectify", "degenerate_to_sgd"):
            check_switch(name, getattr(self, name))
        if self.nesterov and not self.momentum:
            raise ValueError(
                "nesterov=True must have momentum=True, got momentum=False"
            )
        check_dtype("mu_dtype", self.mu_dtype)
        check_dtype("nu_dtype", self.nu_dtype, squares=True)
        return self
