"""Metrics from counts of hits, misses and false alarms."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from kjax.frozen import require_between, require_int
from kjax.losses.arrays import aligned, spread
from kjax.metrics.metric import Metric, Shape, Sums, ratio

COUNTS = ("true_positives", "false_positives", "true_negatives", "false_negatives")


def refuse_labels(owner: str, y_true_shape: Shape, y_pred_shape: Shape) -> None:
    """Raises for class numbers where one yes/no answer per output is wanted."""
    y, p = tuple(y_true_shape[1:]), tuple(y_pred_shape[1:])
    if p not in (y, (*y, 1)) and y != (*p, 1):
        raise ValueError(
            f"{owner} wants a yes or no for each output, but the targets have shape {tuple(y_true_shape)}, "
            f"the outputs {tuple(y_pred_shape)}; for class numbers, train on kjax.utils.to_categorical(y)"
        )


def flat_weights(weight: jax.Array | None, shape: tuple[int, ...]) -> jax.Array:
    """A float32 weight for each element of `shape`."""
    return jnp.ones(shape, jnp.float32) if weight is None else spread(weight, shape)


def where(condition: jax.Array, weight: jax.Array) -> jax.Array:
    """`weight` where the condition holds, else 0."""
    return jnp.where(condition, weight, jnp.zeros_like(weight))


class Confusion(Metric):
    """Base: weighted counts of the four outcomes of `y_pred > threshold`, for each of some thresholds."""

    wanted: ClassVar[tuple[str, ...]] = COUNTS

    def levels(self) -> tuple[float, ...]:
        """The thresholds."""
        raise NotImplementedError(f"{type(self).__name__} defines no levels(self)")

    def bind(self, y_true_shape: Shape, y_pred_shape: Shape, loss: Any = None) -> Any:
        refuse_labels(type(self).__name__, y_true_shape, y_pred_shape)
        return self

    def parts(self) -> dict[str, Shape]:
        return dict.fromkeys(self.wanted, (len(self.levels()),))

    def select(self, y_true: jax.Array, y_pred: jax.Array) -> tuple[jax.Array, jax.Array]:
        """What of the targets and outputs is looked at."""
        return y_true, y_pred

    def measure(self, y_true: jax.Array, y_pred: jax.Array, weight: jax.Array | None) -> Sums:
        y_true, y_pred = self.select(*aligned(y_true, y_pred, type(self).__name__))
        weights = flat_weights(weight, y_pred.shape).reshape(1, -1)
        yes, scores = (y_true != 0).reshape(1, -1), y_pred.reshape(1, -1)
        positive = scores > jnp.asarray(self.levels(), jnp.float32)[:, None]
        outcomes = {
            "true_positives": positive & yes,
            "false_positives": positive & ~yes,
            "true_negatives": ~positive & ~yes,
            "false_negatives": ~positive & yes,
        }
        return {name: jnp.sum(where(outcomes[name], weights), axis=1) for name in self.wanted}


class Thresholded(Confusion):
    """Base: counts at one or more thresholds that the user gives."""

    thresholds: Any = None

    def levels(self) -> tuple[float, ...]:
        if self.thresholds is None:
            return (0.5,)
        return self.thresholds if isinstance(self.thresholds, tuple) else (self.thresholds,)

    def validate(self) -> None:
        for level in self.levels():
            require_between(level, "thresholds", type(self).__name__, 0.0, 1.0)

    def shaped(self, values: jax.Array) -> jax.Array:
        """A single number for a single threshold."""
        return values if isinstance(self.thresholds, tuple) and len(self.thresholds) > 1 else values[0]


class TruePositives(Thresholded):
    """How many (weighted) answers are yes, and rightly so."""

    wanted = COUNTS[:1]

    def summarize(self, sums: Sums) -> jax.Array:
        return self.shaped(sums[self.wanted[0]])


class FalsePositives(TruePositives):
    """How many (weighted) answers are yes, wrongly."""

    wanted = COUNTS[1:2]


class TrueNegatives(TruePositives):
    """How many (weighted) answers are no, and rightly so."""

    wanted = COUNTS[2:3]


class FalseNegatives(TruePositives):
    """How many (weighted) answers are no, wrongly."""

    wanted = COUNTS[3:]


class Precision(Thresholded):
    """Share of yes answers that are right: true positives / (true + false positives); 0 before there are any.

    Args:
        thresholds: a number in [0, 1], or several (then the result has one value for each); by default 0.5.
            With `top_k` and no threshold, every one of the top k is a yes.
        top_k: only the k highest outputs of an example can be a yes.
        class_id: looks at this output alone.

    Targets are 0 or 1, in the outputs' shape. Source: Keras.

    >>> metric = Precision()
    >>> state = metric.update(metric.init(), jnp.array([[0], [1], [1]]), jnp.array([[0.6], [0.7], [0.2]]))
    >>> metric.result(state)
    Array(0.5, dtype=float32)
    """

    top_k: int | None = None
    class_id: int | None = None

    wanted = COUNTS[:2]

    def levels(self) -> tuple[float, ...]:
        return (-1e10,) if self.thresholds is None and self.top_k is not None else super().levels()

    def validate(self) -> None:
        if self.thresholds is not None:
            super().validate()
        for name, least in (("top_k", 1), ("class_id", 0)):
            if getattr(self, name) is not None:
                require_int(getattr(self, name), name, type(self).__name__, least)

    def bind(self, y_true_shape: Shape, y_pred_shape: Shape, loss: Any = None) -> Any:
        for name, value, most in (
            ("top_k", self.top_k, y_pred_shape[-1]),
            ("class_id", self.class_id, y_pred_shape[-1] - 1),
        ):
            if value is not None and value > most:
                raise ValueError(f"{type(self).__name__}: {name}={value}, but there are {y_pred_shape[-1]} outputs")
        return super().bind(y_true_shape, y_pred_shape, loss)

    def select(self, y_true: jax.Array, y_pred: jax.Array) -> tuple[jax.Array, jax.Array]:
        if self.top_k is not None:
            chosen = jax.nn.one_hot(jax.lax.top_k(y_pred, self.top_k)[1], y_pred.shape[-1], dtype=jnp.int32)
            y_pred = jnp.where(jnp.sum(chosen, axis=-2) > 0, y_pred, jnp.full_like(y_pred, -jnp.inf))
        if self.class_id is None:
            return y_true, y_pred
        only = slice(self.class_id, self.class_id + 1)
        return y_true[..., only], y_pred[..., only]

    def summarize(self, sums: Sums) -> jax.Array:
        hits, others = (sums[name] for name in self.wanted)
        return self.shaped(ratio(hits, hits + others))


class Recall(Precision):
    """Share of what should be yes that is: true positives / (true positives + false negatives).

    Args: as in `Precision`.
    """

    wanted = (COUNTS[0], COUNTS[3])
