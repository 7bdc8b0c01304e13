"""The metric contract.

    metric = metric.bind(y_true_shape, y_pred_shape, loss)      # settings that depend on shapes
    state = metric.init()
    state = metric.update(state, y_true, y_pred, weight=None)   # as often as there are batches
    value = metric.result(state)

A metric is a frozen dataclass; its state is a pytree of float32 arrays, all of them sums over examples, so
that the batches' sizes do not matter. A new one defines `parts`, `measure` and `summarize`.

    class Bias(Metric):
        def parts(self):
            return {"total": (), "count": ()}

        def measure(self, y_true, y_pred, weight):
            return {"total": jnp.sum(y_pred - y_true), "count": jnp.float32(y_true.size)}

        def summarize(self, sums):
            return sums["total"] / sums["count"]

A metric that is the mean of a function of `(y_true, y_pred)` needs no class: see `MeanOf`.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from kjax.frozen import Frozen, snake_case

Shape = tuple[int, ...]
State = dict[str, Any]
Sums = dict[str, jax.Array]


def compensated(high: jax.Array, low: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """`(high, low)` + x, where `low` holds what rounding keeps out of `high`: about 48 bits in two float32.

    Source: Knuth, The Art of Computer Programming, vol. 2, 4.2.2 (two-sum).
    """
    total = high + x
    kept = total - high
    lost = (high - (total - kept)) + (x - kept)
    # After an overflow `lost` is NaN, but the sum is infinite.
    return total, low + jnp.where(jnp.isfinite(total), lost, jnp.zeros_like(lost))


class Accumulator(Frozen):
    """Named sums over an epoch, exact far beyond the 2²⁴ where a float32 stops counting.

    Args:
        name: what logs call it; by default its class in snake case.
    """

    name: str = dataclasses.field(default="", kw_only=True)

    def parts(self) -> dict[str, Shape]:
        """The names and shapes of the sums."""
        raise NotImplementedError(f"{type(self).__name__} defines no parts(self)")

    def summarize(self, sums: Sums) -> jax.Array:
        """The metric's value, from its sums."""
        raise NotImplementedError(f"{type(self).__name__} defines no summarize(self, sums)")

    def init(self) -> State:
        """The state before the first batch."""
        return {
            half: {name: jnp.zeros(shape, jnp.float32) for name, shape in self.parts().items()}
            for half in ("high", "low")
        }

    def add(self, state: State, sums: Sums) -> State:
        """The state with more added to its sums."""
        pairs = {
            name: compensated(high, state["low"][name], sums[name].astype(jnp.float32))
            for name, high in state["high"].items()
        }
        return {half: {name: pair[i] for name, pair in pairs.items()} for i, half in enumerate(("high", "low"))}

    def result(self, state: State) -> jax.Array:
        """The metric's value so far; pure, so it may be asked at any time."""
        return self.summarize(jax.tree.map(jnp.add, state["high"], state["low"]))

    def convert(self, name: str, value: Any) -> Any:
        if name == "name" and not value:
            return snake_case(type(self).__name__)
        return super().convert(name, value)


class Metric(Accumulator):
    """Base of metrics of `(y_true, y_pred)`; see the module's docstring."""

    def measure(self, y_true: jax.Array, y_pred: jax.Array, weight: jax.Array | None) -> Sums:
        """What one batch adds to the sums."""
        raise NotImplementedError(f"{type(self).__name__} defines no measure(self, y_true, y_pred, weight)")

    def bind(self, y_true_shape: Shape, y_pred_shape: Shape, loss: Any = None) -> Any:
        """This metric with the settings that depend on shapes filled in; refuses shapes that cannot work."""
        return self

    def update(self, state: State, y_true: Any, y_pred: Any, weight: Any = None) -> State:
        """The state after one more batch. The arithmetic is in float32.

        Args:
            state: from `init` or `update`.
            y_true: targets, shape (batch, …).
            y_pred: the network's outputs, shape (batch, …).
            weight: None, or weights of shape (batch,) or (batch, time); an example of weight 0 counts for
                nothing, even if its values are NaN.
        """
        weight = None if weight is None else jnp.asarray(weight).astype(jnp.float32)
        return self.add(state, self.measure(single(y_true), single(y_pred), weight))


def single(x: Any) -> jax.Array:
    """Floats in float32; integers and booleans as they are."""
    x = jnp.asarray(x)
    return x.astype(jnp.float32) if jnp.issubdtype(x.dtype, jnp.floating) else x


def ratio(a: jax.Array, b: jax.Array) -> jax.Array:
    """a / b, and 0 where b is 0: what Keras shows before there is anything to show."""
    return jnp.where(b == 0, jnp.zeros_like(a), a / jnp.where(b == 0, jnp.ones_like(b), b))


def weigh(values: jax.Array, weight: jax.Array | None) -> jax.Array:
    """values times weights of their shape, where a weight of 0 silences even NaN."""
    return values if weight is None else jnp.where(weight == 0, jnp.zeros_like(values), values * weight)


class Mean(Accumulator):
    """The mean of numbers that are given as they come, each with how many examples it stands for.

    >>> mean = Mean()
    >>> state = mean.update(mean.update(mean.init(), 1.0, 32), 4.0, 16)
    >>> mean.result(state)
    Array(2., dtype=float32)
    """

    def parts(self) -> dict[str, Shape]:
        return {"total": (), "count": ()}

    def update(self, state: State, value: Any, n: Any = 1.0) -> State:
        """The state after a `value` that is the mean of `n` examples; none of them, and NaN does no harm."""
        value, n = jnp.asarray(value).astype(jnp.float32), jnp.asarray(n).astype(jnp.float32)
        return self.add(state, {"total": weigh(value, n), "count": n})

    def summarize(self, sums: Sums) -> jax.Array:
        return ratio(sums["total"], sums["count"])
