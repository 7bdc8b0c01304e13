"""Whether targets fit a loss and a network's outputs, said before anything is compiled."""

from typing import Any

import numpy as np

from kjax.losses import crossentropy, values
from kjax.losses.registry import base, name

CLASSES = (crossentropy.categorical_crossentropy, crossentropy.categorical_focal_crossentropy, values.categorical_hinge)
LABELS = (crossentropy.sparse_categorical_crossentropy,)
ANSWERS = (crossentropy.binary_crossentropy, crossentropy.binary_focal_crossentropy)
NUMBERS = (
    values.mean_squared_error,
    values.mean_absolute_error,
    values.mean_absolute_percentage_error,
    values.mean_squared_logarithmic_error,
    values.log_cosh,
    values.huber,
    values.hinge,
    values.squared_hinge,
    values.poisson,
    values.kl_divergence,
    values.cosine_similarity,
    values.cosine_proximity,
    values.tversky,
    values.dice,
)


SMALL = 64
"""Of so many class numbers Python finds the ends in 2 µs, NumPy in 8, between two steps of `train_on_batch`."""
ONE_OUTPUT = (
    "needs one output per class, but there is just one: use binary_crossentropy with a sigmoid for two "
    "classes, or Dense(classes) with a softmax"
)


def match_targets(loss: Any, y: Any, y_pred_shape: tuple[int | None, ...]) -> Any:
    """Targets in the shape that the loss takes: a last axis of 1 is added or dropped to fit the outputs.

    Class numbers stay as they are, and so do targets that differ otherwise: a user's loss may want them.

    Args:
        loss: a loss as `get` returns it.
        y: targets, a NumPy or JAX array, or a tracer.
        y_pred_shape: the shape of the outputs; its batch axis does not matter.

    >>> match_targets(values.mean_squared_error, np.zeros(3), (3, 1)).shape
    (3, 1)
    """
    if base(loss) in LABELS:
        return y
    if (*y.shape[1:], 1) == tuple(y_pred_shape[1:]):
        return y.reshape(*y.shape, 1)
    return y.reshape(y.shape[:-1]) if y.shape[1:] == (*y_pred_shape[1:], 1) else y


def check_targets(loss: Any, y_true: Any, y_pred_shape: tuple[int | None, ...]) -> None:
    """Raises `ValueError`, with the fix, where targets do not fit the outputs; a user's loss may take any.

    Args:
        loss: a loss as `get` returns it.
        y_true: targets; anything with a shape and a dtype. The values of NumPy arrays are looked at too.
        y_pred_shape: the shape of the outputs; its batch axis does not matter.

    >>> check_targets(crossentropy.categorical_crossentropy, np.array([3, 1]), (2, 10))
    Traceback (most recent call last):
    ...
    ValueError: categorical_crossentropy wants one-hot targets of shape (n, 10), but got (n,), which look \
like class numbers: use sparse_categorical_crossentropy, or kjax.utils.to_categorical(y, 10)
    """
    if y_true.dtype.kind not in "fiubc" and "float" not in str(y_true.dtype):
        raise ValueError(
            f"targets must be numbers, but their dtype is {y_true.dtype}: number the classes with "
            "names, y = numpy.unique(y, return_inverse=True)"
        )
    check = CHECKS.get(base(loss))
    if check:
        check(loss, y_true, tuple(y_pred_shape))
    check_values(loss, y_true, y_pred_shape)


def check_values(loss: Any, y_true: Any, y_pred_shape: tuple[int | None, ...]) -> None:
    """The part of `check_targets` that looks at values, for targets whose shape and dtype have passed before."""
    check = RANGES.get(base(loss))
    if check and isinstance(y_true, np.ndarray) and y_true.size:
        check(loss, y_true, y_pred_shape)


def show(shape: tuple[int | None, ...]) -> str:
    """`(60000, 10)` -> `(n, 10)`."""
    return f"(n, {', '.join(map(str, shape[1:]))})" if len(shape) > 1 else "(n,)"


def _are_labels(y: Any, y_pred_shape: tuple) -> bool:
    return y.shape[1:] in (y_pred_shape[1:-1], (*y_pred_shape[1:-1], 1))


def _check_classes(loss: Any, y: Any, shape: tuple) -> None:
    wants = f"{name(loss)} wants one-hot targets of shape {show(shape)}, but got {show(y.shape)}"
    if shape[-1] == 1 and len(shape) == 2:
        raise ValueError(f"{name(loss)} {ONE_OUTPUT}")
    if y.shape[1:] != shape[1:]:
        if _are_labels(y, shape):
            raise ValueError(
                f"{wants}, which look like class numbers: use sparse_categorical_crossentropy, "
                f"or kjax.utils.to_categorical(y, {shape[-1]})"
            )
        raise ValueError(f"{wants}: {_how_many(y, shape)}")


def _how_many(y: Any, shape: tuple) -> str:
    if y.shape[1:-1] == shape[1:-1] and len(y.shape) == len(shape):
        return f"give the last layer {y.shape[-1]} units, or targets {shape[-1]} columns"
    return "check the last layer's shape (is a Flatten missing, or a return_sequences wrong?)"


def _check_labels(loss: Any, y: Any, shape: tuple) -> None:
    classes = shape[getattr(loss, "axis", -1)]
    if classes == 1:
        raise ValueError(f"{name(loss)} {ONE_OUTPUT}")
    if getattr(loss, "axis", -1) in (-1, len(shape) - 1) and not _are_labels(y, shape):
        wants = f"{name(loss)} wants class numbers of shape {show(shape[:-1])}, but got {show(y.shape)}"
        if y.shape[1:] == shape[1:]:
            raise ValueError(f"{wants}, which look one-hot: use categorical_crossentropy, or y.argmax(-1)")
        raise ValueError(f"{wants}: one class number for each of the outputs of shape {show(shape)}")


def _check_labels_range(loss: Any, y: np.ndarray, shape: tuple) -> None:
    classes = shape[getattr(loss, "axis", -1)]
    ignored = getattr(loss, "ignore_class", None)
    y = y if ignored is None else y[y != ignored]
    if y.dtype.kind == "f" and not np.array_equal(y, np.round(y)):
        wrong = y[~(y == np.round(y))].flat[0]
        raise ValueError(f"{name(loss)} wants whole class numbers, but among the targets is {wrong}")
    low, high = ends(y)
    if not 0 <= low <= high < classes:
        raise ValueError(
            f"{name(loss)}: class numbers run from 0 to {classes - 1} for {classes} outputs, but the targets "
            f"run from {low:g} to {high:g}: {_renumber(int(low), int(high), classes)}"
        )


def ends(y: np.ndarray) -> tuple[Any, Any]:
    """The least and the largest of some numbers, 0 if there are none; NaN where there is one."""
    if y.size <= SMALL and y.dtype.kind in "iu":
        values = y.ravel().tolist()
        return min(values, default=0), max(values, default=0)
    return (y.min(), y.max()) if y.size else (0, 0)


def _renumber(low: int, high: int, classes: int) -> str:
    if high - low < classes and low in (1, -1):
        return f"numbers start at 0: use y - {low}" if low == 1 else "numbers start at 0: use y + 1, or ignore_class=-1"
    if low >= 0:
        return f"give the last layer {high + 1} units (numbers start at 0)"
    return "numbers start at 0: numpy.unique(y, return_inverse=True) renumbers them"


def _check_answers(loss: Any, y: Any, shape: tuple) -> None:
    if match_targets(loss, y, shape).shape[1:] != shape[1:]:
        wants = f"{name(loss)} wants targets of shape {show(shape)} like the outputs, but got {show(y.shape)}"
        if _are_labels(y, shape):
            raise ValueError(
                f"{wants}: for class numbers use sparse_categorical_crossentropy with a softmax; for two "
                "classes, one output unit with a sigmoid"
            )
        raise ValueError(f"{wants}: {_how_many(y, shape)}")


def _check_answers_range(loss: Any, y: np.ndarray, shape: tuple) -> None:
    low, high = ends(y)
    if not 0 <= low <= high <= 1:
        fix = (
            "divide them by 255"
            if low >= 0 and high == 255
            else "use (y + 1) / 2"
            if (low, high) == (-1, 1)
            else "scale them"
        )
        raise ValueError(f"{name(loss)} wants targets from 0 to 1, but they run from {low:g} to {high:g}: {fix}")


def _check_numbers(loss: Any, y: Any, shape: tuple) -> None:
    if match_targets(loss, y, shape).shape[1:] != shape[1:]:
        raise ValueError(
            f"{name(loss)} wants targets of shape {show(shape)} like the outputs, but got {show(y.shape)}: "
            f"{_how_many(y, shape)}"
        )


CHECKS = {
    loss: check
    for group, check in (
        (CLASSES, _check_classes),
        (LABELS, _check_labels),
        (ANSWERS, _check_answers),
        (NUMBERS, _check_numbers),
    )
    for loss in group
}
RANGES = {
    loss: check for group, check in ((LABELS, _check_labels_range), (ANSWERS, _check_answers_range)) for loss in group
}
