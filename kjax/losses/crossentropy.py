"""Crossentropies: of classes (one-hot or numbered) and of yes/no answers, on probabilities or on logits.

Logits are the numbers before the softmax or sigmoid. On them the loss is exact; a probability is clipped to
[1e-7, 1 - 1e-7] before its logarithm is taken, as Keras does, so that 0 and 1 give finite losses.
"""

from typing import Any

import jax
import jax.numpy as jnp

from kjax.losses.arrays import aligned, class_labels, epsilon, floats


def log_probability(p: jax.Array) -> jax.Array:
    """log p, finite from 0 to 1."""
    least = epsilon(p.dtype)
    return jnp.log(jnp.clip(p, least, 1.0 - least))


def log_classes(y_pred: jax.Array, from_logits: bool, axis: int) -> jax.Array:
    """The logarithms of class probabilities, which are made to sum to 1."""
    if from_logits:
        return jax.nn.log_softmax(y_pred, axis=axis)
    total = jnp.sum(y_pred, axis=axis, keepdims=True)
    return log_probability(y_pred / jnp.where(total == 0, jnp.ones_like(total), total))


def log_answers(y_pred: jax.Array, from_logits: bool) -> tuple[jax.Array, jax.Array]:
    """The logarithms of the probabilities of yes and of no."""
    if from_logits:
        return jax.nn.log_sigmoid(y_pred), jax.nn.log_sigmoid(-y_pred)
    return log_probability(y_pred), log_probability(1.0 - y_pred)


def smooth(y_true: jax.Array, amount: float, classes: int) -> jax.Array:
    """Labels moved towards 1 / classes; from Szegedy et al., Rethinking the Inception architecture, 2016."""
    return y_true * (1.0 - amount) + amount / classes


def categorical_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, label_smoothing: float = 0.0, axis: int = -1
) -> jax.Array:
    """-Sum of y_true log(y_pred) over the classes.

    Args:
        y_true: one-hot labels, or probabilities, shape (batch, …, classes).
        y_pred: probabilities, of that shape; they are divided by their sum.
        from_logits: `y_pred` are the numbers before the softmax.
        label_smoothing: share of every label that is spread over all classes, in [0, 1).
        axis: the axis of the classes.

    >>> categorical_crossentropy(jnp.array([[0, 1]]), jnp.array([[0.5, 0.5]])).round(4)
    Array([0.6931], dtype=float32)
    """
    y_true, y_pred = aligned(y_true, y_pred, "categorical_crossentropy")
    y_true = smooth(y_true, label_smoothing, y_pred.shape[axis])
    return -jnp.sum(y_true * log_classes(y_pred, from_logits, axis), axis=axis)


def sparse_categorical_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, ignore_class: int | None = None, axis: int = -1
) -> jax.Array:
    """-log(y_pred[y_true]): `categorical_crossentropy` for class numbers.

    Args:
        y_true: the number of the right class, from 0 on, shape (batch, …) or (batch, …, 1).
        y_pred: probabilities, shape (batch, …, classes); they are divided by their sum.
        from_logits: `y_pred` are the numbers before the softmax.
        ignore_class: a label that says "none of them": its loss is 0, and `mean_loss` leaves it out.
        axis: the axis of the classes.

    A label that is no class gives NaN: nothing can be raised once the function is compiled, and 0 (Keras's)
    or the last class (-1, as an index) would hide the mistake.

    >>> sparse_categorical_crossentropy(jnp.array([1]), jnp.array([[0.5, 0.5]])).round(4)
    Array([0.6931], dtype=float32)
    """
    y_pred = floats(y_pred)
    labels = class_labels(y_true, y_pred.shape, "sparse_categorical_crossentropy", axis)
    classes = y_pred.shape[axis]
    # A selection and a sum: they fuse with the softmax, where a gather's gradient is a slow scatter.
    numbers = jax.lax.broadcasted_iota(jnp.int32, y_pred.shape, axis % y_pred.ndim)
    right = numbers == jnp.expand_dims(labels, axis)
    logs = log_classes(y_pred, from_logits, axis)
    loss = -jnp.sum(jnp.where(right, logs, jnp.zeros_like(logs)), axis=axis)
    loss = jnp.where((labels >= 0) & (labels < classes), loss, jnp.full_like(loss, jnp.nan))
    return loss if ignore_class is None else jnp.where(labels == ignore_class, jnp.zeros_like(loss), loss)


def binary_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, label_smoothing: float = 0.0, axis: int = -1
) -> jax.Array:
    """Mean of -y_true log(y_pred) - (1 - y_true) log(1 - y_pred) over the last axis: a yes or no per unit.

    Args:
        y_true: answers, 0 or 1, or probabilities, shape (batch, …, n); (batch, …) if n is 1.
        y_pred: probabilities of yes, shape (batch, …, n).
        from_logits: `y_pred` are the numbers before the sigmoid.
        label_smoothing: moves answers towards 0.5, in [0, 1).
        axis: the axis of the mean.

    >>> binary_crossentropy(jnp.array([[0, 1]]), jnp.array([[0.5, 0.5]])).round(4)
    Array([0.6931], dtype=float32)
    """
    y_true, y_pred = aligned(y_true, y_pred, "binary_crossentropy")
    y_true = smooth(y_true, label_smoothing, 2)
    yes, no = log_answers(y_pred, from_logits)
    return -jnp.mean(y_true * yes + (1.0 - y_true) * no, axis=axis)


def focus(p: jax.Array, gamma: float) -> jax.Array:
    """(1 - p)^gamma, with a finite gradient at p = 1 for every gamma."""
    return jnp.power(jnp.clip(1.0 - p, epsilon(p.dtype), 1.0), gamma)


def binary_focal_crossentropy(
    y_true: Any,
    y_pred: Any,
    apply_class_balancing: bool = False,
    alpha: float = 0.25,
    gamma: float = 2.0,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> jax.Array:
    """`binary_crossentropy` times (1 - p)^gamma, p that of the right answer: easy examples count less.

    Args:
        y_true, y_pred, from_logits, label_smoothing, axis: as in `binary_crossentropy`.
        apply_class_balancing: weight yes by alpha and no by 1 - alpha.
        alpha: that weight.
        gamma: how much less the easy examples count; 0 gives the plain crossentropy.

    Source: Lin et al., Focal loss for dense object detection, 2017.

    >>> binary_focal_crossentropy(jnp.array([[0, 1]]), jnp.array([[0.5, 0.5]])).round(4)
    Array([0.1733], dtype=float32)
    """
    y_true, y_pred = aligned(y_true, y_pred, "binary_focal_crossentropy")
    y_true = smooth(y_true, label_smoothing, 2)
    yes, no = log_answers(y_pred, from_logits)
    right = y_true * jnp.exp(yes) + (1.0 - y_true) * jnp.exp(no)
    loss = -focus(right, gamma) * (y_true * yes + (1.0 - y_true) * no)
    if apply_class_balancing:
        loss = loss * (y_true * alpha + (1.0 - y_true) * (1.0 - alpha))
    return jnp.mean(loss, axis=axis)


def categorical_focal_crossentropy(
    y_true: Any,
    y_pred: Any,
    alpha: float = 0.25,
    gamma: float = 2.0,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> jax.Array:
    """-Sum of alpha (1 - y_pred)^gamma y_true log(y_pred) over the classes.

    Args:
        y_true, y_pred, from_logits, label_smoothing, axis: as in `categorical_crossentropy`.
        alpha: a factor for the whole loss.
        gamma: how much less the easy examples count.

    Source: Lin et al., Focal loss for dense object detection, 2017.

    >>> categorical_focal_crossentropy(jnp.array([[0, 1]]), jnp.array([[0.5, 0.5]])).round(4)
    Array([0.0433], dtype=float32)
    """
    y_true, y_pred = aligned(y_true, y_pred, "categorical_focal_crossentropy")
    y_true = smooth(y_true, label_smoothing, y_pred.shape[axis])
    logs = log_classes(y_pred, from_logits, axis)
    return -jnp.sum(alpha * focus(jnp.exp(logs), gamma) * y_true * logs, axis=axis)
