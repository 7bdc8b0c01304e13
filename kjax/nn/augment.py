"""Layers that change each picture in a way of its own in training, and not at all otherwise."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from kjax.dtypes import at_least_float32
from kjax.frozen import is_int, suggest
from kjax.nn import image
from kjax.nn.conv import Windowed
from kjax.nn.core import channels_back, channels_last
from kjax.nn.layer import Params, State
from kjax.nn.preprocess import check_size, fits

MODES = {"horizontal": (1,), "vertical": (0,), "horizontal_and_vertical": (0, 1)}


class Augment(Windowed):
    """Base of layers that draw a change for each picture of a batch, in training alone.

    A subclass defines `one(self, key, picture)`, what happens to a single picture (rows, cols, channels) in float32
    or wider. A field `seed`, an integer, is mixed into the key, for another draw from the same key. What a picture
    becomes depends on the key and on its place in the batch, not on how many others there are.
    """

    draws = True
    computes_wide = True

    def validate(self) -> None:
        super().validate()
        check_seed(self)

    def one(self, key: jax.Array, picture: jax.Array) -> jax.Array:
        """A single picture, changed."""
        raise NotImplementedError

    def call(self, params: Params, state: State, x: Any, training: bool, key: Any) -> tuple[Any, State]:
        if not training:
            return x, state
        last = channels_last(x, self._data_format)
        keys = jax.vmap(jax.random.fold_in, (None, 0))(seeded(self, key), jnp.arange(len(last)))
        y = image.each(self, keys, last.astype(at_least_float32(x.dtype))).astype(x.dtype)
        return channels_back(y, self._data_format), state


class RandomFlip(Augment):
    """Flips half of the pictures.

    Args:
        mode: "horizontal" (left and right change places), "vertical", or "horizontal_and_vertical", where a coin is
            tossed for each of the two (Keras 3.15 tosses one for both).
        seed: an integer mixed into the key.
        data_format: "channels_last" (the default) or "channels_first".

    >>> x = jnp.tile(jnp.array([0.0, 1.0]).reshape(1, 1, 2, 1), (9, 1, 1, 1))
    >>> y, _ = RandomFlip("horizontal").apply({}, {}, x, training=True, key=jax.random.key(0))
    >>> sorted({tuple(row) for row in y[:, 0, :, 0].tolist()})
    [(0.0, 1.0), (1.0, 0.0)]
    """

    mode: str = "horizontal_and_vertical"
    seed: int | None = None
    data_format: str | None = None

    def validate(self) -> None:
        super().validate()
        check_name(self, "mode", MODES)

    def one(self, key: jax.Array, picture: jax.Array) -> jax.Array:
        coins = jax.random.bernoulli(key, shape=(2,))
        for axis in MODES[self.mode]:
            picture = jnp.where(coins[axis], jnp.flip(picture, axis), picture)
        return picture


class RandomCrop(Augment):
    """Cuts a window of `height` × `width` pixels out of each picture, in training at a place of its own.

    Otherwise, and where pictures are smaller than the window, the largest window in the middle with the same aspect
    ratio is resized to it (as Keras documents it; Keras 3.15 lets pictures through as they are at inference, and
    cuts a whole batch at one place).

    Args:
        height: rows of the output.
        width: columns of the output.
        seed: an integer mixed into the key.
        data_format: "channels_last" (the default) or "channels_first".

    Shapes: (batch, rows, cols, channels) -> (batch, height, width, channels).
    """

    height: int
    width: int
    seed: int | None = None
    data_format: str | None = None

    def validate(self) -> None:
        super().validate()
        check_size(self)

    def one(self, key: jax.Array, picture: jax.Array) -> jax.Array:
        room = jnp.array([picture.shape[0] - self.height + 1, picture.shape[1] - self.width + 1])
        top, left = jax.random.randint(key, (2,), 0, room)
        return jax.lax.dynamic_slice(picture, (top, left, 0), (self.height, self.width, picture.shape[2]))

    def call(self, params: Params, state: State, x: Any, training: bool, key: Any) -> tuple[Any, State]:
        last = channels_last(x, self.data_format)
        if training and fits(self, last):
            return super().call(params, state, x, training, key)
        return channels_back(image.fit(last, self.height, self.width), self.data_format), state


class RandomAffine(Augment):
    """Base of the layers that turn, stretch and move pictures: the fields say what fills the gaps.

    A subclass defines `motion(self, key, size)`: the matrix that takes a pixel's way from the centre to that of its
    source, and how far the picture moves, in pixels. `size` is (rows, cols).
    """

    def validate(self) -> None:
        super().validate()
        check_name(self, "fill_mode", image.FILL_MODES)
        check_name(self, "interpolation", image.INTERPOLATIONS)

    def motion(self, key: jax.Array, size: jax.Array) -> tuple[jax.Array, jax.Array]:
        raise NotImplementedError

    def one(self, key: jax.Array, picture: jax.Array) -> jax.Array:
        size = jnp.array(picture.shape[:2], picture.dtype)
        matrix, shift = self.motion(key, size)
        centre = (size - 1) / 2
        offset = centre - (matrix * (centre + shift)[None]).sum(1)
        return image.affine(picture, matrix, offset, self.interpolation, self.fill_mode, self.fill_value)  # type: ignore[attr-defined]


class RandomRotation(RandomAffine):
    """Turns each picture about its centre.

    Args:
        factor: the largest angle as a share of a full turn, or a range (least, largest); positive ones turn
            counter-clockwise. 0.1 means -36° … 36°.
        fill_mode: what lies outside of a picture: "constant", "nearest", "reflect" or "wrap"; see
            `kjax.nn.image.affine`.
        interpolation: "bilinear" or "nearest".
        seed: an integer mixed into the key.
        fill_value: what "constant" fills with.
        data_format: "channels_last" (the default) or "channels_first".

    >>> x = jnp.arange(4.0).reshape(1, 2, 2, 1)
    >>> y, _ = RandomRotation((0.25, 0.25)).apply({}, {}, x, training=True, key=jax.random.key(0))
    >>> y[0, :, :, 0].round().tolist()
    [[1.0, 3.0], [0.0, 2.0]]
    """

    factor: Any
    fill_mode: str = "reflect"
    interpolation: str = "bilinear"
    seed: int | None = None
    fill_value: float = 0.0
    data_format: str | None = None

    def convert(self, name: str, value: Any) -> Any:
        return span(value, name, "RandomRotation") if name == "factor" else super().convert(name, value)

    def motion(self, key: jax.Array, size: jax.Array) -> tuple[jax.Array, jax.Array]:
        angle = 2 * math.pi * uniform(key, self.factor, size.dtype)
        cos, sin = jnp.cos(angle), jnp.sin(angle)
        return jnp.stack([jnp.stack([cos, sin]), jnp.stack([-sin, cos])]), jnp.zeros_like(size)


class RandomZoom(RandomAffine):
    """Zooms each picture out or in, about its centre.

    Args:
        height_factor: by how much rows are stretched, as a share: 0.2 means -20 % … 20 %, or a range (least, largest)
            above -1; positive ones zoom out, negative ones in.
        width_factor: likewise for columns; None for the same draw as the rows', which keeps the aspect ratio.
        fill_mode, interpolation, seed, fill_value, data_format: as in `RandomRotation`.
    """

    height_factor: Any
    width_factor: Any = None
    fill_mode: str = "reflect"
    interpolation: str = "bilinear"
    seed: int | None = None
    fill_value: float = 0.0
    data_format: str | None = None

    def convert(self, name: str, value: Any) -> Any:
        factor = name == "height_factor" or (name == "width_factor" and value is not None)
        return span(value, name, "RandomZoom") if factor else super().convert(name, value)

    def validate(self) -> None:
        super().validate()
        if min(self.height_factor + (self.width_factor or ())) <= -1:
            raise ValueError(f"RandomZoom: a factor of -1 leaves nothing of a picture; got {self!r}")

    def motion(self, key: jax.Array, size: jax.Array) -> tuple[jax.Array, jax.Array]:
        ranges = (self.height_factor, self.width_factor or self.height_factor)
        keys = [key, key] if self.width_factor is None else jax.random.split(key)
        zoom = [1 + uniform(k, range_, size.dtype) for k, range_ in zip(keys, ranges, strict=True)]
        return jnp.diag(jnp.stack(zoom)), jnp.zeros_like(size)


class RandomTranslation(RandomAffine):
    """Moves each picture.

    Args:
        height_factor: how far down, as a share of the height: 0.2 means -20 % … 20 %, or a range (least, largest).
        width_factor: how far to the right, as a share of the width; likewise.
        fill_mode, interpolation, seed, fill_value, data_format: as in `RandomRotation`.
    """

    height_factor: Any
    width_factor: Any
    fill_mode: str = "reflect"
    interpolation: str = "bilinear"
    seed: int | None = None
    fill_value: float = 0.0
    data_format: str | None = None

    def convert(self, name: str, value: Any) -> Any:
        factor = name in ("height_factor", "width_factor")
        return span(value, name, "RandomTranslation") if factor else super().convert(name, value)

    def motion(self, key: jax.Array, size: jax.Array) -> tuple[jax.Array, jax.Array]:
        ranges = (self.height_factor, self.width_factor)
        moves = [uniform(k, range_, size.dtype) for k, range_ in zip(jax.random.split(key), ranges, strict=True)]
        return jnp.eye(2, dtype=size.dtype), jnp.stack(moves) * size


class RandomContrast(Augment):
    """Multiplies each pixel's distance from the mean of its picture's channel: `(x - mean) * factor + mean`.

    Args:
        factor: (lower, upper) in [0, 1], or one number for both; the factor is drawn from 1 - lower … 1 + upper.
            (Keras documents this, but its version 3.15 takes one number for (0, number).)
        value_range: the pixels' least and largest value, to which the result is clipped.
        seed: an integer mixed into the key.
        data_format: "channels_last" (the default) or "channels_first".
    """

    factor: Any
    value_range: Any = (0, 255)
    seed: int | None = None
    data_format: str | None = None

    def convert(self, name: str, value: Any) -> Any:
        if name == "factor":
            return two(value, name, "RandomContrast", 0, 1, lambda most: (most, most))
        return super().convert(name, value)

    def validate(self) -> None:
        super().validate()
        check_range(self)

    def one(self, key: jax.Array, picture: jax.Array) -> jax.Array:
        lower, upper = self.factor
        mean = picture.mean((0, 1), keepdims=True)
        contrast = uniform(key, (1 - lower, 1 + upper), picture.dtype)
        return jnp.clip((picture - mean) * contrast + mean, *self.value_range)


class RandomBrightness(Augment):
    """Adds one number to all pixels of a picture.

    Args:
        factor: the largest change as a share of the value range, in [-1, 1], or a range (least, largest): 0.2 means
            -20 % … 20 %.
        value_range: the pixels' least and largest value, to which the result is clipped.
        seed: an integer mixed into the key.
        data_format: of no importance here.

    >>> layer = RandomBrightness((0.5, 0.5), value_range=(0, 1))
    >>> layer.apply({}, {}, jnp.zeros((1, 1, 2, 1)), training=True, key=jax.random.key(0))[0].ravel().tolist()
    [0.5, 0.5]
    """

    factor: Any
    value_range: Any = (0, 255)
    seed: int | None = None
    data_format: str | None = None

    def convert(self, name: str, value: Any) -> Any:
        return span(value, name, "RandomBrightness") if name == "factor" else super().convert(name, value)

    def validate(self) -> None:
        super().validate()
        check_range(self)

    def one(self, key: jax.Array, picture: jax.Array) -> jax.Array:
        least, largest = self.value_range
        return jnp.clip(picture + uniform(key, self.factor, picture.dtype) * (largest - least), least, largest)


def seeded(layer: Any, key: jax.Array) -> jax.Array:
    """The key with the layer's `seed` mixed into it."""
    return key if layer.seed is None else jax.random.fold_in(key, layer.seed)


def uniform(key: jax.Array, between: tuple[float, float], dtype: Any) -> jax.Array:
    """A number drawn between two."""
    return jax.random.uniform(key, (), dtype, *between)


def two(value: Any, name: str, owner: str, low: float, high: float, of_one: Callable) -> tuple[float, float]:
    """Two numbers in [low, high], or what `of_one` makes of a single one."""
    found = of_one(value) if isinstance(value, int | float) else value
    if not (
        isinstance(found, list | tuple)
        and len(found) == 2
        and all(isinstance(v, int | float) and low <= v <= high for v in found)
    ):
        raise ValueError(f"{owner}: {name} is a number in [{low}, {high}], or a range of two; got {value!r}")
    return float(found[0]), float(found[1])


def span(value: Any, name: str, owner: str) -> tuple[float, float]:
    """A range in [-1, 1]; a single number means as much to both sides.

    >>> span(0.2, "factor", "RandomRotation"), span((0.3, -0.1), "factor", "RandomRotation")
    ((-0.2, 0.2), (-0.1, 0.3))
    """
    least, largest = sorted(two(value, name, owner, -1, 1, lambda most: (-abs(most), abs(most))))
    return least, largest


def check_seed(layer: Any) -> None:
    """Refuses a seed that is none."""
    if layer.seed is not None and not is_int(layer.seed):
        raise ValueError(f"{type(layer).__name__}: seed must be an integer; got {layer.seed!r}")


def check_name(layer: Any, name: str, known: Any) -> None:
    """Refuses a field that holds none of the known names."""
    value = getattr(layer, name)
    if value not in known:
        raise ValueError(f"{type(layer).__name__}: unknown {name} {value!r}.{suggest(str(value), known)}")


def check_range(layer: Any) -> None:
    """Refuses a value range that is none."""
    value = layer.value_range
    if not (isinstance(value, tuple) and len(value) == 2 and value[0] < value[1]):
        raise ValueError(f"{type(layer).__name__}: value_range is (least, largest), e.g. (0, 255); got {value!r}")
