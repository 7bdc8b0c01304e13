"""Mean 0 and variance 1: what the normalisation layers share."""

import math

import jax
import jax.numpy as jnp
from jax import Array

Split = tuple[int, int] | None


def standardise(
    x: Array, axes: tuple[int, ...], epsilon: float, split: Split = None, real: Array | None = None
) -> tuple[Array, Array, Array]:
    """`(x - mean) / sqrt(variance + epsilon)`, the mean and the biased variance; these two have axes of one.

    Args:
        x: floats; in float32 or wider, or rounding shows.
        axes: what the mean goes over, none of them negative.
        epsilon: added to the variance.
        split: `(axis, groups)`: the mean goes over each of so many equal runs along `axis` too. `axes` are then all
            but 0 and that one.
        real: bool, of the rank of `x`: which cells count for mean and variance.

    >>> standardise(jnp.array([[1.0, 3.0, 10.0, 30.0]]), (), 0.0, (1, 2))[0].tolist()
    [[-1.0, 1.0, -1.0, 1.0]]
    """
    # Away from a cell of its own first: sums of numbers near 10,000 would round off most of a variance of 1. No result
    # depends on where that is, so neither does a gradient.
    near = average(first(x, axes), (), split, None if real is None else first(real, axes))
    near = jax.lax.stop_gradient(near)
    away = x - near
    mean = average(away, axes, split, real)
    away = away - mean
    variance = average(away * away, axes, split, real)
    return away * jax.lax.rsqrt(variance + epsilon), near + mean, variance


def average(x: Array, axes: tuple[int, ...], split: Split, real: Array | None) -> Array:
    """The mean over `axes`, which stay as axes of one, and over each of the groups, which all get their own."""
    mean = x.mean(axes, keepdims=True) if real is None else mean_of_real(x, axes, real)
    if split is None or split[1] == mean.shape[split[0]]:
        return mean
    # Channel by channel first: XLA's CPU backend is slow at sums over an axis cut in two.
    axis, groups = split
    rows, channels = mean.shape[0], mean.shape[axis]
    each = mean.reshape(rows, groups, channels // groups).mean(2, keepdims=True)
    return jnp.broadcast_to(each, (rows, groups, channels // groups)).reshape(mean.shape)


def mean_of_real(x: Array, axes: tuple[int, ...], real: Array) -> Array:
    """The mean over `axes` of the real cells; 0 where there are none."""
    alike = math.prod(x.shape[axis] for axis in axes if real.shape[axis] == 1)
    count = jnp.maximum(real.sum(axes, keepdims=True) * alike, 1).astype(x.dtype)
    return jnp.where(real, x, jnp.zeros((), x.dtype)).sum(axes, keepdims=True) / count


def first(x: Array, axes: tuple[int, ...]) -> Array:
    """The first cell along `axes`."""
    return jax.lax.slice(x, [0] * x.ndim, [min(1, size) if i in axes else size for i, size in enumerate(x.shape)])
