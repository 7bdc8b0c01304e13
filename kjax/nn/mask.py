"""Masks travel with the array that they describe, as one pytree."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Masked:
    """An array and what of it is real.

    `mask` is boolean and covers the leading axes of `value`: shape (batch,) tells real rows from the padding of a
    short batch, (batch, time) tells real time steps from the padding of short sequences.
    """

    value: Any
    mask: Any


def unmask(x: Any) -> tuple[Any, Any]:
    """`(value, mask)`; the mask of a plain array is None."""
    return (x.value, x.mask) if isinstance(x, Masked) else (x, None)


def remask(y: Any, mask: Any) -> Any:
    """`y` with as much of `mask` as still describes it: a time axis that is gone takes its mask along."""
    if mask is None or isinstance(y, Masked) or not hasattr(y, "shape"):
        return y
    while mask.shape != y.shape[: mask.ndim] and mask.ndim > 1:
        mask = mask.any(axis=-1)
    return Masked(y, mask) if mask.shape == y.shape[: mask.ndim] else y


def over(mask: jax.Array, x: jax.Array) -> jax.Array:
    """The mask with trailing axes of one, so that it broadcasts against `x`."""
    return jnp.expand_dims(mask, tuple(range(mask.ndim, x.ndim)))
