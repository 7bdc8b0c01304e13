"""Convolutional layers."""

import dataclasses
from typing import Any, ClassVar

import jax

from kjax.activations import relu
from kjax.frozen import pair, require_int, suggest
from kjax.nn import kernels
from kjax.nn.core import add_bias, channels_back, channels_last, check_data_format
from kjax.nn.layer import Layer, Params, State, WeightOptions

PER_AXIS = {"output_padding": 0} | dict.fromkeys(
    ["kernel_size", "strides", "dilation_rate", "pool_size", "size", "output_size"], 1
)
"""The fields that are one integer or one per spatial axis, and the least that it may be."""


class Windowed(Layer):
    """What convolution, pooling and resizing share: spatial axes, and most often a window that moves over them."""

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
        if name in PER_AXIS and value is not None:
            return pair(value, name, type(self).__name__, self.rank, PER_AXIS[name])
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

    def spatial(self, x: Any) -> tuple[int, ...]:
        """The sizes of the spatial axes."""
        return tuple(x.shape[2:] if self._data_format == "channels_first" else x.shape[1:-1])

    def check_window(self, x: Any, window: tuple[int, ...]) -> None:
        """Refuses a window that does not fit into the input."""
        spatial = self.spatial(x)
        if getattr(self, "padding", "valid") == "valid" and any(k > n for k, n in zip(window, spatial, strict=True)):
            self.refuse(
                f"has a window of {window} cells, larger than its input of {spatial}: "
                "pass padding='same' or a smaller window",
                x,
            )


class Convolution(Windowed):
    """What convolutions of every kind share: checks before, bias and activation after. The fields are the kinds' own.

    A kind defines `build`, `convolve` and `channels`.
    """

    ends_in_activation = True

    def convolve(self, x: jax.Array, params: Params) -> jax.Array:
        """The convolution of `x`, which has its channels last."""
        raise NotImplementedError

    def activated(self, x: jax.Array, params: Params) -> jax.Array:
        """What the layer makes of `x`, which has its channels last."""
        own: Any = self
        y = add_bias(self.convolve(x, params), params)
        return own.activation(channels_back(y, own.data_format))

    def channels(self, params: Params) -> int:
        """The number of channels that the params were made for."""
        raise NotImplementedError

    def validate(self) -> None:
        super().validate()
        own: Any = self
        for name in ("filters", "groups", "depth_multiplier"):
            require_int(getattr(self, name, 1), name, type(self).__name__)
        if max(own.strides) > 1 and max(own.dilation_rate) > 1:
            raise ValueError(
                f"{type(self).__name__}: strides={own.strides} and dilation_rate={own.dilation_rate} "
                "cannot both exceed 1"
            )

    def check_input(self, x: Any) -> None:
        self.check_window(x, self.extent)

    @property
    def extent(self) -> tuple[int, ...]:
        """How many cells the window spans along each axis."""
        own: Any = self
        return tuple((k - 1) * d + 1 for k, d in zip(own.kernel_size, own.dilation_rate, strict=True))

    def call(self, params: Params, state: State, x: Any, training: bool, key: Any) -> tuple[Any, State]:
        own: Any = self
        last = channels_last(x, own.data_format)
        if last.shape[-1] != self.channels(params):
            self.refuse(f"was built for {self.channels(params)} channels", x)
        return self.activated(last, params), state


class Conv(Convolution, WeightOptions):
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

    def validate(self) -> None:
        super().validate()
        if self.filters % self.groups:
            raise ValueError(f"{type(self).__name__}: groups={self.groups} does not divide filters={self.filters}")

    def build(self, key: jax.Array, x: Any) -> tuple[Params, State]:
        channels = channels_of(x, self.data_format)
        if channels % self.groups:
            self.refuse(f"splits the channels into {self.groups} groups, which does not divide {channels}", x)
        bias = {"bias": (self.filters,)} if self.use_bias else {}
        kernel = (*self.kernel_size, channels // self.groups, self.filters)
        return self.weights(key, x.dtype, kernel=kernel, **bias), {}

    def channels(self, params: Params) -> int:
        return params["kernel"].shape[-2] * self.groups

    def activated(self, x: jax.Array, params: Params) -> jax.Array:
        if self.activation is not relu or self.groups > 1 or not self.use_bias:
            return super().activated(x, params)
        window = self.strides, self.padding, self.dilation_rate
        return channels_back(kernels.conv_relu(x, params["kernel"], params["bias"], *window), self.data_format)

    def convolve(self, x: jax.Array, params: Params) -> jax.Array:
        return kernels.grouped_conv(x, params["kernel"], self.groups, self.strides, self.padding, self.dilation_rate)


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

    >>> import jax.numpy as jnp
    >>> layer = Conv2D(32, (3, 3), activation="relu", input_shape=(28, 28, 1))
    >>> params, state = layer.init(jax.random.key(0), jnp.ones((1, 28, 28, 1)))
    >>> layer.apply(params, state, jnp.ones((2, 28, 28, 1)))[0].shape
    (2, 26, 26, 32)
    """


class Conv1D(Conv):
    """1-D convolution: sequences in, sequences out.

    The arguments are those of `Conv2D`, with one axis; padding "causal" adds zeros in front alone, so that no step
    sees a later one. Shapes: (batch, steps, channels) -> (batch, new_steps, filters).

    >>> import jax.numpy as jnp
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


def channels_of(x: Any, data_format: str | None) -> int:
    """The number of channels of an input."""
    return x.shape[1 if data_format == "channels_first" else -1]


Convolution1D, Convolution2D, Convolution3D = Conv1D, Conv2D, Conv3D
