"""Depthwise and separable convolution: each channel is convolved by itself."""

import dataclasses
from typing import Any

import jax

from kjax.nn import kernels
from kjax.nn.conv import Convolution, channels_of
from kjax.nn.layer import Params, State


class DepthwiseOptions(Convolution):
    """What depthwise and separable convolutions share: the options of their weights, and the maths."""

    depthwise_initializer: Any = dataclasses.field(default="glorot_uniform", kw_only=True)
    bias_initializer: Any = dataclasses.field(default="zeros", kw_only=True)
    depthwise_regularizer: Any = dataclasses.field(default=None, kw_only=True)
    bias_regularizer: Any = dataclasses.field(default=None, kw_only=True)
    activity_regularizer: Any = dataclasses.field(default=None, kw_only=True)
    depthwise_constraint: Any = dataclasses.field(default=None, kw_only=True)
    bias_constraint: Any = dataclasses.field(default=None, kw_only=True)

    def channels(self, params: Params) -> int:
        return params["depthwise"].shape[-2]

    def convolve(self, x: jax.Array, params: Params) -> jax.Array:
        own: Any = self
        kernel = params["depthwise"].reshape(*own.kernel_size, 1, -1)
        return kernels.grouped_conv(x, kernel, x.shape[-1], own.strides, own.padding, own.dilation_rate)


class DepthwiseConv(DepthwiseOptions):
    """Base of DepthwiseConv1D, DepthwiseConv2D."""

    kernel_size: Any
    strides: Any = 1
    padding: str = "valid"
    depth_multiplier: int = 1
    data_format: str | None = None
    dilation_rate: Any = 1
    activation: Any = None
    use_bias: bool = True

    def build(self, key: jax.Array, x: Any) -> tuple[Params, State]:
        channels = channels_of(x, self.data_format)
        bias = {"bias": (channels * self.depth_multiplier,)} if self.use_bias else {}
        depthwise = (*self.kernel_size, channels, self.depth_multiplier)
        return self.weights(key, x.dtype, depthwise=depthwise, **bias), {}


class DepthwiseConv2D(DepthwiseConv):
    """2-D convolution of each channel with `depth_multiplier` kernels of its own.

    Args:
        kernel_size: rows and columns of the window, one integer for a square.
        strides: step of the window.
        padding: "valid" (no padding) or "same" (output of ceil(size / stride)).
        depth_multiplier: number of outputs of each channel; those of a channel stand side by side.
        data_format: "channels_last" (the default) or "channels_first".
        dilation_rate: distance between the window's cells.
        activation: a name ("relu"), a function, or None for none.
        use_bias: whether to add a bias, one number for each output channel.

    Shapes: (batch, rows, cols, channels) -> (batch, new_rows, new_cols, channels * depth_multiplier). The weight
    `depthwise` is (rows, cols, channels, depth_multiplier); its options are `depthwise_initializer`,
    `depthwise_regularizer` and `depthwise_constraint`.

    Raises:
        ValueError: an argument out of its range.
        LayerError: an input of another rank or number of channels, or smaller than the window.

    >>> import jax.numpy as jnp
    >>> layer = DepthwiseConv2D(3, depth_multiplier=2)
    >>> params, state = layer.init(jax.random.key(0), jnp.ones((1, 8, 8, 4)))
    >>> layer.apply(params, state, jnp.ones((2, 8, 8, 4)))[0].shape
    (2, 6, 6, 8)
    """


class DepthwiseConv1D(DepthwiseConv):
    """1-D convolution of each channel by itself; `DepthwiseConv2D` for (batch, steps, channels).

    padding "causal" adds zeros in front alone, so that no step sees a later one.
    """

    rank = 1
    paddings = ("valid", "same", "causal")


class SeparableConv(DepthwiseOptions):
    """Base of SeparableConv1D, SeparableConv2D."""

    filters: int
    kernel_size: Any
    strides: Any = 1
    padding: str = "valid"
    data_format: str | None = None
    dilation_rate: Any = 1
    depth_multiplier: int = 1
    activation: Any = None
    use_bias: bool = True
    pointwise_initializer: Any = dataclasses.field(default="glorot_uniform", kw_only=True)
    pointwise_regularizer: Any = dataclasses.field(default=None, kw_only=True)
    pointwise_constraint: Any = dataclasses.field(default=None, kw_only=True)

    def build(self, key: jax.Array, x: Any) -> tuple[Params, State]:
        channels = channels_of(x, self.data_format)
        depthwise = (*self.kernel_size, channels, self.depth_multiplier)
        pointwise = (*(1,) * self.rank, channels * self.depth_multiplier, self.filters)
        bias = {"bias": (self.filters,)} if self.use_bias else {}
        return self.weights(key, x.dtype, depthwise=depthwise, pointwise=pointwise, **bias), {}

    def convolve(self, x: jax.Array, params: Params) -> jax.Array:
        return kernels.conv(super().convolve(x, params), params["pointwise"])


class SeparableConv2D(SeparableConv):
    """A depthwise 2-D convolution, then a 1x1 convolution that mixes the channels, then bias and activation.

    Args:
        filters: number of output channels.
        kernel_size, strides, padding, data_format, dilation_rate, depth_multiplier: those of `DepthwiseConv2D`.
        activation: a name ("relu"), a function, or None for none.
        use_bias: whether to add a bias, one number for each filter.

    Shapes: (batch, rows, cols, channels) -> (batch, new_rows, new_cols, filters). The weight `depthwise` is
    (rows, cols, channels, depth_multiplier), `pointwise` (1, 1, channels * depth_multiplier, filters); each has an
    initializer, a regularizer and a constraint under its name.

    Raises:
        ValueError: an argument out of its range.
        LayerError: an input of another rank or number of channels, or smaller than the window.

    Source: Chollet, "Xception: Deep Learning with Depthwise Separable Convolutions", 2017.

    >>> import jax.numpy as jnp
    >>> layer = SeparableConv2D(16, 3, padding="same")
    >>> params, state = layer.init(jax.random.key(0), jnp.ones((1, 8, 8, 4)))
    >>> layer.apply(params, state, jnp.ones((2, 8, 8, 4)))[0].shape
    (2, 8, 8, 16)
    """


class SeparableConv1D(SeparableConv):
    """1-D separable convolution; `SeparableConv2D` for (batch, steps, channels), and padding "causal"."""

    rank = 1
    paddings = ("valid", "same", "causal")


SeparableConvolution1D, SeparableConvolution2D = SeparableConv1D, SeparableConv2D
