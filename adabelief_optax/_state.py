"""The states of `scale_by_belief` and `scale_by_layerwise_belief`.

Two classes, because a field of None is still one to a checkpoint: without AMSGrad
the fields are those of `optax.adabelief`, whose checkpoints restore into ours.
"""

from typing import NamedTuple

import chex
import optax


class ScaleByBeliefState(NamedTuple):
    """State without AMSGrad; `nu_max` is None.

    Attributes:
        count: t, the number of updates so far, an int32 scalar.
        mu: m, a tree like the parameters.
        nu: s, a tree like the parameters; with `processing="pre"` each leaf
            has one number a layer: the leading `stacked_axes` axes alone.
    """

    count: chex.Array
    mu: optax.Updates
    nu: optax.Updates

    @property
    def nu_max(self) -> None:
        """There is none without AMSGrad."""
        return None


class ScaleByBeliefAmsgradState(NamedTuple):
    """State with AMSGrad.

    Attributes:
        count: as in `ScaleByBeliefState`.
        mu: as in `ScaleByBeliefState`.
        nu: as in `ScaleByBeliefState`.
        nu_max: d, a tree like `nu`.
    """

    count: chex.Array
    mu: optax.Updates
    nu: optax.Updates
    nu_max: optax.Updates


BeliefState = ScaleByBeliefState | ScaleByBeliefAmsgradState
