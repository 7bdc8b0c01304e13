"""Pooling, channels last, over any number of spatial axes: one axis after the other."""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax


def max_pool(x: Array, window: Sequence[int], strides: Sequence[int], padding="valid") -> Array:
    """The largest cell of each window."""
    for axis, k, s, pad in reversed(_axes(x, window, strides, padding)):
        x = _max_axis(x, axis, k, s, pad)[0]
    return x


def avg_pool(x: Array, window: Sequence[int], strides: Sequence[int], padding="valid") -> Array:
    """The mean over the real cells of each window."""
    for axis, k, s, pad in reversed(_axes(x, window, strides, padding)):
        x = _mean_axis(x, axis, k, s, pad)
    return x


def _axes(x, window, strides, padding):
    if isinstance(padding, str):
        padding = lax.padtype_to_pads(x.shape[1:-1], window, strides, padding.upper())
    return list(zip(range(1, x.ndim - 1), window, strides, padding))


def _taps(x, axis, k, s, pad, fill):
    """The k strided slices."""
    config = [(0, 0, 0)] * x.ndim
    config[axis] = (*pad, 0)
    x = lax.pad(x, jnp.asarray(fill, x.dtype), config)
    out = (x.shape[axis] - k) // s + 1
    return [lax.slice_in_dim(x, t, t + (out - 1) * s + 1, s, axis) for t in range(k)]


@partial(jax.custom_jvp, nondiff_argnums=(1, 2, 3, 4))
def _max_axis(x, axis, k, s, pad):
    best, *others = _taps(x, axis, k, s, pad, -np.inf)
    winner = jnp.zeros(best.shape, jnp.int32)
    for t, tap in enumerate(others, 1):
        winner = jnp.where(tap > best, t, winner)
        best = jnp.maximum(best, tap)
    return best, winner


@_max_axis.defjvp
def _max_axis_jvp(axis, k, s, pad, primals, tangents):
    best, winner = _max_axis(*primals, axis, k, s, pad)
    taps = _taps(tangents[0], axis, k, s, pad, 0)
    zero = jnp.zeros_like(taps[0])
    dot = sum((jnp.where(winner == t, tap, zero) for t, tap in enumerate(taps)), zero)
    return (best, winner), (dot, np.zeros(winner.shape, jax.dtypes.float0))


def _mean_axis(x, axis, k, s, pad):
    total = sum(_taps(x, axis, k, s, pad, 0))
    real = sum(_taps(np.ones(x.shape[axis]), 0, k, s, pad, 0))
    shape = [1] * x.ndim
    shape[axis] = -1
    return total / real.astype(x.dtype).reshape(shape)
