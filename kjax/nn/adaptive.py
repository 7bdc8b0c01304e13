"""Pooling into a given number of windows."""

from typing import Any

import jax
from jax import lax

from kjax.nn import kernels
from kjax.nn.conv import Windowed
from kjax.nn.core import channels_back, channels_last
from kjax.nn.layer import Params, State


class AdaptivePooling(Windowed):
    """Base of the adaptive pooling layers; a window is a box, so they pool one axis after the other."""

    output_size: Any
    data_format: str | None = None

    def call(self, params: Params, state: State, x: Any, training: bool, key: Any) -> tuple[Any, State]:
        y = channels_last(x, self.data_format)
        # The last axis first, so that of equal cells the first gets the gradient, row by row.
        for axis in reversed(range(1, y.ndim - 1)):
            y = self._along(y, axis, self.output_size[axis - 1])
        return channels_back(y, self.data_format), state

    def _along(self, x: jax.Array, axis: int, count: int) -> jax.Array:
        size = x.shape[axis]
        if size % count == 0:
            return self._pool(x, axis, size // count)
        bounds = [(i * size // count, -(-(i + 1) * size // count)) for i in range(count)]
        cells = [self._pool(lax.slice_in_dim(x, a, b, axis=axis), axis, b - a) for a, b in bounds]
        return lax.concatenate(cells, axis)

    def _pool(self, x: jax.Array, axis: int, length: int) -> jax.Array:
        return self.pool(x, tuple(length if a == axis else 1 for a in range(1, x.ndim - 1)))

    def pool(self, x: jax.Array, window: tuple[int, ...]) -> jax.Array:
        raise NotImplementedError


class AdaptiveMaxPooling(AdaptivePooling):
    """Base of the layers that keep the largest value of a window."""

    def pool(self, x: jax.Array, window: tuple[int, ...]) -> jax.Array:
        return kernels.max_pool(x, window)


class AdaptiveAveragePooling(AdaptivePooling):
    """Base of the layers that take the mean of a window."""

    def pool(self, x: jax.Array, window: tuple[int, ...]) -> jax.Array:
        return kernels.avg_pool(x, window)


class AdaptiveAveragePooling2D(AdaptiveAveragePooling):
    """The means of a picture's windows, as many as wanted whatever its size.

    Window i of n along an axis of `size` cells has the cells from floor(i * size / n) up to, without it,
    ceil((i + 1) * size / n): neighbours overlap where n does not divide the size.

    Args:
        output_size: rows and columns of the output, one integer for a square.
        data_format: "channels_last" (the default) or "channels_first".

    Shapes: (batch, rows, cols, channels) -> (batch, *output_size, channels).

    Source: PyTorch's and Keras 3's layers of the name.

    >>> import jax.numpy as jnp
    >>> AdaptiveAveragePooling2D((1, 2)).apply({}, {}, jnp.arange(3.0).reshape(1, 1, 3, 1))[0].ravel().tolist()
    [0.5, 1.5]
    """


class AdaptiveAveragePooling1D(AdaptiveAveragePooling):
    """The means of a given number of windows; `AdaptiveAveragePooling2D` for (batch, steps, channels)."""

    rank = 1


class AdaptiveAveragePooling3D(AdaptiveAveragePooling):
    """The means of a given number of windows; `AdaptiveAveragePooling2D` for (batch, depth, rows, cols, channels)."""

    rank = 3


class AdaptiveMaxPooling2D(AdaptiveMaxPooling):
    """The largest values of a picture's windows; arguments, windows and shapes are `AdaptiveAveragePooling2D`'s.

    >>> import jax.numpy as jnp
    >>> AdaptiveMaxPooling2D((1, 2)).apply({}, {}, jnp.arange(3.0).reshape(1, 1, 3, 1))[0].ravel().tolist()
    [1.0, 2.0]
    """


class AdaptiveMaxPooling1D(AdaptiveMaxPooling):
    """The largest values of a given number of windows; `AdaptiveMaxPooling2D` for (batch, steps, channels)."""

    rank = 1


class AdaptiveMaxPooling3D(AdaptiveMaxPooling):
    """The largest values of a given number of windows; that of 2-D for (batch, depth, rows, cols, channels)."""

    rank = 3
