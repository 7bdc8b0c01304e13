"""Keras's small helpers for data, on NumPy arrays."""

from typing import Any

import numpy as np


def to_categorical(y: Any, num_classes: int | None = None, dtype: Any = "float32") -> np.ndarray:
    """One-hot rows for class numbers: shape (…) or (…, 1) -> (…, num_classes).

    Args:
        y: whole numbers from 0 to num_classes - 1.
        num_classes: by default the largest number plus one.
        dtype: of the result.

    Raises:
        ValueError: a negative number, one that is not below num_classes, or no whole number.

    >>> to_categorical([0, 2, 1]).tolist()
    [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0]]
    """
    given = np.asarray(y)
    labels = given.astype(np.int64)
    if (labels != given).any():
        raise ValueError("to_categorical: y holds numbers that are not whole")
    if labels.ndim > 1 and labels.shape[-1] == 1:
        labels = labels[..., 0]
    top = int(labels.max(initial=-1))
    classes = top + 1 if num_classes is None else num_classes
    if labels.min(initial=0) < 0 or top >= classes:
        raise ValueError(
            f"to_categorical: y holds {int(labels.min(initial=0))} to {top}, but classes run from 0 to {classes - 1}"
        )
    one_hot = np.zeros((labels.size, classes), dtype)
    one_hot[np.arange(labels.size), labels.ravel()] = 1
    return one_hot.reshape(*labels.shape, classes)


def normalize(x: Any, axis: int = -1, order: int = 2) -> np.ndarray:
    """`x` divided by its norm of that order along an axis; where the norm is 0, by 1.

    >>> normalize([[3.0, 4.0], [0.0, 0.0]]).tolist()
    [[0.6, 0.8], [0.0, 0.0]]
    """
    x = np.asarray(x)
    norm = np.linalg.norm(x, ord=order, axis=axis, keepdims=True)
    return x / np.where(norm == 0, 1, norm)
