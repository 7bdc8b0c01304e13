"""Weight penalties: frozen objects that map an array to a scalar of the same dtype, by Keras's names.

>>> import jax.numpy as jnp
>>> float(L2(0.5)(jnp.array([3.0, 4.0])))
12.5
>>> get("l1_l2")
L1L2(l1=0.01, l2=0.01)
"""

import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from kjax.frozen import Frozen, look_up


class Regularizer(Frozen):
    """Base of the penalties: subclasses define `__call__(self, x)`, which maps an array to a scalar."""

    def convert(self, name: str, value: Any) -> Any:
        """Numbers as Python's own: a NumPy scalar would bring its dtype along."""
        return value.item() if isinstance(value, np.generic) else super().convert(name, value)

    def __call__(self, x: Array) -> Array:
        """The penalty of `x`."""
        raise NotImplementedError(f"{type(self).__name__} defines no __call__(self, x)")


class L1L2(Regularizer):
    """`l1` * sum(|x|) + `l2` * sum(x^2), over all elements; the gradient of |x| at 0 is 0.

    Args:
        l1: factor of the sum of magnitudes; None means 0.
        l2: factor of the sum of squares; None means 0.

    Raises:
        ValueError: a factor is negative or not finite.

    >>> float(L1L2(l1=1.0, l2=0.5)(jnp.array([-3.0, 4.0])))
    19.5
    """

    l1: float = 0.0
    l2: float = 0.0

    def convert(self, name: str, value: Any) -> Any:
        return 0.0 if value is None else super().convert(name, value)

    def validate(self) -> None:
        require_factor(self.l1, "l1", "L1L2")
        require_factor(self.l2, "l2", "L1L2")

    def __call__(self, x: Array) -> Array:
        cost = jnp.zeros((), x.dtype)
        if self.l1:
            cost += self.l1 * jnp.sum(magnitude(x))
        if self.l2:
            cost += self.l2 * jnp.sum(jnp.square(x))
        return cost


class L1(Regularizer):
    """`l1` * sum(|x|), over all elements. Keras 2 calls the factor `l`, which works too.

    >>> float(L1(0.5)(jnp.array([-3.0, 4.0])))
    3.5
    """

    l1: float = 0.01

    @classmethod
    def translate(cls, kwargs: dict[str, Any]) -> dict[str, Any]:
        return {"l1" if name == "l" else name: value for name, value in kwargs.items()}

    def validate(self) -> None:
        require_factor(self.l1, "l1", "L1")

    def __call__(self, x: Array) -> Array:
        return self.l1 * jnp.sum(magnitude(x))


class L2(Regularizer):
    """`l2` * sum(x^2), over all elements. Keras 2 calls the factor `l`, which works too.

    >>> L2(l=0.5) == L2(0.5)
    True
    """

    l2: float = 0.01

    @classmethod
    def translate(cls, kwargs: dict[str, Any]) -> dict[str, Any]:
        return {"l2" if name == "l" else name: value for name, value in kwargs.items()}

    def validate(self) -> None:
        require_factor(self.l2, "l2", "L2")

    def __call__(self, x: Array) -> Array:
        return self.l2 * jnp.sum(jnp.square(x))


class OrthogonalRegularizer(Regularizer):
    """`factor` times the mean |cosine| between two rows (or columns) of a matrix; 0 for a single one.

    Args:
        factor: weight of the penalty.
        mode: "rows" or "columns", the vectors that should become orthogonal.

    Raises:
        ValueError: another mode, a bad factor, or an array that is no matrix.

    >>> float(OrthogonalRegularizer(0.5)(jnp.array([[1.0, 0.0], [2.0, 0.0]])))
    0.5
    """

    factor: float = 0.01
    mode: str = "rows"

    def validate(self) -> None:
        require_factor(self.factor, "factor", "OrthogonalRegularizer")
        if self.mode not in ("rows", "columns"):
            raise ValueError(f"OrthogonalRegularizer: mode must be 'rows' or 'columns'; got {self.mode!r}")

    def __call__(self, x: Array) -> Array:
        if x.ndim != 2:
            raise ValueError(f"{self!r} needs a matrix; got shape {x.shape}")
        rows = x if self.mode == "rows" else x.T
        pairs = rows.shape[0] * (rows.shape[0] - 1)
        # Norms of at least Keras's epsilon of 1e-7, so that a row of zeros has a gradient.
        rows = rows / jnp.sqrt(jnp.maximum(jnp.sum(jnp.square(rows), axis=1, keepdims=True), 1e-14))
        cosines = magnitude(jnp.matmul(rows, rows.T)) * (1.0 - jnp.eye(rows.shape[0], dtype=x.dtype))
        return self.factor * jnp.sum(cosines) / max(pairs, 1)


def magnitude(x: Array) -> Array:
    """|x|, whose gradient at 0 is 0; that of `jnp.abs` is 1 there."""
    return x * jnp.sign(x)


def require_factor(value: Any, name: str, owner: str) -> None:
    """Refuses what is not a finite number of at least 0."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ValueError(f"{owner}: {name} must be a number of at least 0; got {value!r}")


l1, l2, orthogonal_regularizer = L1, L2, OrthogonalRegularizer


def l1_l2(l1: float = 0.01, l2: float = 0.01) -> L1L2:
    """`L1L2` with other defaults, as in Keras.

    >>> l1_l2(l2=0.5)
    L1L2(l1=0.01, l2=0.5)
    """
    return L1L2(l1, l2)


NAMES: dict[str, Callable[[], Any]] = {
    "l1": L1,
    "l2": L2,
    "l1_l2": l1_l2,
    "L1": L1,
    "L2": L2,
    "L1L2": L1L2,
    "OrthogonalRegularizer": OrthogonalRegularizer,
    "orthogonal_regularizer": OrthogonalRegularizer,
}
"""Every name that `get` knows, and what it makes."""


def get(identifier: Any) -> Any:
    """The regularizer that a name or class means; None stays None, a function of an array stays itself.

    Raises:
        ValueError: no regularizer has this name.
        TypeError: neither a name nor callable.

    >>> get("l2"), get(None)
    (L2(), None)
    """
    if identifier is None:
        return None
    found = look_up(identifier, NAMES, "regularizer", "l2")
    return found() if found is l1_l2 else found
