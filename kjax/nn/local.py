"""Locally connected layers: convolution with other weights at each place."""

import math
from typing import Any

import jax
import jax.numpy as jnp

from kjax.nn import kernels
from kjax.nn.conv import Convolution, channels_of
from kjax.nn.layer import Params, State, WeightOptions


class LocallyConnected(Convolution, WeightOptions):
    """Base of LocallyConnected1D, LocallyConnected2D."""

    filters: int
    kernel_size: Any
    strides: Any = 1
    padding: str = "valid"
    data_format: str | None = None
    activation: Any = None
    use_bias: bool = True
    implementation: int = 1

    @property
    def dilation_rate(self) -> tuple[int, ...]:
        return (1,) * self.rank

    def validate(self) -> None:
        super().validate()
        if self.implementation != 1:
            raise ValueError(
                f"{type(self).__name__}: implementation={self.implementation!r} is another way in which Keras 2 stores "
                "the same weights; leave it out, padding='same' works without it"
            )

    def build(self, key: jax.Array, x: Any) -> tuple[Params, State]:
        out = self._window(self.spatial(x)).out
        taken = math.prod(self.kernel_size) * channels_of(x, self.data_format)
        bias = {"bias": (*out, self.filters)} if self.use_bias else {}
        return self.weights(key, x.dtype, kernel=(math.prod(out), taken, self.filters), **bias), {}

    def channels(self, params: Params) -> int:
        return params["kernel"].shape[1] // math.prod(self.kernel_size)

    def convolve(self, x: jax.Array, params: Params) -> jax.Array:
        window, kernel = self._window(x.shape[1:-1]), params["kernel"]
        if math.prod(window.out) != kernel.shape[0]:
            self.refuse(f"was built for {kernel.shape[0]} places, not {math.prod(window.out)}", x)
        # Keras 2 flattens what a window meets in the order of its data format.
        axis = -1 if self.data_format == "channels_first" else -2
        met = jnp.stack(list(kernels.taps(x, window)), axis).reshape(x.shape[0], *kernel.shape[:2])
        return jnp.einsum("npi,pif->npf", met, kernel).reshape(x.shape[0], *window.out, self.filters)

    def _window(self, size: tuple[int, ...]) -> Any:
        return kernels.make_window(type(self).__name__, size, self.kernel_size, self.strides, self.padding)


class LocallyConnected2D(LocallyConnected):
    """2-D convolution whose kernel and bias differ from place to place.

    Args:
        filters: number of output channels.
        kernel_size: rows and columns of the window, one integer for a square.
        strides: step of the window.
        padding: "valid" (no padding) or "same" (output of ceil(size / stride)).
        data_format: "channels_last" (the default) or "channels_first".
        activation: a name ("relu"), a function, or None for none.
        use_bias: whether to add a bias, one number for each place and filter.
        implementation: only 1, the way in which Keras 2 stores the weights by default.

    Shapes: (batch, rows, cols, channels) -> (batch, new_rows, new_cols, filters). The kernel is
    (new_rows * new_cols, kernel_rows * kernel_cols * channels, filters), the bias (new_rows, new_cols, filters).

    Raises:
        ValueError: an argument out of its range.
        LayerError: an input of another rank or size than at `init`, or smaller than the window.

    Source: Keras 2's layer.

    >>> layer = LocallyConnected2D(4, 3)
    >>> params, state = layer.init(jax.random.key(0), jnp.ones((1, 5, 6, 2)))
    >>> params["kernel"].shape, layer.apply(params, state, jnp.ones((2, 5, 6, 2)))[0].shape
    ((12, 18, 4), (2, 3, 4, 4))
    """


class LocallyConnected1D(LocallyConnected):
    """1-D convolution whose weights differ from step to step; `LocallyConnected2D` for (batch, steps, channels)."""

    rank = 1
