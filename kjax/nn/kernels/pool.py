"""Pooling, channels last, over any number of spatial axes; fast on CPU, gradients and loops included.

A window is a box, so its maximum and its mean come one axis after the other: 6 cells to read for 3x3, not 9.
XLA's `reduce_window` is nearly as fast, but its gradient is not: forward and gradient together are 9 to 18
times faster here for the maximum, 1.5 to 2.3 times for the mean (windows of 2x2, and of 3x3 in strides of 2,
in a loop, on 2 cores, AVX-512). All axes at once were 1.5 times slower where windows overlap.
"""

from functools import partial, reduce
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from .conv import Padding, Setting, make_window


class Line(NamedTuple):
    """A pooling window along one axis of the array."""

    axis: int
    size: int
    window: int
    stride: int
    padding: tuple[int, int]

    @property
    def long(self) -> bool:
        """Side by side, and too long to unroll: summed as rows, 8 cells are 2 times faster, 14 cells 5 times."""
        return self.window == self.stride >= 8


def max_pool(x: Array, window: Setting, strides: Setting | None = None, padding: Padding = "valid") -> Array:
    """The largest cell of each window; where several are equal, the gradient goes to the first, row by row.

    Args:
        x: `(batch, *spatial, channels)`, floating point.
        window: cells along each spatial axis, one number for all or one for each.
        strides: step of the window, likewise; the window itself when left out.
        padding: `"valid"` (none), `"same"` (so that `ceil(size / strides)` windows come out), or a pair
            `(before, after)` for each spatial axis. Padding never is the largest cell.

    Returns:
        `(batch, *out, channels)`.

    Raises:
        ValueError: where ranks or settings disagree, or the window exceeds the padded input.

    >>> import jax, jax.numpy as jnp
    >>> x = jnp.asarray([1.0, 3.0, 3.0, 2.0]).reshape(1, 4, 1)
    >>> max_pool(x, 2).ravel().tolist(), jax.grad(lambda x: max_pool(x, 4).sum())(x).ravel().tolist()
    ([3.0, 3.0], [0.0, 1.0, 0.0, 0.0])
    """
    # The last axis first: the first best cell of the first best row is the first of all best cells.
    for line in reversed(_lines("max_pool", x, window, strides, padding)):
        x = _max_along(x, line)
    return x


def avg_pool(x: Array, window: Setting, strides: Setting | None = None, padding: Padding = "valid") -> Array:
    """The mean of each window's real cells: padding counts for nothing.

    Arguments, result and errors are those of `max_pool`.

    >>> import jax.numpy as jnp
    >>> avg_pool(jnp.asarray([1.0, 3.0, 5.0]).reshape(1, 3, 1), 2, padding="same").ravel().tolist()
    [2.0, 5.0]
    """
    lines = _lines("avg_pool", x, window, strides, padding)
    # A sum of many halves would be rounded at each step.
    y = x.astype(jnp.float32) if jnp.finfo(x.dtype).bits < 32 else x
    for line in lines:
        y = _mean_along(y, line)
    return y.astype(x.dtype)


def _lines(owner: str, x: Array, window: Setting, strides: Setting | None, padding: Padding) -> list[Line]:
    if x.ndim < 3 or not jnp.issubdtype(x.dtype, jnp.floating):
        raise ValueError(f"{owner}: x is (batch, *spatial, channels), floating point; got {x.shape} of {x.dtype}")
    strides = window if strides is None else strides
    size, taps, steps, pairs, _ = make_window(owner, x.shape[1:-1], window, strides, padding)
    if any(max(pair) >= k for k, pair in zip(taps, pairs, strict=True)):
        raise ValueError(f"{owner}: a window of {taps} could see nothing but padding; got padding={padding!r}")
    return [Line(*line) for line in zip(range(1, x.ndim - 1), size, taps, steps, pairs, strict=True)]


def _pad(x: Array, line: Line, fill: float) -> Array:
    """Pads the axis; cells behind the last window go."""
    before, after = line.padding
    surplus = (line.size + before + after - line.window) % line.stride
    edges = [(0, 0, 0)] * x.ndim
    edges[line.axis] = (before, after - surplus, 0)
    return lax.pad(x, jnp.asarray(fill, x.dtype), edges)


def _rows(x: Array, line: Line, fill: float) -> Array:
    """The axis in two, windows and their cells, for windows that lie side by side."""
    x = _pad(x, line, fill)
    return x.reshape(*x.shape[: line.axis], -1, line.window, *x.shape[line.axis + 1 :])


def _cells(x: Array, line: Line, fill: float) -> list[Array]:
    """The first cell of every window, the second of every window, …"""
    x = _pad(x, line, fill)
    last = x.shape[line.axis] - line.window
    return [lax.slice_in_dim(x, t, t + last + 1, line.stride, line.axis) for t in range(line.window)]


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def _max_along(x: Array, line: Line) -> Array:
    if line.long:
        return _rows(x, line, -np.inf).max(line.axis + 1)
    return reduce(jnp.maximum, _cells(x, line, -np.inf))


@_max_along.defjvp
def _max_along_jvp(line: Line, primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    return _max_along(*primals, line), _pick(*tangents, _winner(*primals, line), line)


def _winner(x: Array, line: Line) -> Array:
    """Which of its window's cells is the largest, the first of equals."""
    if line.long:
        return lax.argmax(_rows(lax.stop_gradient(x), line, -np.inf), line.axis + 1, np.int32)
    best, *others = _cells(lax.stop_gradient(x), line, -np.inf)
    # What the gradient keeps instead of x, as narrow as it can be.
    winner = jnp.zeros_like(best, np.min_scalar_type(line.window))
    for t, cell in enumerate(others, 1):
        winner = jnp.where(cell > best, winner.dtype.type(t), winner)
        best = jnp.maximum(best, cell)
    return winner


def _pick(x: Array, winner: Array, line: Line) -> Array:
    """The winner of each window: linear in x, so that its transpose hands the gradient back to the winner."""
    ids = jnp.arange(line.window, dtype=winner.dtype)
    if line.window != line.stride:
        cells = zip(ids, _cells(x, line, 0), strict=True)
        return reduce(jnp.add, (jnp.where(winner == t, cell, jnp.zeros_like(cell)) for t, cell in cells))
    # Windows side by side are the rows of a matrix: 1.7 times faster at 2x2 than a sum over strided cells.
    rows, after = _rows(x, line, 0), line.axis + 1
    chosen = jnp.expand_dims(winner, after) == _column(ids, after, rows.ndim)
    return jnp.where(chosen, rows, jnp.zeros_like(rows)).sum(after)


def _mean_along(x: Array, line: Line) -> Array:
    real = reduce(jnp.add, _cells(jnp.ones(line.size, x.dtype), line._replace(axis=0), 0))
    total = _rows(x, line, 0).sum(line.axis + 1) if line.long else reduce(jnp.add, _cells(x, line, 0))
    return total / _column(real, line.axis, x.ndim)


def _column(values: Array, axis: int, ndim: int) -> Array:
    """A vector laid along one axis of `ndim`."""
    return values.reshape((1,) * axis + (-1,) + (1,) * (ndim - axis - 1))
