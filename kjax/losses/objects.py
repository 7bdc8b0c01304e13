"""Losses with settings, as frozen objects: `Huber(delta=2.0)` is called like `huber`."""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import jax

from kjax.frozen import Frozen, require_between, snake_case
from kjax.losses import crossentropy, values


class Loss(Frozen):
    """Base of loss objects: a function of `(y_true, y_pred)` and its settings, hashable and comparable.

    Args:
        name: what logs call the loss; by default the name of the function.

    A subclass has the function's options as fields, and the function as `of`; or defines `__call__` itself.
    """

    name: str | None = dataclasses.field(default=None, kw_only=True)

    of: ClassVar[Callable[..., Any] | None] = None

    def __call__(self, y_true: Any, y_pred: Any) -> jax.Array:
        """One value for each example (or time step): shape `y_pred.shape[:-1]`."""
        if self.of is None:
            raise NotImplementedError(f"{type(self).__name__} defines no __call__(self, y_true, y_pred)")
        return self.of(y_true, y_pred, **self.options())

    def options(self) -> dict[str, Any]:
        """The settings that go to the function."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "name"}

    def convert(self, name: str, value: Any) -> Any:
        if name == "name" and value is None:
            return self.of.__name__ if self.of is not None else snake_case(type(self).__name__)
        return super().convert(name, value)

    @classmethod
    def translate(cls, kwargs: dict[str, Any]) -> dict[str, Any]:
        """Drops Keras's `reduction=` where it asks for what is done anyway."""
        reduction = kwargs.get("reduction", "auto")
        if reduction not in ("auto", "mean", "sum_over_batch_size"):
            raise ValueError(
                f"{cls.__name__}: reduction={reduction!r} is not offered: a loss gives one value per "
                "example, and training takes their mean; for a sum, scale the learning rate by the batch size"
            )
        return {name: value for name, value in kwargs.items() if name != "reduction"}

    def validate(self) -> None:
        for name, low, high, open_top in RANGES:
            if hasattr(self, name):
                require_between(getattr(self, name), name, type(self).__name__, low, high, open_top)


RANGES = (
    ("label_smoothing", 0.0, 1.0, True),
    ("alpha", 0.0, float("inf"), True),
    ("beta", 0.0, float("inf"), True),
    ("gamma", 0.0, float("inf"), True),
)


class MeanSquaredError(Loss):
    """See `mean_squared_error`."""

    of = staticmethod(values.mean_squared_error)


class MeanAbsoluteError(Loss):
    """See `mean_absolute_error`."""

    of = staticmethod(values.mean_absolute_error)


class MeanAbsolutePercentageError(Loss):
    """See `mean_absolute_percentage_error`."""

    of = staticmethod(values.mean_absolute_percentage_error)


class MeanSquaredLogarithmicError(Loss):
    """See `mean_squared_logarithmic_error`."""

    of = staticmethod(values.mean_squared_logarithmic_error)


class LogCosh(Loss):
    """See `log_cosh`."""

    of = staticmethod(values.log_cosh)


class Huber(Loss):
    """See `huber`.

    >>> Huber(delta=2.0), Huber(delta=2.0) == Huber(2.0)
    (Huber(delta=2.0), True)
    """

    delta: float = 1.0

    of = staticmethod(values.huber)

    def validate(self) -> None:
        if isinstance(self.delta, int | float) and not self.delta > 0:
            raise ValueError(f"Huber: delta must be above 0; got {self.delta!r}")


class Hinge(Loss):
    """See `hinge`."""

    of = staticmethod(values.hinge)


class SquaredHinge(Loss):
    """See `squared_hinge`."""

    of = staticmethod(values.squared_hinge)


class CategoricalHinge(Loss):
    """See `categorical_hinge`."""

    of = staticmethod(values.categorical_hinge)


class Poisson(Loss):
    """See `poisson`."""

    of = staticmethod(values.poisson)


class KLDivergence(Loss):
    """See `kl_divergence`."""

    of = staticmethod(values.kl_divergence)


class CosineSimilarity(Loss):
    """See `cosine_similarity`."""

    axis: int = -1

    of = staticmethod(values.cosine_similarity)


class Tversky(Loss):
    """See `tversky`."""

    alpha: float = 0.5
    beta: float = 0.5
    axis: Any = None

    of = staticmethod(values.tversky)


class Dice(Loss):
    """See `dice`."""

    axis: Any = None

    of = staticmethod(values.dice)


class CategoricalCrossentropy(Loss):
    """See `categorical_crossentropy`.

    Raises:
        ValueError: `label_smoothing` outside [0, 1).
    """

    from_logits: bool = False
    label_smoothing: float = 0.0
    axis: int = -1

    of = staticmethod(crossentropy.categorical_crossentropy)


class SparseCategoricalCrossentropy(Loss):
    """See `sparse_categorical_crossentropy`."""

    from_logits: bool = False
    ignore_class: int | None = None
    axis: int = -1

    of = staticmethod(crossentropy.sparse_categorical_crossentropy)


class BinaryCrossentropy(Loss):
    """See `binary_crossentropy`.

    Raises:
        ValueError: `label_smoothing` outside [0, 1).
    """

    from_logits: bool = False
    label_smoothing: float = 0.0
    axis: int = -1

    of = staticmethod(crossentropy.binary_crossentropy)


class BinaryFocalCrossentropy(Loss):
    """See `binary_focal_crossentropy`."""

    apply_class_balancing: bool = False
    alpha: float = 0.25
    gamma: float = 2.0
    from_logits: bool = False
    label_smoothing: float = 0.0
    axis: int = -1

    of = staticmethod(crossentropy.binary_focal_crossentropy)


class CategoricalFocalCrossentropy(Loss):
    """See `categorical_focal_crossentropy`."""

    alpha: float = 0.25
    gamma: float = 2.0
    from_logits: bool = False
    label_smoothing: float = 0.0
    axis: int = -1

    of = staticmethod(crossentropy.categorical_focal_crossentropy)
