"""Masks travel with the array that they describe, as one pytree."""

import dataclasses
import functools
import operator
from collections.abc import Callable
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


def plain(x: Any) -> Any:
    """The arrays of a tree without their masks."""
    return on_values(lambda value: value, x, keep=False)


def on_values(function: Callable, x: Any, keep: bool = True) -> Any:
    """A tree with `function` of each of its arrays, under their masks as before or (`keep` false) without any."""

    def one(leaf: Any) -> Any:
        value, mask = unmask(leaf)
        return Masked(function(value), mask) if keep and mask is not None else function(value)

    return jax.tree.map(one, x, is_leaf=lambda leaf: isinstance(leaf, Masked))


def mask_of(x: Any) -> Any:
    """The mask of an array, or the one that several arrays share: what is real in any of them, as Keras merges.

    A time axis that only some of them have masked, or that has another length in each, counts as unmasked; None
    where one of them has no mask at all.
    """
    if not isinstance(x, tuple | list):
        return unmask(x)[1]
    masks = [mask_of(part) for part in x]
    if not masks or any(mask is None for mask in masks):
        return None
    ndim = min(mask.ndim for mask in masks)
    while len({mask.shape[:ndim] for mask in masks}) > 1:
        ndim -= 1
    rows = [mask.any(axis=tuple(range(ndim, mask.ndim))) for mask in masks]
    return functools.reduce(operator.or_, rows)


def remask(y: Any, mask: Any) -> Any:
    """`y` with as much of `mask` as still describes it: a time axis that is gone takes its mask along.

    A mask that `y` already has stands, except that rows which are not real stay so.
    """
    if mask is not None and isinstance(y, Masked):
        return Masked(y.value, y.mask & over(mask, y.mask)) if mask.ndim == 1 else y
    if mask is None or not hasattr(y, "shape"):
        return y
    while mask.shape != y.shape[: mask.ndim] and mask.ndim > 1:
        mask = mask.any(axis=-1)
    return Masked(y, mask) if mask.shape == y.shape[: mask.ndim] else y


def over(mask: jax.Array, x: jax.Array) -> jax.Array:
    """The mask with trailing axes of one, so that it broadcasts against `x`."""
    return jnp.expand_dims(mask, tuple(range(mask.ndim, x.ndim)))
