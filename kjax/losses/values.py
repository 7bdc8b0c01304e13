"""Losses on numbers, vectors and margins.

`y_true` and `y_pred` have one shape, (batch, …, n); the result has shape (batch, …).

All are pure functions, differentiable to any order away from their kinks, with finite gradients everywhere.
"""

from typing import Any

import jax
import jax.numpy as jnp

from kjax.losses.arrays import aligned, epsilon


def mean_squared_error(y_true: Any, y_pred: Any) -> jax.Array:
    """Mean of (y_true - y_pred)² over the last axis.

    >>> mean_squared_error(jnp.array([[0.0, 1.0]]), jnp.array([[0.5, 3.0]])).tolist()
    [2.125]
    """
    y_true, y_pred = aligned(y_true, y_pred, "mean_squared_error")
    return jnp.mean(jnp.square(y_true - y_pred), axis=-1)


def mean_absolute_error(y_true: Any, y_pred: Any) -> jax.Array:
    """Mean of |y_true - y_pred| over the last axis.

    >>> mean_absolute_error(jnp.array([[0.0, 1.0]]), jnp.array([[0.5, 3.0]])).tolist()
    [1.25]
    """
    y_true, y_pred = aligned(y_true, y_pred, "mean_absolute_error")
    return jnp.mean(jnp.abs(y_true - y_pred), axis=-1)


def mean_absolute_percentage_error(y_true: Any, y_pred: Any) -> jax.Array:
    """100 times the mean of |y_true - y_pred| / max(|y_true|, 1e-7) over the last axis; in percent.

    >>> mean_absolute_percentage_error(jnp.array([[2.0, 4.0]]), jnp.array([[1.0, 5.0]])).tolist()
    [37.5]
    """
    y_true, y_pred = aligned(y_true, y_pred, "mean_absolute_percentage_error")
    return 100.0 * jnp.mean(jnp.abs(y_true - y_pred) / jnp.maximum(jnp.abs(y_true), epsilon(y_pred.dtype)), axis=-1)


def mean_squared_logarithmic_error(y_true: Any, y_pred: Any) -> jax.Array:
    """Mean of (log(1 + y_true) - log(1 + y_pred))² over the last axis; negative numbers count as 1e-7.

    >>> mean_squared_logarithmic_error(jnp.array([[0.0, 1.0]]), jnp.array([[0.0, 3.0]])).round(4)
    Array([0.2402], dtype=float32)
    """
    y_true, y_pred = aligned(y_true, y_pred, "mean_squared_logarithmic_error")
    logs = (jnp.log1p(jnp.maximum(y, epsilon(y.dtype))) for y in (y_true, y_pred))
    return jnp.mean(jnp.square(next(logs) - next(logs)), axis=-1)


def log_cosh(y_true: Any, y_pred: Any) -> jax.Array:
    """Mean of log(cosh(y_pred - y_true)) over the last axis: nearly error²/2 near 0, |error| - log 2 far off.

    >>> log_cosh(jnp.array([[0.0]]), jnp.array([[1e4]])).tolist()
    [9999.306640625]
    """
    y_true, y_pred = aligned(y_true, y_pred, "log_cosh")
    error = y_pred - y_true
    # cosh itself overflows from 90 on.
    return jnp.mean(error + jax.nn.softplus(-2.0 * error) - jnp.log(2.0).astype(error.dtype), axis=-1)


def huber(y_true: Any, y_pred: Any, delta: float = 1.0) -> jax.Array:
    """Mean over the last axis of error²/2 where |error| <= delta, else delta |error| - delta²/2.

    Source: Huber, Robust estimation of a location parameter, 1964.

    >>> huber(jnp.array([[0.0, 0.0]]), jnp.array([[0.5, 3.0]])).tolist()
    [1.3125]
    """
    y_true, y_pred = aligned(y_true, y_pred, "huber")
    error = y_pred - y_true
    size = jnp.abs(error)
    limit = jnp.asarray(delta, error.dtype)
    near, far = 0.5 * jnp.square(error), limit * size - 0.5 * limit * limit
    return jnp.mean(jnp.where(size <= limit, near, far), axis=-1)


def signs(labels: jax.Array) -> jax.Array:
    """Labels -1 and 1 as they are, and 0 and 1 as -1 and 1."""
    return jnp.where(labels == 0, -jnp.ones_like(labels), labels)


def hinge(y_true: Any, y_pred: Any) -> jax.Array:
    """Mean of max(1 - y_true y_pred, 0) over the last axis, for labels -1 and 1, or 0 and 1.

    A label of 0 always counts as -1. (Keras does so where a whole batch has none but 0 and 1 in it.)

    >>> hinge(jnp.array([[0, 1]]), jnp.array([[0.5, 0.5]])).tolist()
    [1.0]
    """
    y_true, y_pred = aligned(y_true, y_pred, "hinge")
    return jnp.mean(jnp.maximum(1.0 - signs(y_true) * y_pred, 0.0), axis=-1)


def squared_hinge(y_true: Any, y_pred: Any) -> jax.Array:
    """Mean of max(1 - y_true y_pred, 0)² over the last axis; labels as in `hinge`.

    >>> squared_hinge(jnp.array([[0, 1]]), jnp.array([[0.5, 0.5]])).tolist()
    [1.25]
    """
    y_true, y_pred = aligned(y_true, y_pred, "squared_hinge")
    return jnp.mean(jnp.square(jnp.maximum(1.0 - signs(y_true) * y_pred, 0.0)), axis=-1)


def categorical_hinge(y_true: Any, y_pred: Any) -> jax.Array:
    """max(1 + the best score of a wrong class - the right one's, 0), for one-hot `y_true`.

    >>> categorical_hinge(jnp.array([[0, 1, 0]]), jnp.array([[0.5, 1.0, 0.75]])).tolist()
    [0.75]
    """
    y_true, y_pred = aligned(y_true, y_pred, "categorical_hinge")
    right = jnp.sum(y_true * y_pred, axis=-1)
    wrong = jnp.max((1.0 - y_true) * y_pred, axis=-1)
    return jnp.maximum(wrong - right + 1.0, 0.0)


def poisson(y_true: Any, y_pred: Any) -> jax.Array:
    """Mean of y_pred - y_true log(y_pred + 1e-7) over the last axis: counts `y_true`, rates `y_pred` >= 0.

    >>> poisson(jnp.array([[0.0, 2.0]]), jnp.array([[1.0, 1.0]])).round(4)
    Array([1.], dtype=float32)
    """
    y_true, y_pred = aligned(y_true, y_pred, "poisson")
    return jnp.mean(y_pred - y_true * jnp.log(y_pred + epsilon(y_pred.dtype)), axis=-1)


def kl_divergence(y_true: Any, y_pred: Any) -> jax.Array:
    """Sum of y_true log(y_true / y_pred) over the last axis, for probabilities, clipped to [1e-7, 1].

    >>> kl_divergence(jnp.array([[0.0, 1.0]]), jnp.array([[0.5, 0.5]])).round(4)
    Array([0.6931], dtype=float32)
    """
    y_true, y_pred = (jnp.clip(y, epsilon(y.dtype), 1.0) for y in aligned(y_true, y_pred, "kl_divergence"))
    return jnp.sum(y_true * (jnp.log(y_true) - jnp.log(y_pred)), axis=-1)


def unit(x: jax.Array, axis: int) -> jax.Array:
    """`x` divided by its length; a vector of zeros stays one, with a finite gradient."""
    least = epsilon(x.dtype, 1e-12, half=2e-3)
    return x * jax.lax.rsqrt(jnp.maximum(jnp.sum(jnp.square(x), axis=axis, keepdims=True), least))


def cosine_similarity(y_true: Any, y_pred: Any, axis: int = -1) -> jax.Array:
    """Minus the cosine of the angle between `y_true` and `y_pred`: -1 in one direction, 0 if one is zero.

    >>> cosine_similarity(jnp.array([[3.0, 4.0]]), jnp.array([[4.0, 3.0]])).round(4)
    Array([-0.96], dtype=float32)
    """
    y_true, y_pred = aligned(y_true, y_pred, "cosine_similarity")
    return -jnp.sum(unit(y_true, axis) * unit(y_pred, axis), axis=axis)


def cosine_proximity(y_true: Any, y_pred: Any) -> jax.Array:
    """Minus the cosine along the last axis: Keras 2's name of `cosine_similarity`."""
    return cosine_similarity(y_true, y_pred)


def tversky(y_true: Any, y_pred: Any, alpha: float = 0.5, beta: float = 0.5, axis: Any = None) -> jax.Array:
    """1 - the Tversky index, hits / (hits + alpha misses + beta false alarms), for masks in [0, 1].

    Args:
        y_true: masks, shape (batch, …).
        y_pred: predicted masks, of that shape.
        alpha: what a miss costs (a pixel of `y_true` that is not in `y_pred`).
        beta: what a false alarm costs.
        axis: the axes to sum over; None is all but the first, so that every example has a value of its own.
            (Keras's None also sums over the batch, which leaves nothing to weight.)

    Source: Salehi et al., Tversky loss function for image segmentation, 2017.

    >>> tversky(jnp.array([[1.0, 0.0]]), jnp.array([[0.5, 0.5]])).round(4)
    Array([0.5], dtype=float32)
    """
    y_true, y_pred = aligned(y_true, y_pred, "tversky")
    axis = tuple(range(1, y_pred.ndim)) if axis is None else axis
    hits = jnp.sum(y_true * y_pred, axis=axis)
    misses = jnp.sum(y_true * (1.0 - y_pred), axis=axis)
    alarms = jnp.sum((1.0 - y_true) * y_pred, axis=axis)
    return 1.0 - hits / (hits + alpha * misses + beta * alarms + epsilon(y_pred.dtype))


def dice(y_true: Any, y_pred: Any, axis: Any = None) -> jax.Array:
    """1 - 2 overlap / (sum of y_true + sum of y_pred), for masks in [0, 1]; axes as in `tversky`.

    Source: Milletari et al., V-Net, 2016.

    >>> dice(jnp.array([[1.0, 0.0]]), jnp.array([[0.5, 0.5]])).round(4)
    Array([0.5], dtype=float32)
    """
    y_true, y_pred = aligned(y_true, y_pred, "dice")
    axis = tuple(range(1, y_pred.ndim)) if axis is None else axis
    overlap = jnp.sum(y_true * y_pred, axis=axis)
    return 1.0 - 2.0 * overlap / (jnp.sum(y_true, axis=axis) + jnp.sum(y_pred, axis=axis) + epsilon(y_pred.dtype))
