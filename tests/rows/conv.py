"""Rows of `kjax.nn.conv`."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from case import OPTIONS, Case

from kjax import nn


def init(layer, shape):
    return layer.init(jax.random.key(0), jnp.ones(shape))


def apply(layer, built, given):
    return layer.apply(*init(layer, built), jnp.ones(given))


@dataclasses.dataclass
class Local:
    """Keras 2's LocallyConnected in float64 NumPy, place after place; to the test it is a layer of Keras."""

    taps: tuple[int, ...]
    strides: tuple[int, ...]
    pads: tuple[tuple[int, int], ...]
    activation: Callable = np.asarray
    channels_first: bool = False

    def build(self, shape):
        self.weights = []

    def set_weights(self, weights):
        self.weights = [np.asarray(w, np.float64) for w in weights]

    def get_weights(self):
        return self.weights

    def __call__(self, x, training):
        kernel, bias = self.weights
        x = np.moveaxis(x, 1, -1) if self.channels_first else x
        x = np.pad(x.astype(np.float64), [(0, 0), *self.pads, (0, 0)])
        y = np.zeros((len(x), *bias.shape))
        for weights, place in zip(kernel, np.ndindex(bias.shape[:-1]), strict=True):
            window = (slice(i * s, i * s + k) for i, s, k in zip(place, self.strides, self.taps, strict=True))
            met = x[(slice(None), *window)]
            met = np.moveaxis(met, -1, 1) if self.channels_first else met
            y[(slice(None), *place)] = met.reshape(len(x), -1) @ weights + bias[place]
        return self.activation(np.moveaxis(y, -1, 1) if self.channels_first else y)


ROWS = [
    Case(nn.Conv2D(4, 3), (2, 7, 6, 3), lambda k: k.Conv2D(4, 3)),
    Case(nn.Conv2D(4, (3, 2), strides=(2, 1), padding="same", activation="tanh"), (2, 7, 6, 3),
         lambda k: k.Conv2D(4, (3, 2), strides=(2, 1), padding="same", activation="tanh")),
    Case(nn.Conv2D(4, 3, strides=2, padding="same", use_bias=False), (2, 8, 7, 3),
         lambda k: k.Conv2D(4, 3, strides=2, padding="same", use_bias=False)),
    Case(nn.Conv2D(4, 3, dilation_rate=(2, 1), padding="same"), (2, 7, 6, 3), lambda k: k.Conv2D(4, 3, dilation_rate=(2, 1), padding="same")),
    Case(nn.Conv2D(4, 2, dilation_rate=2), (2, 7, 6, 1), lambda k: k.Conv2D(4, 2, dilation_rate=2)),
    Case(nn.Conv2D(4, 3, data_format="channels_first", **OPTIONS), (2, 3, 7, 6), lambda k: k.Conv2D(4, 3, data_format="channels_first")),
    Case(nn.Conv2D(4, 1), (2, 3, 3, 2), lambda k: k.Conv2D(4, 1)),
    Case(nn.Conv2D(6, 3, groups=2, padding="same"), (2, 5, 6, 4), lambda k: k.Conv2D(6, 3, groups=2, padding="same")),
    Case(nn.Conv2D(6, 3, strides=2, groups=3), (2, 5, 6, 3), lambda k: k.Conv2D(6, 3, strides=2, groups=3)),
    Case(nn.Conv1D(4, 3, padding="causal", dilation_rate=2), (2, 9, 3), lambda k: k.Conv1D(4, 3, padding="causal", dilation_rate=2)),
    Case(nn.Conv1D(4, 3, strides=2, padding="same", data_format="channels_first"), (2, 3, 9),
         lambda k: k.Conv1D(4, 3, strides=2, padding="same", data_format="channels_first")),
    Case(nn.Conv3D(2, (2, 3, 2), padding="same"), (2, 4, 5, 3, 2), lambda k: k.Conv3D(2, (2, 3, 2), padding="same")),
    Case(nn.Conv2DTranspose(3, 3, strides=2, padding="same", activation="tanh"), (2, 4, 3, 4),
         lambda k: k.Conv2DTranspose(3, 3, strides=2, padding="same", activation="tanh")),
    Case(nn.Conv2DTranspose(3, (3, 2), output_padding=0, use_bias=False, data_format="channels_first", dilation_rate=2), (2, 4, 5, 3),
         lambda k: k.Conv2DTranspose(3, (3, 2), output_padding=0, use_bias=False, data_format="channels_first", dilation_rate=2)),
    Case(nn.Conv1DTranspose(3, 4, strides=3, output_padding=1, **OPTIONS), (2, 5, 4), lambda k: k.Conv1DTranspose(3, 4, strides=3, output_padding=1)),
    Case(nn.Conv3DTranspose(2, 2, strides=(1, 2, 3), padding="same"), (2, 2, 3, 2, 2), lambda k: k.Conv3DTranspose(2, 2, strides=(1, 2, 3), padding="same")),
    Case(nn.DepthwiseConv2D(3, padding="same", depthwise_regularizer="l2", depthwise_constraint="max_norm", bias_regularizer="l1"), (2, 5, 6, 3),
         lambda k: k.DepthwiseConv2D(3, padding="same")),
    Case(nn.DepthwiseConv2D((3, 2), strides=2, depth_multiplier=2, data_format="channels_first", use_bias=False, activation="tanh"), (2, 3, 6, 5),
         lambda k: k.DepthwiseConv2D((3, 2), strides=2, depth_multiplier=2, data_format="channels_first", use_bias=False, activation="tanh")),
    Case(nn.DepthwiseConv1D(3, depth_multiplier=2, dilation_rate=2), (2, 8, 3), lambda k: k.DepthwiseConv1D(3, depth_multiplier=2, dilation_rate=2)),
    Case(nn.SeparableConv2D(4, 3, strides=2, padding="same", depth_multiplier=2, activation="tanh", pointwise_regularizer="l2",
                            depthwise_regularizer="l1", pointwise_constraint="unit_norm", bias_initializer="ones"), (2, 5, 6, 3),
         lambda k: k.SeparableConv2D(4, 3, strides=2, padding="same", depth_multiplier=2, activation="tanh")),
    Case(nn.SeparableConv1D(4, 3, data_format="channels_first", use_bias=False), (2, 3, 8),
         lambda k: k.SeparableConv1D(4, 3, data_format="channels_first", use_bias=False)),
    Case(nn.LocallyConnected1D(3, 2, strides=2, activation="tanh"), (2, 7, 2), lambda k: Local((2,), (2,), ((0, 0),), np.tanh)),
    Case(nn.LocallyConnected2D(2, (2, 3), padding="same", data_format="channels_first", **OPTIONS), (2, 3, 3, 4),
         lambda k: Local((2, 3), (1, 1), ((0, 1), (1, 1)), channels_first=True)),
]  # fmt: skip

MISTAKES = {
    "output padding above the strides": (lambda: nn.Conv2DTranspose(2, 3, strides=2, output_padding=(1, 2)), ["output_padding=(1, 2) must be below strides=(2, 2)"]),
    "negative output padding": (lambda: nn.Conv1DTranspose(2, 3, strides=2, output_padding=-1), ["output_padding must be at least 0"]),
    "output padding of three": (lambda: nn.Conv2DTranspose(2, 3, output_padding=(0, 0, 0)), ["output_padding is one integer or 2 of them"]),
    "causal transposed": (lambda: nn.Conv1DTranspose(2, 3, padding="causal"), ["Conv1DTranspose: unknown padding 'causal'"]),
    "transposed strides and dilation": (lambda: nn.Conv2DTranspose(2, 3, strides=2, dilation_rate=2), ["Conv2DTranspose: strides=(2, 2)", "dilation_rate=(2, 2)"]),
    "a transposed output of nothing": (lambda: init(nn.Conv1DTranspose(2, 2, padding="same", output_padding=0), (1, 1, 3)), ["empty output, (0,)", "leave it out"]),
    "filters of a transposed": (lambda: nn.Conv2DTranspose(0, 3), ["Conv2DTranspose: filters", "got 0"]),
    "other channels for a transposed": (lambda: apply(nn.Conv1DTranspose(2, 2), (1, 4, 3), (1, 4, 2)), ["was built for 3 channels", "(1, 4, 2)"]),
    "depth multiplier of zero": (lambda: nn.DepthwiseConv2D(3, depth_multiplier=0), ["DepthwiseConv2D: depth_multiplier", "got 0"]),
    "filters of a depthwise": (lambda: nn.DepthwiseConv2D(8, kernel_initializer="ones"), ["DepthwiseConv2D has no argument 'kernel_initializer'"]),
    "depthwise window above the input": (lambda: init(nn.DepthwiseConv1D(5), (1, 4, 3)), ["(5,)", "(4,)", "padding='same'"]),
    "other channels for a depthwise": (lambda: apply(nn.DepthwiseConv2D(2), (1, 4, 4, 3), (1, 4, 4, 2)), ["was built for 3 channels"]),
    "filters of a separable": (lambda: nn.SeparableConv2D(2.5, 3), ["SeparableConv2D: filters", "2.5"]),
    "another implementation": (lambda: nn.LocallyConnected2D(2, 3, implementation=2), ["LocallyConnected2D: implementation=2", "leave it out"]),
    "another size for local weights": (lambda: apply(nn.LocallyConnected1D(2, 2), (1, 5, 3), (1, 6, 3)), ["was built for 4 places, not 5"]),
    "dilated local weights": (lambda: nn.LocallyConnected2D(2, 3, dilation_rate=2), ["no argument 'dilation_rate'"]),
}  # fmt: skip
