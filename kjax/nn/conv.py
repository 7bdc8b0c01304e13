"""Convolutional layers."""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from kjax.frozen import is_int, pair, require_int, suggest
from kjax.nn import kernels
from kjax.nn.core import add_bias, channels_back, channels_last, check_data_format
from kjax.nn.layer import Layer, Params, State, WeightOptions


class Windowed(Layer):
    """What convolution and pooling share: a window that moves over the spatial axes.

    Fields that end in `_size`, `strides` and `dilation_rate` are one integer or one per spatial axis.
    """

    rank: ClassVar[int] = 2
    paddings: ClassVar[tuple[str, ...]] = ("valid", "same")

    @property
    def ndim(self) -> int:  # type: ignore[override]
        return self.rank + 2

    @property
    def axes(self) -> str:  # type: ignore[override]
        spatial = ["steps", "rows, cols", "depth, rows, cols"][self.rank - 1]
        return (
            f"(batch, channels, {spatial})"
            if self._data_format == "channels_first"
            else f"(batch, {spatial}, channels)"
        )

    @property
    def _data_format(self) -> str | None:
        return getattr(self, "data_format", None)

    def convert(self, name: str, value: Any) -> Any:
        if name in ("kernel_size", "strides", "dilation_rate", "pool_size") and value is not None:
            return pair(value, name, type(self).__name__, self.rank)
        if name == "padding" and isinstance(value, str):
            return value.lower()
        return super().convert(name, value)

    def validate(self) -> None:
        owner, padding = type(self).__name__, getattr(self, "padding", "valid")
        check_data_format(self._data_format, owner)
        if padding not in self.paddings:
            raise ValueError(f"{owner}: unknown padding {padding!r}.{suggest(str(padding), self.paddings)}")

    def rank_hint(self, x: Any) -> str:
        return "pictures without channels need an axis for them, x[..., None]" if len(x.shape) == self.ndim - 1 else ""

    def check_window(self, x: Any, window: tuple[int, ...]) -> None:
        """Refuses a window that does not fit into the input."""
        spatial = x.shape[2:] if self._data_format == "channels_first" else x.shape[1:-1]
        if getattr(self, "padding", "valid") == "valid" and any(k > n for k, n in zip(window, spatial, strict=True)):
            self.refuse(
                f"has a window of {window} cells, larger than its input of {tuple(spatial)}: "
                "pass padding='same' or a smaller window",
                x,
            )


class Conv(Windowed, WeightOptions):
    """Base of Conv1D, Conv2D, Conv3D: `activation(conv(x, kernel) + bias)`."""

    filters: int
    kernel_size: Any
    strides: Any = 1
    padding: str = "valid"
    data_format: str | None = None
    dilation_rate: Any = 1
    activation: Any = None
    use_bias: bool = True
    groups: int = dataclasses.field(default=1, kw_only=True)

    ends_in_activation = True

    def validate(self) -> None:
        super().validate()
        owner = type(self).__name__
        require_int(self.filters, "filters", owner)
        require_int(self.groups, "groups", owner)
        if self.filters % self.groups:
            raise ValueError(f"{owner}: groups={self.groups} does not divide filters={self.filters}")
        if max(self.strides) > 1 and max(self.dilation_rate) > 1:
            raise ValueError(
                f"{owner}: strides={self.strides} and dilation_rate={self.dilation_rate} cannot both exceed 1"
            )

    def check_input(self, x: Any) -> None:
        self.check_window(x, tuple((k - 1) * d + 1 for k, d in zip(self.kernel_size, self.dilation_rate, strict=True)))

    def build(self, key: jax.Array, x: Any) -> tuple[Params, State]:
        channels = x.shape[1 if self.data_format == "channels_first" else -1]
        if channels % self.groups:
            self.refuse(f"splits the channels into {self.groups} groups, which does not divide {channels}", x)
        bias = {"bias": (self.filters,)} if self.use_bias else {}
        kernel = (*self.kernel_size, channels // self.groups, self.filters)
        return self.weights(key, x.dtype, kernel=kernel, **bias), {}

    def call(self, params: Params, state: State, x: Any, training: bool, key: Any) -> tuple[Any, State]:
        kernel, last = params["kernel"], channels_last(x, self.data_format)
        if last.shape[-1] != kernel.shape[-2] * self.groups:
            self.refuse(f"was built for {kernel.shape[-2] * self.groups} channels", x)
        y = kernels.grouped_conv(last, kernel, self.groups, self.strides, self.padding, self.dilation_rate)
        return self.activation(channels_back(add_bias(y, params), self.data_format)), state


class Conv2D(Conv):
    """2-D convolution: pictures in, feature maps out.

    Args:
        filters: number of output channels.
        kernel_size: rows and columns of the window, one integer for a square.
        strides: step of the window.
        padding: "valid" (no padding) or "same" (output of ceil(size / stride)).
        data_format: "channels_last" (the default) or "channels_first".
        dilation_rate: distance between the window's cells.
        activation: a name ("relu"), a function, or None for none.
        use_bias: whether to add a bias, one number for each filter.
        groups: into how many groups channels and filters are split, each beside the others.

    Shapes: (batch, rows, cols, channels) -> (batch, new_rows, new_cols, filters); channels_first has the channels
    on axis 1. The kernel is (rows, cols, channels, filters) in both.

    Raises:
        ValueError: an argument out of its range.
        LayerError: an input of another rank or number of channels, or smaller than the window.

    >>> layer = Conv2D(32, (3, 3), activation="relu", input_shape=(28, 28, 1))
    >>> params, state = layer.init(jax.random.key(0), jnp.ones((1, 28, 28, 1)))
    >>> layer.apply(params, state, jnp.ones((2, 28, 28, 1)))[0].shape
    (2, 26, 26, 32)
    """


class Conv1D(Conv):
    """1-D convolution: sequences in, sequences out.

    The arguments are those of `Conv2D`, with one axis; padding "causal" adds zeros in front alone, so that no step
    sees a later one. Shapes: (batch, steps, channels) -> (batch, new_steps, filters).

    >>> Conv1D(8, 3, padding="causal").output(*Conv1D(8, 3).init(jax.random.key(0), jnp.ones((1, 9, 4))),
    ...                                       jnp.ones((2, 9, 4))).shape
    (2, 9, 8)
    """

    rank = 1
    paddings = ("valid", "same", "causal")


class Conv3D(Conv):
    """3-D convolution: volumes in, feature maps out.

    The arguments are those of `Conv2D`, with three axes.
    Shapes: (batch, depth, rows, cols, channels) -> (batch, new_depth, new_rows, new_cols, filters).
    """

    rank = 3


class ZeroPadding(Windowed):
    """Base of the layers that add zeros around."""

    padding: Any = 1
    data_format: str | None = None

    takes_integers = True

    def convert(self, name: str, value: Any) -> Any:
        return sides(value, type(self).__name__, self.rank) if name == "padding" else super().convert(name, value)

    def validate(self) -> None:
        check_data_format(self.data_format, type(self).__name__)

    def call(self, params: Params, state: State, x: Any, training: bool, key: Any) -> tuple[Any, State]:
        pads = (
            ((0, 0), (0, 0), *self.padding) if self.data_format == "channels_first" else ((0, 0), *self.padding, (0, 0))
        )
        return jnp.pad(x, pads), state


class ZeroPadding1D(ZeroPadding):
    """Adds steps of zeros: `padding` of them on both sides, or a pair (before, after).

    >>> ZeroPadding1D((2, 0)).apply({}, {}, jnp.ones((1, 3, 1)))[0].ravel().tolist()
    [0.0, 0.0, 1.0, 1.0, 1.0]
    """

    rank = 1

    def convert(self, name: str, value: Any) -> Any:
        flat = name == "padding" and isinstance(value, list | tuple) and len(value) == 2 and all(map(is_int, value))
        return super().convert(name, (value,) if flat else value)


class ZeroPadding3D(ZeroPadding):
    """Adds planes, rows and columns of zeros; `padding` is that of `ZeroPadding2D`, for three axes."""

    rank = 3


class ZeroPadding2D(ZeroPadding):
    """Adds rows and columns of zeros.

    Args:
        padding: one integer for all sides; a pair (rows, cols); or ((top, bottom), (left, right)).
        data_format: "channels_last" (the default) or "channels_first".

    >>> ZeroPadding2D(((1, 0), (2, 2))).apply({}, {}, jnp.ones((1, 3, 3, 1)))[0].shape
    (1, 4, 7, 1)
    """


def sides(value: Any, owner: str, n: int) -> tuple[tuple[int, int], ...]:
    """What to add before and after each of `n` axes.

    >>> sides((1, (2, 3)), "ZeroPadding2D", 2)
    ((1, 1), (2, 3))
    """
    values = (value,) * n if is_int(value) else value
    if not isinstance(values, list | tuple) or len(values) != n:
        raise ValueError(f"{owner}: padding is an integer, {n} integers, or {n} pairs (before, after); got {value!r}")
    return tuple(pair(v, "padding", owner, 2, least=0) for v in values)  # type: ignore[misc]
