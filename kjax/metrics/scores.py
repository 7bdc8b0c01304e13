"""Metrics from counts by class: F scores and the intersection over union."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from kjax.frozen import require_between, require_int
from kjax.losses.arrays import aligned, class_labels
from kjax.metrics.confusion import flat_weights, refuse_labels, where
from kjax.metrics.metric import Metric, Shape, Sums, ratio


class FBetaScore(Metric):
    """Weighted harmonic mean of precision and recall: (1 + beta²) P R / (beta² P + R); 0 where undefined.

    Args:
        average: None: one value per class; "micro": all classes counted together; "macro": the classes' mean;
            "weighted": their mean weighted by how frequent they are.
        beta: how much more recall counts than precision.
        threshold: above it an output is a yes; None: the highest output of each example is (for a single
            output, where Keras would always say yes: 0.5).
        classes: the number of outputs; `bind` fills it in.

    Targets are 0 or 1, shape (batch, classes). Source: van Rijsbergen, Information retrieval, 1979; Keras.
    """

    name: str = dataclasses.field(default="fbeta_score", kw_only=True)
    average: str | None = None
    beta: float = 1.0
    threshold: float | None = None
    classes: int | None = dataclasses.field(default=None, kw_only=True)

    def validate(self) -> None:
        if self.average not in (None, "micro", "macro", "weighted"):
            raise ValueError(
                f"{type(self).__name__}: average: None, 'micro', 'macro' or 'weighted'; got {self.average!r}"
            )
        if not self.beta > 0:
            raise ValueError(f"{type(self).__name__}: beta must be above 0; got {self.beta!r}")
        if self.threshold is not None:
            require_between(self.threshold, "threshold", type(self).__name__, 0.0, 1.0)

    def bind(self, y_true_shape: Shape, y_pred_shape: Shape, loss: Any = None) -> Any:
        if len(y_pred_shape) != 2:
            raise ValueError(
                f"{type(self).__name__} wants outputs of shape (batch, classes); got {tuple(y_pred_shape)}"
            )
        refuse_labels(type(self).__name__, y_true_shape, y_pred_shape)
        return self.replace(classes=y_pred_shape[-1])

    def parts(self) -> dict[str, Shape]:
        if self.classes is None:
            raise ValueError(
                f"{self!r} does not know the number of classes: call bind(y_true_shape, y_pred_shape) first"
            )
        return dict.fromkeys(("true_positives", "false_positives", "false_negatives"), (self.classes,))

    def measure(self, y_true: jax.Array, y_pred: jax.Array, weight: jax.Array | None) -> Sums:
        y_true, y_pred = aligned(y_true, y_pred, type(self).__name__)
        weights, yes, chosen = flat_weights(weight, y_pred.shape), y_true != 0, self._chosen(y_pred)
        return {
            "true_positives": jnp.sum(where(chosen & yes, weights), axis=0),
            "false_positives": jnp.sum(where(chosen & ~yes, weights), axis=0),
            "false_negatives": jnp.sum(where(~chosen & yes, weights), axis=0),
        }

    def _chosen(self, y_pred: jax.Array) -> jax.Array:
        if self.threshold is None and y_pred.shape[-1] > 1:
            return (y_pred >= jnp.max(y_pred, axis=-1, keepdims=True)) & (jnp.abs(y_pred) > 1e-9)
        return y_pred > (0.5 if self.threshold is None else self.threshold)

    def summarize(self, sums: Sums) -> jax.Array:
        frequency = sums["true_positives"] + sums["false_negatives"]
        if self.average == "micro":
            sums = {name: jnp.sum(value) for name, value in sums.items()}
        hits = (1.0 + self.beta**2) * sums["true_positives"]
        score = ratio(hits, hits + self.beta**2 * sums["false_negatives"] + sums["false_positives"])
        if self.average == "weighted":
            return ratio(jnp.sum(score * frequency), jnp.sum(frequency))
        return score if self.average is None else jnp.mean(score)


class F1Score(FBetaScore):
    """`FBetaScore` with beta = 1: precision and recall count the same."""

    name: str = dataclasses.field(default="f1_score", kw_only=True)
    beta: float = dataclasses.field(default=1.0, init=False, repr=False)


class MeanIoU(Metric):
    """Mean over the classes of hits / (hits + misses + false alarms), of labelled pixels; Jaccard's index.

    Args:
        num_classes: the number of classes.
        ignore_class: a label that says "none of them"; such pixels do not count.
        sparse_y_true: targets are class numbers; False: one-hot, in a last axis.
        sparse_y_pred: outputs are class numbers; False: probabilities in a last axis; None: by shape.

    Classes that appear in neither do not count. Source: Keras, whose `sparse_y_pred` is True unless given.
    """

    num_classes: int
    ignore_class: int | None = None
    sparse_y_true: bool = True
    sparse_y_pred: bool | None = None

    def validate(self) -> None:
        require_int(self.num_classes, "num_classes", type(self).__name__, 2)

    def parts(self) -> dict[str, Shape]:
        return {"matrix": (self.num_classes, self.num_classes)}

    def measure(self, y_true: jax.Array, y_pred: jax.Array, weight: jax.Array | None) -> Sums:
        labels = y_true if self.sparse_y_true else jnp.argmax(y_true, axis=-1)
        found = self._classes(labels, y_pred).astype(jnp.int32)
        labels = class_labels(labels, (*found.shape, self.num_classes), "MeanIoU")
        weights = flat_weights(weight, found.shape)
        if self.ignore_class is not None:
            weights = where(labels != self.ignore_class, weights)
        n = self.num_classes
        inside = (labels >= 0) & (labels < n) & (found >= 0) & (found < n)
        cell = jnp.where(inside, labels * n + found, jnp.zeros_like(found)).reshape(-1)
        counts = jax.ops.segment_sum(where(inside, weights).reshape(-1), cell, n * n)
        return {"matrix": counts.reshape(n, n)}

    def _classes(self, labels: jax.Array, y_pred: jax.Array) -> jax.Array:
        scores = (
            jnp.issubdtype(y_pred.dtype, jnp.floating)
            and y_pred.shape[-1] == self.num_classes
            and y_pred.shape != labels.shape
        )
        sparse = not scores if self.sparse_y_pred is None else self.sparse_y_pred
        return y_pred if sparse else jnp.argmax(y_pred, axis=-1)

    def summarize(self, sums: Sums) -> jax.Array:
        matrix = sums["matrix"]
        hits = jnp.diagonal(matrix)
        union = jnp.sum(matrix, axis=0) + jnp.sum(matrix, axis=1) - hits
        return ratio(jnp.sum(ratio(hits, union)), jnp.sum((union > 0).astype(jnp.float32)))
