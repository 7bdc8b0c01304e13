"""Layers that spread the values of each picture over its range, in training and otherwise."""

from typing import Any

import jax

from kjax.dtypes import at_least_float32
from kjax.frozen import pair, require_between, require_int
from kjax.nn import color, image
from kjax.nn.augment import check_range
from kjax.nn.conv import Windowed
from kjax.nn.core import channels_back, channels_last
from kjax.nn.layer import Params, State


class Contrast(Windowed):
    """Base of layers that define `one(self, picture)`, what becomes of a picture (rows, cols, channels) of floats."""

    computes_wide = True

    def validate(self) -> None:
        super().validate()
        check_range(self)

    def one(self, picture: jax.Array) -> jax.Array:
        """A single picture, changed."""
        raise NotImplementedError

    def call(self, params: Params, state: State, x: Any, training: bool, key: Any) -> tuple[Any, State]:
        last = channels_last(x, self._data_format)
        y = image.each(self, last.astype(at_least_float32(x.dtype))).astype(x.dtype)
        return channels_back(y, self._data_format), state


class AutoContrast(Contrast):
    """Stretches each channel of a picture linearly, so that its values fill the range; one of one value stays.

    Args:
        value_range: the pixels' least and largest value.
        data_format: "channels_last" (the default) or "channels_first".

    >>> import jax.numpy as jnp
    >>> AutoContrast().apply({}, {}, jnp.array([2.0, 3.0, 4.0]).reshape(1, 1, 3, 1))[0].ravel().tolist()
    [0.0, 127.5, 255.0]
    """

    value_range: Any = (0, 255)
    data_format: str | None = None

    def one(self, picture: jax.Array) -> jax.Array:
        return color.stretched(picture, self.value_range)


class Equalization(Contrast):
    """Spreads the values of each picture's channel so that all parts of the range hold equally many pixels.

    A value becomes the share of the channel's pixels that are in its bin or below, less those in the lowest bin, in
    steps of 1/255. A channel in one bin stays. (Keras 3.15 counts the whole batch in one histogram, and does nothing
    where it is told `training=False`.)

    Args:
        value_range: the pixels' least and largest value.
        bins: how many bins the histogram has.
        data_format: "channels_last" (the default) or "channels_first".

    >>> import jax.numpy as jnp
    >>> Equalization().apply({}, {}, jnp.array([2.0, 3.0, 4.0]).reshape(1, 1, 3, 1))[0].ravel().tolist()
    [0.0, 128.0, 255.0]
    """

    value_range: Any = (0, 255)
    bins: int = 256
    data_format: str | None = None

    def validate(self) -> None:
        super().validate()
        require_int(self.bins, "bins", "Equalization", least=2)

    def one(self, picture: jax.Array) -> jax.Array:
        return color.equalised(picture, self.value_range, self.bins)


class ContrastLimitedAdaptiveHistogramEqualization(Contrast):
    """CLAHE: equalization by the histograms of tiles, with a limit to how much contrast is amplified.

    Args:
        value_range: the pixels' least and largest value.
        clip_limit: how many times its even share of a tile's pixels a bin of the histogram (of 256) may hold; what is
            over is spread over all bins. 0 for no limit.
        tile_grid_size: how many tiles there are, (down, across).
        data_format: "channels_last" (the default) or "channels_first".

    Source: Zuiderveld, "Contrast limited adaptive histogram equalization", Graphics Gems IV, 1994; Keras.
    """

    value_range: Any = (0, 255)
    clip_limit: float = 4.0
    tile_grid_size: Any = (8, 8)
    data_format: str | None = None

    def convert(self, name: str, value: Any) -> Any:
        return pair(value, name, type(self).__name__) if name == "tile_grid_size" else super().convert(name, value)

    def validate(self) -> None:
        super().validate()
        require_between(self.clip_limit, "clip_limit", type(self).__name__, 0, float("inf"))

    def one(self, picture: jax.Array) -> jax.Array:
        return color.locally_equalised(picture, self.value_range, self.clip_limit, self.tile_grid_size)
