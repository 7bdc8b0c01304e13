"""Several categories as one."""

from typing import Any

import jax.numpy as jnp

from kjax.frozen import require_int
from kjax.nn.categories import Categorical, as_integers, mixed
from kjax.nn.layer import Params, State


class HashedCrossing(Categorical):
    """A bin for each combination of several categories: `(a, b, …)` of integers, always spread in the same way.

    Args:
        num_bins: how many bins there are.
        output_mode: "int" or "one_hot".
        sparse: only False.

    The hash is that of `Hashing`, of each integer after what came before, in the order of the inputs: the same in every
    run and on every device, but not Keras's. Strings: `kjax.text.StringHashing` makes integers of them.

    Shapes: tuple of (batch,) or (batch, 1) -> the same shape, or (batch, num_bins) for "one_hot".

    Raises:
        LayerError: one input alone, or inputs of different shapes.

    >>> layer = HashedCrossing(5)
    >>> layer.apply({}, {}, (jnp.array([1, 1, 2]), jnp.array([7, 8, 7])))[0].tolist()
    [1, 3, 3]
    """

    num_bins: int
    output_mode: str = "int"
    sparse: bool = False

    modes = ("int", "one_hot")

    def validate(self) -> None:
        super().validate()
        require_int(self.num_bins, "num_bins", "HashedCrossing")

    def check_input(self, x: Any) -> None:
        if not isinstance(x, tuple | list) or len(x) < 2:
            self.refuse("takes a tuple of two or more inputs", x)
        if len({tuple(part.shape) for part in x}) > 1:
            self.refuse("takes inputs of one shape", x)

    def call(self, params: Params, state: State, x: Any, training: bool, key: Any) -> tuple[Any, State]:
        seen = jnp.zeros(x[0].shape, jnp.uint32)
        for part in x:
            values = as_integers(part)
            upper = (values >> min(8 * values.dtype.itemsize - 1, 32)).astype(jnp.uint32)
            seen = mixed(mixed(seen ^ values.astype(jnp.uint32)) ^ upper)
        index = (seen % jnp.uint32(self.num_bins)).astype(jnp.int32)
        return self.encode(index, self.num_bins, x[0]), state
