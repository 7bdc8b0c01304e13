"""How often the right answer is given: pure functions, one value per example, and metrics of them."""

from typing import Any

import jax
import jax.numpy as jnp

from kjax import losses
from kjax.frozen import require_between, require_int
from kjax.losses.arrays import aligned, class_labels, floats
from kjax.losses.registry import base
from kjax.metrics.mean import MeanMetric
from kjax.metrics.metric import Shape


def binary_accuracy(y_true: Any, y_pred: Any, threshold: float = 0.5) -> jax.Array:
    """Share, over the last axis, of answers 0 or 1 that `y_pred > threshold` gives; labels of -1 count as 0.

    >>> binary_accuracy(jnp.array([[0, 1, 1]]), jnp.array([[0.2, 0.7, 0.4]])).round(4)
    Array([0.6667], dtype=float32)
    """
    y_true, y_pred = aligned(y_true, y_pred, "binary_accuracy")
    right = jnp.maximum(y_true, 0.0) == (y_pred > threshold).astype(y_pred.dtype)
    return jnp.mean(right.astype(y_pred.dtype), axis=-1)


def sparse_categorical_accuracy(y_true: Any, y_pred: Any) -> jax.Array:
    """1 where class number `y_true` has the highest `y_pred`, else 0.

    >>> sparse_categorical_accuracy(jnp.array([1, 0]), jnp.array([[0.2, 0.8], [0.4, 0.6]])).tolist()
    [1.0, 0.0]
    """
    y_pred = floats(y_pred)
    labels = class_labels(y_true, y_pred.shape, "sparse_categorical_accuracy")
    return (labels == jnp.argmax(y_pred, axis=-1).astype(jnp.int32)).astype(y_pred.dtype)


def categorical_accuracy(y_true: Any, y_pred: Any) -> jax.Array:
    """1 where `y_true` (one-hot, or probabilities) and `y_pred` are highest at the same class, else 0.

    >>> categorical_accuracy(jnp.array([[0, 1], [1, 0]]), jnp.array([[0.2, 0.8], [0.4, 0.6]])).tolist()
    [1.0, 0.0]
    """
    y_true, y_pred = aligned(y_true, y_pred, "categorical_accuracy")
    return sparse_categorical_accuracy(jnp.argmax(y_true, axis=-1), y_pred)


def sparse_top_k_categorical_accuracy(y_true: Any, y_pred: Any, k: int = 5) -> jax.Array:
    """1 where fewer than `k` classes have a higher `y_pred` than class number `y_true`, else 0.

    >>> sparse_top_k_categorical_accuracy(jnp.array([1, 2]), jnp.array([[0.5, 0.4, 0.1]] * 2), k=2).tolist()
    [1.0, 0.0]
    """
    y_pred = floats(y_pred)
    labels = class_labels(y_true, y_pred.shape, "sparse_top_k_categorical_accuracy")
    right = jnp.take_along_axis(y_pred, labels[..., None], axis=-1, mode="fill", fill_value=jnp.nan)
    better = jnp.sum((y_pred > right).astype(jnp.int32), axis=-1)
    return ((better < k) & ~jnp.isnan(right[..., 0])).astype(y_pred.dtype)


def top_k_categorical_accuracy(y_true: Any, y_pred: Any, k: int = 5) -> jax.Array:
    """`sparse_top_k_categorical_accuracy` for one-hot `y_true`.

    >>> top_k_categorical_accuracy(jnp.array([[0, 1, 0]]), jnp.array([[0.5, 0.4, 0.1]]), k=2).tolist()
    [1.0]
    """
    y_true, y_pred = aligned(y_true, y_pred, "top_k_categorical_accuracy")
    return sparse_top_k_categorical_accuracy(jnp.argmax(y_true, axis=-1), y_pred, k)


class BinaryAccuracy(MeanMetric):
    """See `binary_accuracy`.

    Args:
        threshold: above it the answer is yes; 0 fits logits, and hinge losses.
    """

    threshold: float = 0.5

    of = staticmethod(binary_accuracy)

    def validate(self) -> None:
        require_between(self.threshold, "threshold", type(self).__name__, float("-inf"), float("inf"))


class CategoricalAccuracy(MeanMetric):
    """See `categorical_accuracy`."""

    of = staticmethod(categorical_accuracy)


class SparseCategoricalAccuracy(MeanMetric):
    """See `sparse_categorical_accuracy`."""

    of = staticmethod(sparse_categorical_accuracy)


class TopKCategoricalAccuracy(MeanMetric):
    """See `top_k_categorical_accuracy`."""

    k: int = 5

    of = staticmethod(top_k_categorical_accuracy)

    def validate(self) -> None:
        require_int(self.k, "k", type(self).__name__)


class SparseTopKCategoricalAccuracy(MeanMetric):
    """See `sparse_top_k_categorical_accuracy`."""

    k: int = 5

    of = staticmethod(sparse_top_k_categorical_accuracy)

    def validate(self) -> None:
        require_int(self.k, "k", type(self).__name__)


class Accuracy(MeanMetric):
    """The accuracy that fits the shapes, as `metrics=["accuracy"]` in Keras.

    One output: binary. Targets of the outputs' shape: categorical (one-hot). Else: sparse (class numbers).
    Outputs of shape (batch,) are binary, too.

    >>> Accuracy().bind((32,), (32, 10))
    SparseCategoricalAccuracy(name='accuracy')
    """

    def bind(self, y_true_shape: Shape, y_pred_shape: Shape, loss: Any = None) -> MeanMetric:
        """The metric for these shapes; a binary one has threshold 0 if the loss takes logits or margins."""
        if len(y_pred_shape) < 2 or y_pred_shape[-1] == 1:
            margins = getattr(loss, "from_logits", False) or base(loss) in (losses.hinge, losses.squared_hinge)
            return BinaryAccuracy(threshold=0.0 if margins else 0.5, name=self.name)
        one_hot = len(y_true_shape) == len(y_pred_shape) and y_true_shape[-1] == y_pred_shape[-1]
        return CategoricalAccuracy(name=self.name) if one_hot else SparseCategoricalAccuracy(name=self.name)

    def values(self, y_true: jax.Array, y_pred: jax.Array) -> jax.Array:
        return self.bind(y_true.shape, y_pred.shape).values(y_true, y_pred)
