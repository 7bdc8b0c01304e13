"""Weight constraints: frozen objects that map an array to the nearest allowed one, by Keras's names.

Applied after each step of the optimizer. Norms are taken along `axis`, an integer or several: 0 for a dense
layer's kernel, (0, 1, 2) for a 2-D convolution's, so that each output unit has its own norm. As in Keras,
1e-7 is added to the norms that divide, so a "unit" norm falls short of 1 by that much.

>>> import jax.numpy as jnp
>>> NonNeg()(jnp.array([-1.0, 2.0])).tolist()
[0.0, 2.0]
>>> get("max_norm")
MaxNorm()
"""

import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from kjax.frozen import Frozen, is_int, look_up, require_between

EPSILON = 1e-7
"""Keras's `K.epsilon()`."""


class Constraint(Frozen):
    """Base of the constraints: subclasses define `__call__(self, w)`, an array like `w`."""

    def convert(self, name: str, value: Any) -> Any:
        """Numbers as Python's own: a NumPy scalar would bring its dtype along."""
        return value.item() if isinstance(value, np.generic) else super().convert(name, value)

    def __call__(self, w: Array) -> Array:
        """The allowed array nearest to `w`."""
        raise NotImplementedError(f"{type(self).__name__} defines no __call__(self, w)")


class MaxNorm(Constraint):
    """Norms of at most `max_value`: w * min(norm, max_value) / (norm + 1e-7).

    Args:
        max_value: the largest norm allowed.
        axis: the axis or axes that each norm sums over.

    Raises:
        ValueError: `max_value` is negative, or `axis` holds no integers.

    >>> MaxNorm(1.0)(jnp.array([3.0, 4.0]))
    Array([0.6, 0.8], dtype=float32)
    """

    max_value: float = 2
    axis: Any = 0

    def validate(self) -> None:
        require_between(self.max_value, "max_value", "MaxNorm", 0, math.inf)
        require_axis(self.axis, "MaxNorm")

    def __call__(self, w: Array) -> Array:
        norm = norms(w, self.axis)
        return w * (jnp.minimum(norm, self.max_value) / (norm + EPSILON))


class NonNeg(Constraint):
    """No negative weights: max(w, 0)."""

    def __call__(self, w: Array) -> Array:
        return jnp.maximum(w, 0.0)


class UnitNorm(Constraint):
    """Norms of 1: w / (norm + 1e-7); what is all zeros stays so.

    Args:
        axis: the axis or axes that each norm sums over.

    >>> UnitNorm()(jnp.array([3.0, 4.0]))
    Array([0.6, 0.8], dtype=float32)
    """

    axis: Any = 0

    def validate(self) -> None:
        require_axis(self.axis, "UnitNorm")

    def __call__(self, w: Array) -> Array:
        return w / (norms(w, self.axis) + EPSILON)


class MinMaxNorm(Constraint):
    """Norms between two bounds: w * (rate * clip(norm, min, max) + (1 - rate) * norm) / (norm + 1e-7).

    Args:
        min_value: the smallest norm allowed.
        max_value: the largest norm allowed.
        rate: 1 puts norms within the bounds at once, less moves them by that part of the way.
        axis: the axis or axes that each norm sums over.

    Raises:
        ValueError: the bounds are negative or the wrong way round, or `rate` is not in [0, 1].

    >>> MinMaxNorm(1.0, 2.0)(jnp.array([0.75, 0.0]))
    Array([0.9999999, 0.       ], dtype=float32)
    """

    min_value: float = 0.0
    max_value: float = 1.0
    rate: float = 1.0
    axis: Any = 0

    def validate(self) -> None:
        require_between(self.min_value, "min_value", "MinMaxNorm", 0, math.inf)
        require_between(self.max_value, "max_value", "MinMaxNorm", self.min_value, math.inf)
        require_between(self.rate, "rate", "MinMaxNorm", 0, 1)
        require_axis(self.axis, "MinMaxNorm")

    def __call__(self, w: Array) -> Array:
        norm = norms(w, self.axis)
        wanted = self.rate * jnp.clip(norm, self.min_value, self.max_value) + (1.0 - self.rate) * norm
        return w * (wanted / (norm + EPSILON))


def norms(w: Array, axis: int | tuple[int, ...]) -> Array:
    """Euclidean norms along `axis`, which stays with length 1; the gradient at 0 is 0."""
    squares = jnp.sum(jnp.square(w), axis=axis, keepdims=True)
    none = squares == 0
    return jnp.where(none, 0.0, jnp.sqrt(jnp.where(none, 1.0, squares)))


def require_axis(axis: Any, owner: str) -> None:
    """Refuses what is neither an integer nor several."""
    if not all(is_int(a) for a in (axis if isinstance(axis, tuple) else (axis,))):
        raise ValueError(f"{owner}: axis must be an integer or a list of them; got {axis!r}")


max_norm = maxnorm = MaxNorm
non_neg = nonneg = NonNeg
unit_norm = unitnorm = UnitNorm
min_max_norm = MinMaxNorm

NAMES: dict[str, Callable[[], Constraint]] = {
    **dict.fromkeys(("MaxNorm", "max_norm", "maxnorm"), MaxNorm),
    **dict.fromkeys(("NonNeg", "non_neg", "nonneg"), NonNeg),
    **dict.fromkeys(("UnitNorm", "unit_norm", "unitnorm"), UnitNorm),
    **dict.fromkeys(("MinMaxNorm", "min_max_norm"), MinMaxNorm),
}
"""Every name that `get` knows, and what it makes."""


def get(identifier: Any) -> Any:
    """The constraint that a name or class means; None stays None, a function of an array stays itself.

    Raises:
        ValueError: no constraint has this name.
        TypeError: neither a name nor callable.

    >>> get("unit_norm"), get(None)
    (UnitNorm(), None)
    """
    return None if identifier is None else look_up(identifier, NAMES, "constraint", "max_norm")
