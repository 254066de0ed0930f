"""AdaBelief, Aida, LAdam and LAdaBelief as Optax gradient transformations."""

from adabelief_optax._optimizers import adabelief, aida, ladabelief, ladam
from adabelief_optax._parameter_rounding import (
    StochasticRoundingState,
    stochastic_rounding,
)
from adabelief_optax._recommended import RECOMMENDED
from adabelief_optax._states import ScaleByBeliefAmsgradState
from adabelief_optax._stepsizes import stepsize_statistics, stepsizes
from adabelief_optax._transforms import (
    ignore_prediction,
    layerwise_projection,
    scale_by_belief,
    scale_by_layerwise_belief,
    weigh_prediction,
)
from adabelief_optax._version import __version__ as __version__

__all__ = [
    "RECOMMENDED",
    "ScaleByBeliefAmsgradState",
    "StochasticRoundingState",
    "adabelief",
    "aida",
    "ignore_prediction",
    "ladabelief",
    "ladam",
    "layerwise_projection",
    "scale_by_belief",
    "scale_by_layerwise_belief",
    "stepsize_statistics",
    "stepsizes",
    "stochastic_rounding",
    "weigh_prediction",
]
