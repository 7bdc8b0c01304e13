"""Convolutional recurrent layers: LSTMs whose states are pictures."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from kjax.nn import kernels
from kjax.nn.cell import KernelCell, States
from kjax.nn.cells import LSTMCell, forget_slowly
from kjax.nn.conv import Windowed
from kjax.nn.core import channels_back, channels_last
from kjax.nn.layer import Params, State
from kjax.nn.recurrent import Recurrent, step_of


class ConvLSTMCell(Windowed, KernelCell):  # type: ignore[override]
    """One step of a convolutional LSTM: `LSTMCell` with convolutions for products."""

    filters: int
    kernel_size: Any
    strides: Any = 1
    padding: str = "valid"
    data_format: str | None = None
    dilation_rate: Any = 1
    activation: Any = "tanh"
    recurrent_activation: Any = "sigmoid"
    use_bias: bool = True
    unit_forget_bias: bool = dataclasses.field(default=True, kw_only=True)
    implementation: int = dataclasses.field(default=1, kw_only=True)

    gates = 4
    counted = "filters"
    advance = LSTMCell.advance

    @property
    def gate_axis(self) -> int:  # type: ignore[override]
        return -self.rank - 1 if self.data_format == "channels_first" else -1

    def validate(self) -> None:
        Windowed.validate(self)
        KernelCell.validate(self)
        if max(self.strides) > 1 and max(self.dilation_rate) > 1:
            raise ValueError(
                f"{type(self).__name__}: strides={self.strides} and dilation_rate={self.dilation_rate} "
                "cannot both exceed 1"
            )

    def build(self, key: jax.Array, x: Any) -> tuple[Params, State]:
        size = 4 * self.filters
        shapes = {name: (*self.kernel_size, n, size) for name, n in self._channels(x).items()}
        params = self.weights(key, x.dtype, **shapes, **({"bias": (size,)} if self.use_bias else {}))
        return forget_slowly(params) if self.use_bias and self.unit_forget_bias else params, {}

    def _channels(self, x: Any) -> dict[str, int]:
        return {"kernel": x.shape[self.gate_axis], "recurrent_kernel": self.filters}

    def check_features(self, params: Params, x: Any) -> None:
        if x.shape[self.gate_axis] != params["kernel"].shape[-2]:
            self.refuse(f"was built for {params['kernel'].shape[-2]} channels at each step", x)

    def first_states(self, x: Any) -> States:
        kernel = jax.ShapeDtypeStruct((*self.kernel_size, x.shape[self.gate_axis], self.filters), x.dtype)
        shape = jax.eval_shape(self.input_product, x, kernel).shape
        return jnp.zeros(shape, x.dtype), jnp.zeros(shape, x.dtype)

    def input_product(self, x: Any, kernel: Any) -> Any:
        inner = x.ndim - self.rank - 1
        steps = channels_last(x.reshape(-1, *x.shape[inner:]), self.data_format)
        y = kernels.conv(steps, kernel, self.strides, self.padding, self.dilation_rate)
        y = channels_back(y, self.data_format)
        return y.reshape(*x.shape[:inner], *y.shape[1:])

    def with_bias(self, y: Any, params: Params) -> Any:
        if "bias" not in params:
            return y
        bias = params["bias"].reshape(-1, *[1] * (-self.gate_axis - 1))
        return y + jnp.expand_dims(bias, range(y.ndim - bias.ndim))

    def product(self, left: Any, weight: Any) -> Any:
        return channels_back(kernels.conv(channels_last(left, self.data_format), weight, 1, "same"), self.data_format)


class ConvLSTM(Recurrent, ConvLSTMCell):
    """Base of ConvLSTM1D, ConvLSTM2D, ConvLSTM3D."""

    @property
    def ndim(self) -> int:  # type: ignore[override]
        return self.rank + 3

    @property
    def axes(self) -> str:  # type: ignore[override]
        return ConvLSTMCell.axes.fget(self).replace("(batch, ", "(batch, time, ")  # type: ignore[attr-defined]

    def check_input(self, x: Any) -> None:
        super().check_input(x)
        if hasattr(x, "shape"):
            extent = ((k - 1) * d + 1 for k, d in zip(self.kernel_size, self.dilation_rate, strict=True))
            self.check_window(step_of(x), tuple(extent))


class ConvLSTM2D(ConvLSTM):
    """LSTM over sequences of pictures, with convolutions in the place of products.

    Args:
        filters: number of channels of the output and of each state.
        kernel_size: rows and columns of both windows, one integer for a square.
        strides: step of the inputs' window.
        padding: "valid" or "same" for the inputs; the states' convolution keeps their size.
        data_format: "channels_last" (the default) or "channels_first".
        dilation_rate: distance between the cells of the inputs' window.
        activation: of the candidate and the output.
        recurrent_activation: of the gates.
        use_bias: whether to add a bias.
        unit_forget_bias: whether the forget gate's bias begins at one.

    The other arguments are Keras's for weights and dropout (each gate has draws of its own), and those of `Recurrent`.
    Shapes: (batch, time, rows, cols, channels) -> (batch, new_rows, new_cols, filters), with the time axis for
    `return_sequences`; channels_first has the channels behind batch and time.

    Raises:
        ValueError: an argument out of its range.
        LayerError: an input of another rank or number of channels, or smaller than the window.

    Source: Shi et al., "Convolutional LSTM network", 2015 (without its peepholes, as Keras).

    >>> layer = ConvLSTM2D(3, 3, padding="same")
    >>> params, state = layer.init(jax.random.key(0), jnp.ones((1, 4, 6, 6, 1)))
    >>> layer.apply(params, state, jnp.ones((2, 4, 6, 6, 1)))[0].shape
    (2, 6, 6, 3)
    """


class ConvLSTM1D(ConvLSTM):
    """LSTM over sequences of sequences; the arguments are those of `ConvLSTM2D`, with one axis.

    Shapes: (batch, time, steps, channels) -> (batch, new_steps, filters).
    """

    rank = 1


class ConvLSTM3D(ConvLSTM):
    """LSTM over sequences of volumes; the arguments are those of `ConvLSTM2D`, with three axes.

    Shapes: (batch, time, depth, rows, cols, channels) -> (batch, new_depth, new_rows, new_cols, filters).
    """

    rank = 3
