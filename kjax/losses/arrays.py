"""What losses and metrics share: float predictions, targets that fit them, weights spread over them."""

from typing import Any

import jax
import jax.numpy as jnp


def epsilon(dtype: Any, least: float = 1e-7, half: float = 1e-4) -> float:
    """Keras's `epsilon()`, the least probability with a logarithm; in float16 1 / 1e-7 would overflow."""
    return half if dtype == jnp.float16 else least


def floats(x: Any) -> jax.Array:
    """`x` as an array of floats: floats keep their dtype, integers and booleans become the default one."""
    x = jnp.asarray(x)
    return x if jnp.issubdtype(x.dtype, jnp.floating) else x.astype(jnp.result_type(float))


def aligned(y_true: Any, y_pred: Any, name: str) -> tuple[jax.Array, jax.Array]:
    """Targets and predictions in one shape and one float dtype; either may lack a last axis of 1.

    Nothing is broadcast: (n,) against (n, 1) would silently give (n, n) differences.
    """
    y_pred = floats(y_pred)
    y_true = jnp.asarray(y_true).astype(y_pred.dtype)
    if y_true.shape != y_pred.shape:
        if (*y_true.shape, 1) != y_pred.shape and y_true.shape != (*y_pred.shape, 1):
            raise ValueError(f"{name}: y_true has shape {y_true.shape}, but y_pred has {y_pred.shape}")
        y_true = y_true.reshape(y_pred.shape)
    return y_true, y_pred


def class_labels(y_true: Any, y_pred_shape: tuple[int, ...], name: str, axis: int = -1) -> jax.Array:
    """Class numbers as int32, without the axis of 1 that they may have in place of the axis of classes."""
    labels = jnp.asarray(y_true).astype(jnp.int32)
    axis = axis % len(y_pred_shape)
    before, after = tuple(y_pred_shape[:axis]), tuple(y_pred_shape[axis + 1 :])
    if labels.shape not in ((*before, *after), (*before, 1, *after)):
        raise ValueError(
            f"{name}: y_true has shape {labels.shape}; class numbers for y_pred of shape "
            f"{tuple(y_pred_shape)} have shape {(*before, *after)}"
        )
    return labels.reshape(*before, *after)


def spread(weight: Any, shape: tuple[int, ...], what: str = "weight") -> jax.Array:
    """A weight for every element of `shape`, from one for each leading index: (batch,), (batch, time) …

    >>> spread(jnp.array([1.0, 2.0]), (2, 3)).tolist()
    [[1.0, 1.0, 1.0], [2.0, 2.0, 2.0]]
    """
    weight = jnp.asarray(weight)
    if weight.shape == (*shape, 1):
        weight = weight.reshape(shape)
    if weight.shape != shape[: weight.ndim] or not weight.ndim:
        fits = " or ".join(str(shape[: i + 1]) for i in range(len(shape)))
        raise ValueError(f"{what} has shape {weight.shape}, but the values {shape}: give it shape {fits}")
    return jnp.broadcast_to(jnp.expand_dims(weight, tuple(range(weight.ndim, len(shape)))), shape)
