"""From one value per example to the number that training minimizes."""

from typing import Any

import jax
import jax.numpy as jnp

from kjax.losses.arrays import class_labels, spread
from kjax.losses.targets import match_targets


def weighted_mean(values: Any, weight: Any = None, valid: Any = None) -> jax.Array:
    """Sum of weight times value over the real elements, divided by the number of real elements.

    The divisor is not the sum of the weights: doubling all weights doubles the loss, as in Keras
    (`sum_over_batch_size`). No real element at all gives 0.

    Args:
        values: losses, one per example, shape (batch,), or per time step, shape (batch, time, …).
        weight: None, or weights of shape (batch,), or (batch, time) … up to the whole shape of `values`.
            Where the weight is 0 a value of NaN or infinity counts for nothing.
        valid: None, or booleans of such a shape: False marks padding, which counts for nothing, whatever its
            value or weight is, and gets a gradient of 0.

    Returns:
        A scalar, in float32 if `values` have fewer bits.

    Raises:
        ValueError: `weight` or `valid` do not fit `values`, or `values` is one number already.

    >>> values, weight = jnp.array([1.0, 2.0, jnp.nan]), jnp.array([1.0, 3.0, 1.0])
    >>> weighted_mean(values, weight, valid=jnp.array([True, True, False]))
    Array(3.5, dtype=float32)
    """
    values = jnp.asarray(values)
    values = values if values.dtype == jnp.float64 else values.astype(jnp.float32)
    if values.ndim == 0:
        return _already_reduced(values, weight, valid)
    real = None if valid is None else spread(valid, values.shape, "valid").astype(bool)
    zeros = jnp.zeros_like(values)
    if real is not None:
        values = jnp.where(real, values, zeros)
    if weight is not None:
        weight = spread(weight, values.shape).astype(values.dtype)
        weight = weight if real is None else jnp.where(real, weight, zeros)
        # Not where(weight == 0, 0, …): the gradient with respect to a weight of 0 is the value.
        values = jnp.where((weight == 0) & ~jnp.isfinite(values), zeros, values) * weight
    count = values.size if real is None else jnp.sum(real).astype(values.dtype)
    return jnp.sum(values) / jnp.maximum(count, 1.0)


def _already_reduced(value: jax.Array, weight: Any, valid: Any) -> jax.Array:
    given = [name for name, array in (("weight", weight), ("valid", valid)) if array is not None]
    if given:
        raise ValueError(
            f"the loss gave one number for a whole batch, so {' and '.join(given)} cannot be applied: let it "
            "return one value per example, say with jnp.mean(…, axis=-1) on outputs of shape (batch, n)"
        )
    return value


def counted(loss: Any, y_true: Any, y_pred_shape: tuple[int, ...], valid: Any = None) -> Any:
    """`valid`, without the elements whose label is the loss's `ignore_class`; None if everything counts."""
    ignored = getattr(loss, "ignore_class", None)
    if ignored is None:
        return valid
    real = class_labels(y_true, y_pred_shape, "ignore_class", getattr(loss, "axis", -1)) != ignored
    return real if valid is None else real & spread(valid, real.shape, "valid").astype(bool)


def mean_loss(loss: Any, y_true: Any, y_pred: Any, weight: Any = None, valid: Any = None) -> jax.Array:
    """The scalar that training minimizes: `loss`, ignored labels left out, weighted, averaged.

    Args:
        loss: a loss as `get` returns it.
        y_true: targets, shape (batch, …).
        y_pred: the network's outputs.
        weight, valid: as in `weighted_mean`.

    >>> from kjax import losses
    >>> mean_loss(losses.mean_squared_error, jnp.array([1.0, 2.0]), jnp.array([[1.0], [4.0]]))
    Array(2., dtype=float32)
    """
    y_true = match_targets(loss, y_true, y_pred.shape)
    return weighted_mean(loss(y_true, y_pred), weight, counted(loss, y_true, y_pred.shape, valid))
