"""Ranger-AdaBelief as a chain of Optax's own pieces around ours.

`ranger-adabelief` 0.1.0 is gradient centralization, rectified AdaBelief and
Lookahead in one class. Two of its habits need a word:

- It takes the first axis for the output, as PyTorch and `optax.centralize` do.
  Flax kernels have the output last: there, subtract the mean over all other axes
  with `optax.stateless_with_tree_map` instead.
- It adds eps to s only in the rectified steps, from the sixth on at b2 = 0.999.

Its weight decay is not reproduced: in the first five steps the source adds it to
the momentum in place, where it stays.
"""

import jax.numpy as jnp
import optax

from adabelief_optax import scale_by_belief

UNRECTIFIED = 5  # steps, at b2 = 0.999


def ranger_adabelief(learning_rate, b1=0.95, b2=0.999, eps=1e-5, alpha=0.5, k=6):
    belief = optax.inject_hyperparams(scale_by_belief)(
        b1=b1,
        b2=b2,
        eps=eps,
        eps_root=lambda count: jnp.where(count < UNRECTIFIED, 0.0, eps),
        rectify=True,
    )
    return optax.lookahead(
        optax.chain(
            optax.centralize(), belief, optax.scale_by_learning_rate(learning_rate)
        ),
        sync_period=k,
        slow_step_size=alpha,
    )
