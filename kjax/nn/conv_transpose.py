"""Transposed convolution: layers that enlarge pictures with learned weights."""

from typing import Any

import jax

from kjax.nn import kernels
from kjax.nn.conv import Convolution, channels_of
from kjax.nn.layer import Params, State, WeightOptions


class ConvTranspose(Convolution, WeightOptions):
    """Base of Conv1DTranspose, Conv2DTranspose, Conv3DTranspose."""

    filters: int
    kernel_size: Any
    strides: Any = 1
    padding: str = "valid"
    output_padding: Any = None
    data_format: str | None = None
    dilation_rate: Any = 1
    activation: Any = None
    use_bias: bool = True

    def validate(self) -> None:
        super().validate()
        extra = self.output_padding or (0,) * self.rank
        if any(e >= s for e, s in zip(extra, self.strides, strict=True)):
            raise ValueError(
                f"{type(self).__name__}: output_padding={extra} must be below strides={self.strides} on each axis"
            )

    def check_input(self, x: Any) -> None:
        settings = self.strides, self.padding, self.output_padding, self.dilation_rate
        size = kernels.transposed_window(self.spatial(x), self.kernel_size, *settings).size
        if min(size) < 1:
            self.refuse(f"would give an empty output, {size}", x, "raise output_padding, or leave it out")

    def build(self, key: jax.Array, x: Any) -> tuple[Params, State]:
        bias = {"bias": (self.filters,)} if self.use_bias else {}
        kernel = (*self.kernel_size, self.filters, channels_of(x, self.data_format))
        return self.weights(key, x.dtype, kernel=kernel, **bias), {}

    def channels(self, params: Params) -> int:
        return params["kernel"].shape[-1]

    def convolve(self, x: jax.Array, params: Params) -> jax.Array:
        settings = self.strides, self.padding, self.output_padding, self.dilation_rate
        return kernels.conv_transpose(x, params["kernel"], *settings)


class Conv2DTranspose(ConvTranspose):
    """2-D transposed convolution: each cell is multiplied by the kernel, and the products are added where they overlap.

    It goes the way of `Conv2D` backwards: with the same strides and padding, from the size of its output to one that
    its input may have had. With `extent = (kernel_size - 1) * dilation_rate + 1`, an axis becomes

        valid:  (size - 1) * strides + max(extent, strides)     or  (size - 1) * strides + extent + output_padding
        same:   size * strides                                  or  (size - 1) * strides + extent % 2 + output_padding

    where the second column is for a given `output_padding`.

    Args:
        filters: number of output channels.
        kernel_size: rows and columns of the window, one integer for a square.
        strides: distance of the windows of neighbouring cells.
        padding: "valid" (all that the windows reach) or "same" (`size * strides`; both ends cut off).
        output_padding: see above; less than `strides`.
        data_format: "channels_last" (the default) or "channels_first".
        dilation_rate: distance between the window's cells; only with strides of 1.
        activation: a name ("relu"), a function, or None for none.
        use_bias: whether to add a bias, one number for each filter.

    Shapes: (batch, rows, cols, channels) -> (batch, new_rows, new_cols, filters). The kernel is
    (rows, cols, filters, channels).

    Raises:
        ValueError: an argument out of its range.
        LayerError: an input of another rank or number of channels, or an output of no cells.

    Source: Keras's layer; Dumoulin and Visin, "A guide to convolution arithmetic for deep learning", 2016.

    >>> import jax.numpy as jnp
    >>> layer = Conv2DTranspose(8, 3, strides=2, padding="same", activation="relu")
    >>> params, state = layer.init(jax.random.key(0), jnp.ones((1, 7, 7, 16)))
    >>> layer.apply(params, state, jnp.ones((2, 7, 7, 16)))[0].shape
    (2, 14, 14, 8)
    """


class Conv1DTranspose(ConvTranspose):
    """1-D transposed convolution; `Conv2DTranspose` for (batch, steps, channels)."""

    rank = 1


class Conv3DTranspose(ConvTranspose):
    """3-D transposed convolution; `Conv2DTranspose` for (batch, depth, rows, cols, channels)."""

    rank = 3


Convolution1DTranspose = Conv1DTranspose
Convolution2DTranspose = Deconvolution2D = Deconv2D = Conv2DTranspose
Convolution3DTranspose = Deconvolution3D = Deconv3D = Conv3DTranspose
