"""Pooling layers: the largest or the mean value of each window."""

from typing import Any

import jax.numpy as jnp

from kjax.nn import kernels
from kjax.nn.conv import Windowed
from kjax.nn.core import channels_back, channels_last
from kjax.nn.layer import Params, State
from kjax.nn.mask import over, unmask


class Pooling(Windowed):
    """Base of the pooling layers: a window of `pool_size` cells that moves by `strides` (by default its own size)."""

    pool_size: Any = 2
    strides: Any = None
    padding: str = "valid"
    data_format: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.strides is None:
            object.__setattr__(self, "strides", self.pool_size)

    def check_input(self, x: Any) -> None:
        self.check_window(x, self.pool_size)

    def call(self, params: Params, state: State, x: Any, training: bool, key: Any) -> tuple[Any, State]:
        y = self.pool(channels_last(x, self.data_format))
        return channels_back(y, self.data_format), state

    def pool(self, x: Any) -> Any:
        raise NotImplementedError


class MaxPooling(Pooling):
    """Base of the layers that keep the largest value of a window."""

    def pool(self, x: Any) -> Any:
        return kernels.max_pool(x, self.pool_size, self.strides, self.padding)


class AveragePooling(Pooling):
    """Base of the layers that take the mean of a window."""

    def pool(self, x: Any) -> Any:
        return kernels.avg_pool(x, self.pool_size, self.strides, self.padding)


class MaxPooling2D(MaxPooling):
    """The largest value in each window of a picture.

    Args:
        pool_size: rows and columns of the window.
        strides: step of the window; None for its own size.
        padding: "valid" (windows that lie inside) or "same" (output of ceil(size / stride)).
        data_format: "channels_last" (the default) or "channels_first".

    Shapes: (batch, rows, cols, channels) -> (batch, new_rows, new_cols, channels).

    >>> MaxPooling2D((2, 2)).apply({}, {}, jnp.arange(16.0).reshape(1, 4, 4, 1))[0].ravel().tolist()
    [5.0, 7.0, 13.0, 15.0]
    """


class MaxPooling1D(MaxPooling):
    """The largest value in each window of steps; `MaxPooling2D` for (batch, steps, channels)."""

    rank = 1


class MaxPooling3D(MaxPooling):
    """The largest value in each window of a volume; `MaxPooling2D` for (batch, depth, rows, cols, channels)."""

    rank = 3


class AveragePooling2D(AveragePooling):
    """The mean of each window of a picture; with padding "same" only of the cells that lie inside.

    The arguments and shapes are those of `MaxPooling2D`.

    >>> AveragePooling2D((2, 2)).apply({}, {}, jnp.arange(16.0).reshape(1, 4, 4, 1))[0].ravel().tolist()
    [2.5, 4.5, 10.5, 12.5]
    """


class AveragePooling1D(AveragePooling):
    """The mean of each window of steps; `AveragePooling2D` for (batch, steps, channels)."""

    rank = 1


class AveragePooling3D(AveragePooling):
    """The mean of each window of a volume; `AveragePooling2D` for (batch, depth, rows, cols, channels)."""

    rank = 3


class GlobalPooling(Windowed):
    """Base of the layers that pool over all spatial axes."""

    data_format: str | None = None
    keepdims: bool = False

    def call(self, params: Params, state: State, x: Any, training: bool, key: Any) -> tuple[Any, State]:
        spatial = tuple(range(2, x.ndim)) if self.data_format == "channels_first" else tuple(range(1, x.ndim - 1))
        return self.reduce(x, spatial), state

    def reduce(self, x: Any, axes: tuple[int, ...]) -> Any:
        raise NotImplementedError


class GlobalMaxPooling(GlobalPooling):
    """Base of the layers that keep the largest value of each channel."""

    def reduce(self, x: Any, axes: tuple[int, ...]) -> Any:
        return jnp.max(x, axis=axes, keepdims=self.keepdims)


class GlobalAveragePooling(GlobalPooling):
    """Base of the layers that take the mean of each channel."""

    computes_wide = True

    def reduce(self, x: Any, axes: tuple[int, ...]) -> Any:
        return jnp.mean(x, axis=axes, keepdims=self.keepdims)


class GlobalMaxPooling1D(GlobalMaxPooling):
    """The largest value of each channel: (batch, steps, channels) -> (batch, channels)."""

    rank = 1


class GlobalMaxPooling2D(GlobalMaxPooling):
    """The largest value of each channel: (batch, rows, cols, channels) -> (batch, channels).

    Args:
        data_format: "channels_last" (the default) or "channels_first".
        keepdims: True keeps the spatial axes, of size 1.
    """


class GlobalMaxPooling3D(GlobalMaxPooling):
    """The largest value of each channel: (batch, depth, rows, cols, channels) -> (batch, channels)."""

    rank = 3


class GlobalAveragePooling1D(GlobalAveragePooling):
    """The mean of each channel over the steps, masked ones left out: (batch, steps, channels) -> (batch, channels)."""

    rank = 1
    takes_mask = True

    def call(self, params: Params, state: State, x: Any, training: bool, key: Any) -> tuple[Any, State]:
        value, mask = unmask(x)
        if mask is None or mask.ndim < 2 or self.data_format == "channels_first":
            return super().call(params, state, value, training, key)
        real = over(mask, value)
        total = jnp.where(real, value, jnp.zeros((), value.dtype)).sum(1, keepdims=self.keepdims)
        count = jnp.maximum(real.sum(1, keepdims=self.keepdims), 1)
        return total / count.astype(value.dtype), state


class GlobalAveragePooling2D(GlobalAveragePooling):
    """The mean of each channel: (batch, rows, cols, channels) -> (batch, channels).

    The arguments are those of `GlobalMaxPooling2D`.
    """


class GlobalAveragePooling3D(GlobalAveragePooling):
    """The mean of each channel: (batch, depth, rows, cols, channels) -> (batch, channels)."""

    rank = 3


MaxPool1D, MaxPool2D, MaxPool3D = MaxPooling1D, MaxPooling2D, MaxPooling3D
AvgPool1D, AvgPool2D, AvgPool3D = AveragePooling1D, AveragePooling2D, AveragePooling3D
GlobalMaxPool1D, GlobalMaxPool2D, GlobalMaxPool3D = GlobalMaxPooling1D, GlobalMaxPooling2D, GlobalMaxPooling3D
GlobalAvgPool1D, GlobalAvgPool2D, GlobalAvgPool3D = (
    GlobalAveragePooling1D,
    GlobalAveragePooling2D,
    GlobalAveragePooling3D,
)
