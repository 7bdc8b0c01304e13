"""Metrics that are means over examples: of any loss, or of any function of `(y_true, y_pred)`."""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from kjax import losses
from kjax.losses.arrays import spread
from kjax.metrics.metric import Metric, Shape, Sums, ratio, weigh


class MeanMetric(Metric):
    """Mean of `of(y_true, y_pred, **fields)`, weighted: the divisor is the sum of the weights."""

    of: ClassVar[Callable[..., Any] | None] = None

    def values(self, y_true: jax.Array, y_pred: jax.Array) -> jax.Array:
        """One value per example or time step."""
        if self.of is None:
            raise NotImplementedError(f"{type(self).__name__} defines no values(self, y_true, y_pred)")
        options = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "name"}
        return self.of(losses.match_targets(self.of, y_true, y_pred.shape), y_pred, **options)

    def parts(self) -> dict[str, Shape]:
        return {"total": (), "count": ()}

    def measure(self, y_true: jax.Array, y_pred: jax.Array, weight: jax.Array | None) -> Sums:
        values = jnp.asarray(self.values(y_true, y_pred)).astype(jnp.float32)
        if values.ndim == 0:
            return self._whole_batch(values, y_pred, weight)
        weight = jnp.ones_like(values) if weight is None else spread(weight, values.shape)
        real = losses.counted(getattr(self, "function", self), y_true, y_pred.shape)
        if real is not None:
            weight = jnp.where(real, weight, jnp.zeros_like(weight))
        return {"total": jnp.sum(weigh(values, weight)), "count": jnp.sum(weight)}

    def _whole_batch(self, value: jax.Array, y_pred: jax.Array, weight: Any) -> Sums:
        """A function that reduces by itself: its value counts for as many examples as the batch has."""
        if weight is not None:
            raise ValueError(
                f"metric {self.name!r} gave one number for a batch, so weights cannot be applied: let it "
                "return one value per example, shape (batch,)"
            )
        count = jnp.float32(y_pred.shape[0] if y_pred.ndim else 1)
        return {"total": value * count, "count": count}

    def summarize(self, sums: Sums) -> jax.Array:
        return ratio(sums["total"], sums["count"])


class MeanOf(MeanMetric):
    """Mean of a loss, or of your own function of `(y_true, y_pred)`.

    Args:
        function: gives one value per example, shape (batch,), or per time step. One that gives a single
            number is averaged over the batches by their sizes; it cannot be weighted.
        name: by default the function's name.

    >>> import jax.numpy as jnp
    >>> metric = MeanOf(losses.mean_absolute_error)
    >>> state = metric.update(metric.init(), jnp.array([[1.0], [2.0]]), jnp.array([[1.5], [2.0]]))
    >>> metric.name, metric.result(state)
    ('mean_absolute_error', Array(0.25, dtype=float32))
    """

    function: Any = None

    def values(self, y_true: jax.Array, y_pred: jax.Array) -> jax.Array:
        return self.function(losses.match_targets(self.function, y_true, y_pred.shape), y_pred)

    def validate(self) -> None:
        if not callable(self.function):
            raise TypeError(f"MeanOf takes a function of (y_true, y_pred); got {self.function!r}")

    def __post_init__(self) -> None:
        if not self.name and callable(self.function):
            object.__setattr__(self, "name", losses.name(self.function).replace("loss", "metric"))
        super().__post_init__()


class MeanSquaredError(MeanMetric):
    """See `kjax.losses.mean_squared_error`."""

    of = staticmethod(losses.mean_squared_error)


class RootMeanSquaredError(MeanMetric):
    """Square root of the mean squared error over all examples: not the mean of the batches' roots."""

    of = staticmethod(losses.mean_squared_error)

    def summarize(self, sums: Sums) -> jax.Array:
        return jnp.sqrt(super().summarize(sums))


class MeanAbsoluteError(MeanMetric):
    """See `kjax.losses.mean_absolute_error`."""

    of = staticmethod(losses.mean_absolute_error)


class MeanAbsolutePercentageError(MeanMetric):
    """See `kjax.losses.mean_absolute_percentage_error`; in percent."""

    of = staticmethod(losses.mean_absolute_percentage_error)


class MeanSquaredLogarithmicError(MeanMetric):
    """See `kjax.losses.mean_squared_logarithmic_error`."""

    of = staticmethod(losses.mean_squared_logarithmic_error)


class LogCoshError(MeanMetric):
    """See `kjax.losses.log_cosh`."""

    name: str = dataclasses.field(default="logcosh", kw_only=True)

    of = staticmethod(losses.log_cosh)


class Hinge(MeanMetric):
    """See `kjax.losses.hinge`."""

    of = staticmethod(losses.hinge)


class SquaredHinge(MeanMetric):
    """See `kjax.losses.squared_hinge`."""

    of = staticmethod(losses.squared_hinge)


class CategoricalHinge(MeanMetric):
    """See `kjax.losses.categorical_hinge`."""

    of = staticmethod(losses.categorical_hinge)


class Poisson(MeanMetric):
    """See `kjax.losses.poisson`."""

    of = staticmethod(losses.poisson)


class KLDivergence(MeanMetric):
    """See `kjax.losses.kl_divergence`."""

    of = staticmethod(losses.kl_divergence)


class CosineSimilarity(MeanMetric):
    """Mean cosine of the angle between `y_true` and `y_pred`: minus `kjax.losses.cosine_similarity`."""

    axis: int = -1

    def values(self, y_true: jax.Array, y_pred: jax.Array) -> jax.Array:
        return -losses.cosine_similarity(y_true, y_pred, axis=self.axis)


class BinaryCrossentropy(MeanMetric):
    """See `kjax.losses.binary_crossentropy`."""

    from_logits: bool = False
    label_smoothing: float = 0.0

    of = staticmethod(losses.binary_crossentropy)


class CategoricalCrossentropy(MeanMetric):
    """See `kjax.losses.categorical_crossentropy`."""

    from_logits: bool = False
    label_smoothing: float = 0.0
    axis: int = -1

    of = staticmethod(losses.categorical_crossentropy)


class SparseCategoricalCrossentropy(MeanMetric):
    """See `kjax.losses.sparse_categorical_crossentropy`; labels that are `ignore_class` do not count."""

    from_logits: bool = False
    ignore_class: int | None = None
    axis: int = -1

    of = staticmethod(losses.sparse_categorical_crossentropy)
