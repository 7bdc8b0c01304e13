"""Layers that prepare data inside the compiled step: scales, statistics, sizes of pictures."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kjax.adapting import batches, not_adapted, refuse_adapting
from kjax.dtypes import at_least_float32
from kjax.frozen import is_int, require_int, suggest, tuples
from kjax.nn import image
from kjax.nn.conv import Windowed
from kjax.nn.core import channels_back, channels_last
from kjax.nn.errors import LayerError
from kjax.nn.layer import Layer, Params, State


class Rescaling(Layer):
    """`x * scale + offset`: `Rescaling(1 / 255)` brings pixels of 0 … 255 to 0 … 1.

    Args:
        scale: a number, or an array (list, tuple) that broadcasts against the input's last axes.
        offset: likewise.

    Integers come out as floats.

    >>> Rescaling(1 / 127.5, offset=-1).apply({}, {}, jnp.array([[0, 255]], jnp.uint8))[0].tolist()
    [[-1.0, 1.0]]
    """

    scale: Any
    offset: Any = 0.0

    computes_wide = True

    def convert(self, name: str, value: Any) -> Any:
        return numbers(value, name, "Rescaling") if name in ("scale", "offset") else super().convert(name, value)

    def check_input(self, x: Any) -> None:
        for name in ("scale", "offset"):
            shape = np.shape(getattr(self, name))
            if not broadcasts(shape, x.shape):
                self.refuse(f"has a {name} of shape {shape}, which does not broadcast to its input", x)

    def call(self, params: Params, state: State, x: Any, training: bool, key: Any) -> tuple[Any, State]:
        wide = x.astype(at_least_float32(x.dtype))
        scale, offset = (jnp.asarray(np.array(v, ndmin=x.ndim), wide.dtype) for v in (self.scale, self.offset))
        return (wide * scale + offset).astype(x.dtype), state


class Normalization(Layer):
    """Brings features to mean 0 and variance 1: `(x - mean) / max(sqrt(variance), 1e-7)`.

    Args:
        axis: the axes that have a mean and a variance for each index; None for one of each over all numbers.
        mean: a number, or an array over those axes.
        variance: likewise.
        invert: whether to turn normalised numbers back: `mean + x * max(sqrt(variance), 1e-7)`.

    `adapt` learns mean and variance. A layer is frozen and holds no arrays, so unlike Keras's it does not change
    but gives a new layer, which has the statistics as fields: `layer = layer.adapt(x)`. One without statistics
    refuses to be built. They are constants of the compiled step: neither trained nor among the weights.

    Raises:
        ValueError: a mean without a variance, shapes that differ, an `adapt` of a layer that has its statistics.
        LayerError: no statistics, or such as do not fit the input.

    >>> layer = Normalization().adapt([[0.0, 10.0], [2.0, 30.0]])
    >>> layer
    Normalization(mean=(1.0, 20.0), variance=(1.0, 100.0))
    >>> layer.apply({}, {}, jnp.array([[2.0, 0.0]]))[0].tolist()
    [[1.0, -2.0]]
    """

    axis: Any = -1
    mean: Any = None
    variance: Any = None
    invert: bool = False

    computes_wide = True

    def convert(self, name: str, value: Any) -> Any:
        if name in ("mean", "variance") and value is not None:
            return numbers(value, name, "Normalization")
        return super().convert(name, value)

    def validate(self) -> None:
        if not all(is_int(axis) for axis in self._axes):
            raise ValueError(f"Normalization: axis is an integer, several, or None; got {self.axis!r}")
        if (self.mean is None) != (self.variance is None) or np.shape(self.mean) != np.shape(self.variance):
            raise ValueError("Normalization: mean and variance go together, in the same shape")
        if np.ndim(self.mean) > len(self._axes):
            raise ValueError(f"Normalization: mean has {np.ndim(self.mean)} axes, but axis={self.axis}")
        if self.variance is not None and not np.all(np.asarray(self.variance) >= 0):
            raise ValueError("Normalization: variance must be at least 0")

    def adapt(self, data: Any, steps: int | None = None) -> "Normalization":
        """This layer with the mean and variance of data: an array, or an iterable of batches.

        Args:
            data: with the batch axis first.
            steps: how many batches to look at; None for all.
        """
        if self.mean is not None:
            refuse_adapting(self, "mean and variance")
        count, mean, spread = 0, np.zeros(()), np.zeros(())
        for batch in batches(data, steps):
            others = tuple(axis for axis in range(batch.ndim) if axis not in self._kept(batch))
            rows, x = math.prod(batch.shape[axis] for axis in others), batch.astype(np.float64)
            away, total = x.mean(others) - mean, count + rows
            spread = spread + x.var(others) * rows + away**2 * (count * rows / total)
            mean, count = mean + away * (rows / total), total
        if not count:
            raise ValueError("Normalization: adapt was given no data")
        return self.replace(mean=mean, variance=spread / count)

    def check_input(self, x: Any) -> None:
        if self.mean is None:
            raise LayerError(not_adapted(self, "mean and variance"))
        shape = tuple(x.shape[axis] for axis in self._kept(x))
        if not broadcasts(np.shape(self.mean), shape):
            self.refuse(f"has statistics of shape {np.shape(self.mean)} for axes of sizes {shape}", x)

    def call(self, params: Params, state: State, x: Any, training: bool, key: Any) -> tuple[Any, State]:
        wide = x.astype(at_least_float32(x.dtype))
        mean = self._constant(self.mean, wide)
        deviation = self._constant(np.maximum(np.sqrt(self.variance), 1e-7), wide)
        y = mean + wide * deviation if self.invert else (wide - mean) / deviation
        return y.astype(x.dtype), state

    @property
    def _axes(self) -> tuple[int, ...]:
        return () if self.axis is None else self.axis if isinstance(self.axis, tuple) else (self.axis,)

    def _kept(self, x: Any) -> tuple[int, ...]:
        ndim = len(x.shape)
        if any(not -ndim < axis < ndim or axis == 0 for axis in self._axes):
            self.refuse(
                f"has axis={self.axis}, which is the batch axis or beyond the input's rank", x, "pass axis=None"
            )
        return tuple(sorted(axis % ndim for axis in self._axes))

    def _constant(self, value: Any, x: Any) -> jax.Array:
        kept = self._kept(x)
        whole = np.broadcast_to(value, [x.shape[axis] for axis in kept])
        return jnp.asarray(np.expand_dims(whole, [axis for axis in range(x.ndim) if axis not in kept]), x.dtype)


class Resizing(Windowed):
    """Pictures of another size.

    Args:
        height: rows of the output.
        width: columns of the output.
        interpolation: "bilinear", "nearest", "bicubic", "lanczos3" or "lanczos5".
        crop_to_aspect_ratio: whether to cut off what does not fit the output's aspect ratio, instead of distorting.
        pad_to_aspect_ratio: whether to add to both short sides instead.
        fill_mode: how to pad; "constant" is the only way.
        fill_value: what to pad with.
        antialias: whether to smooth before shrinking.
        data_format: "channels_last" (the default) or "channels_first".

    Shapes: (batch, rows, cols, channels) -> (batch, height, width, channels). Integers come out as floats.

    >>> Resizing(1, 2).apply({}, {}, jnp.arange(4.0).reshape(1, 1, 4, 1))[0].ravel().tolist()
    [0.5, 2.5]
    """

    height: int
    width: int
    interpolation: str = "bilinear"
    crop_to_aspect_ratio: bool = False
    pad_to_aspect_ratio: bool = False
    fill_mode: str = "constant"
    fill_value: float = 0.0
    antialias: bool = False
    data_format: str | None = None

    def validate(self) -> None:
        super().validate()
        check_size(self)
        if self.interpolation not in image.METHODS:
            raise ValueError(
                f"Resizing: unknown interpolation {self.interpolation!r}."
                f"{suggest(str(self.interpolation), image.METHODS)}"
            )
        if self.fill_mode != "constant":
            raise ValueError(f"Resizing: fill_mode is 'constant', the only way to pad; got {self.fill_mode!r}")
        if self.crop_to_aspect_ratio and self.pad_to_aspect_ratio:
            raise ValueError("Resizing: crop_to_aspect_ratio and pad_to_aspect_ratio exclude each other")

    def call(self, params: Params, state: State, x: Any, training: bool, key: Any) -> tuple[Any, State]:
        y = channels_last(x, self.data_format)
        if self.crop_to_aspect_ratio:
            y = image.crop_to_aspect(y, self.height, self.width)
        if self.pad_to_aspect_ratio:
            y = image.pad_to_aspect(y, self.height, self.width, self.fill_value)
        y = image.resize(y, self.height, self.width, self.interpolation, self.antialias)
        return channels_back(y, self.data_format), state


class CenterCrop(Windowed):
    """The middle of each picture.

    Args:
        height: rows of the output.
        width: columns of the output.
        data_format: "channels_last" (the default) or "channels_first".

    Where the picture is smaller than that, its largest window of the same aspect ratio is resized instead.

    >>> CenterCrop(1, 2).apply({}, {}, jnp.arange(12.0).reshape(1, 3, 4, 1))[0].ravel().tolist()
    [5.0, 6.0]
    """

    height: int
    width: int
    data_format: str | None = None

    def validate(self) -> None:
        super().validate()
        check_size(self)

    def call(self, params: Params, state: State, x: Any, training: bool, key: Any) -> tuple[Any, State]:
        last = channels_last(x, self.data_format)
        crop = image.centre_window if fits(self, last) else image.fit
        return channels_back(crop(last, self.height, self.width), self.data_format), state


def check_size(layer: Any) -> None:
    """Refuses a height or width that is none."""
    for name in ("height", "width"):
        require_int(getattr(layer, name), name, type(layer).__name__)


def fits(layer: Any, x: Any) -> bool:
    """Whether a crop of the layer's size lies inside pictures."""
    return x.shape[1] >= layer.height and x.shape[2] >= layer.width


def broadcasts(shape: tuple[int, ...], to: tuple[int, ...]) -> bool:
    """Whether an array of this shape spreads over one of the other, which stays as it is.

    >>> broadcasts((3,), (2, 3)), broadcasts((2,), (2, 3))
    (True, False)
    """
    behind = to[len(to) - len(shape) :]
    return len(shape) <= len(to) and all(a in (1, b) for a, b in zip(shape, behind, strict=True))


def numbers(value: Any, name: str, owner: str) -> Any:
    """A number or an array of numbers as something that can be hashed: floats, in tuples."""
    try:
        return tuples(np.asarray(value, np.float64).tolist())
    except (TypeError, ValueError):
        raise TypeError(f"{owner}: {name} is a number or an array of numbers; got {value!r}") from None
