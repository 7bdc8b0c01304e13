"""Where training stands."""

import dataclasses
from typing import Any

import jax


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """All that training changes; a pytree.

    `params` and `state` are the network's, `opt_state` the optimizer's. `step` counts the batches seen, and `key`,
    which never changes, decides together with it all that is random in a step. `loss_scale` is None but in
    mixed_float16, see `kjax.precision.LossScale`: a batch whose gradient overflows moves it and `step` alone.
    """

    params: Any
    state: Any
    opt_state: Any
    step: jax.Array
    key: jax.Array
    loss_scale: Any = None

    def replace(self, **changes: Any) -> "TrainState":
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)
