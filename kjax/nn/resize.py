"""Layers that change the size of the spatial axes without weights: padding, cropping and upsampling."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax import lax

from kjax.frozen import is_int, pair, suggest
from kjax.nn.conv import Windowed
from kjax.nn.core import channels_back, channels_last, check_data_format
from kjax.nn.layer import Params, State


class Edges(Windowed):
    """Base of the layers that add cells at the edges, or take them away."""

    amount: ClassVar[str] = "padding"
    """The field that says how many cells, and in which direction."""
    direction: ClassVar[int] = 1
    takes_integers = True

    def convert(self, name: str, value: Any) -> Any:
        return (
            sides(value, name, type(self).__name__, self.rank) if name == self.amount else super().convert(name, value)
        )

    def validate(self) -> None:
        check_data_format(self._data_format, type(self).__name__)

    def call(self, params: Params, state: State, x: Any, training: bool, key: Any) -> tuple[Any, State]:
        edges = [(self.direction * before, self.direction * after, 0) for before, after in getattr(self, self.amount)]
        first = self._data_format == "channels_first"
        none = (0, 0, 0)
        config = [none, none, *edges] if first else [none, *edges, none]
        return lax.pad(x, jnp.zeros((), x.dtype), config), state


class ZeroPadding(Edges):
    """Base of the layers that add zeros around."""

    padding: Any = 1
    data_format: str | None = None


class ZeroPadding1D(ZeroPadding):
    """Adds steps of zeros: `padding` of them on both sides, or a pair (before, after).

    >>> ZeroPadding1D((2, 0)).apply({}, {}, jnp.ones((1, 3, 1)))[0].ravel().tolist()
    [0.0, 0.0, 1.0, 1.0, 1.0]
    """

    rank = 1


class ZeroPadding2D(ZeroPadding):
    """Adds rows and columns of zeros.

    Args:
        padding: one integer for all sides; a pair (rows, cols); or ((top, bottom), (left, right)).
        data_format: "channels_last" (the default) or "channels_first".

    >>> ZeroPadding2D(((1, 0), (2, 2))).apply({}, {}, jnp.ones((1, 3, 3, 1)))[0].shape
    (1, 4, 7, 1)
    """


class ZeroPadding3D(ZeroPadding):
    """Adds planes, rows and columns of zeros; `padding` is that of `ZeroPadding2D`, for three axes."""

    rank = 3


class Cropping(Edges):
    """Base of the layers that cut the edges off."""

    cropping: Any = 1
    data_format: str | None = None

    amount = "cropping"
    direction = -1

    def check_input(self, x: Any) -> None:
        if any(sum(cut) >= n for cut, n in zip(self.cropping, self.spatial(x), strict=True)):
            self.refuse(f"would leave nothing of {self.spatial(x)} cells", x)


class Cropping1D(Cropping):
    """Takes steps away: `cropping` of them on both sides, or a pair (before, after).

    >>> Cropping1D((2, 0)).apply({}, {}, jnp.arange(4.0).reshape(1, 4, 1))[0].ravel().tolist()
    [2.0, 3.0]
    """

    rank = 1


class Cropping2D(Cropping):
    """Takes rows and columns away.

    Args:
        cropping: one integer for all sides; a pair (rows, cols); or ((top, bottom), (left, right)).
        data_format: "channels_last" (the default) or "channels_first".

    Raises:
        LayerError: nothing would be left.

    >>> Cropping2D(((1, 0), (2, 2))).apply({}, {}, jnp.ones((1, 5, 7, 1)))[0].shape
    (1, 4, 3, 1)
    """

    cropping: Any = 0


class Cropping3D(Cropping):
    """Takes planes, rows and columns away; `cropping` is that of `Cropping2D`, for three axes, by default 1."""

    rank = 3


class UpSampling(Windowed):
    """Base of the layers that repeat each cell."""

    size: Any = 2
    data_format: str | None = None

    takes_integers = True

    def call(self, params: Params, state: State, x: Any, training: bool, key: Any) -> tuple[Any, State]:
        return channels_back(self.resize(channels_last(x, self.data_format)), self.data_format), state

    def resize(self, x: jax.Array) -> jax.Array:
        """`x`, channels last, with each cell `size` times."""
        for axis, times in enumerate(self.size, 1):
            x = jnp.repeat(x, times, axis)
        return x


class UpSampling1D(UpSampling):
    """Repeats each step `size` times: (batch, steps, channels) -> (batch, steps * size, channels).

    >>> UpSampling1D(2).apply({}, {}, jnp.array([[[1.0], [2.0]]]))[0].ravel().tolist()
    [1.0, 1.0, 2.0, 2.0]
    """

    rank = 1


class UpSampling2D(UpSampling):
    """Enlarges pictures by whole factors.

    Args:
        size: how many rows and columns each becomes, one integer for both.
        data_format: "channels_last" (the default) or "channels_first".
        interpolation: "nearest" repeats cells; "bilinear", "bicubic" (Keys, with a = -1/2), "lanczos3" and
            "lanczos5" interpolate between the centres of cells, and beyond the outermost ones use what lies inside.

    Shapes: (batch, rows, cols, channels) -> (batch, rows * size, cols * size, channels).

    >>> UpSampling2D((1, 2), interpolation="bilinear").apply({}, {}, jnp.array([[[[0.0], [1.0]]]]))[0].ravel().tolist()
    [0.0, 0.25, 0.75, 1.0]
    """

    interpolation: str = "nearest"

    METHODS: ClassVar[dict[str, str]] = {
        "bilinear": "linear", "bicubic": "cubic", "lanczos3": "lanczos3", "lanczos5": "lanczos5",
    }  # fmt: skip

    @property
    def takes_integers(self) -> bool:  # type: ignore[override]
        return self.interpolation == "nearest"

    def convert(self, name: str, value: Any) -> Any:
        lower = name == "interpolation" and isinstance(value, str)
        return value.lower() if lower else super().convert(name, value)

    def validate(self) -> None:
        super().validate()
        if self.interpolation not in ("nearest", *self.METHODS):
            known = suggest(str(self.interpolation), ["nearest", *self.METHODS])
            raise ValueError(f"UpSampling2D: unknown interpolation {self.interpolation!r}.{known}")

    def resize(self, x: jax.Array) -> jax.Array:
        if self.interpolation == "nearest":
            return super().resize(x)
        rows, cols = (n * times for n, times in zip(x.shape[1:3], self.size, strict=True))
        return jax.image.resize(x, (x.shape[0], rows, cols, x.shape[-1]), self.METHODS[self.interpolation])


class UpSampling3D(UpSampling):
    """Repeats each cell of a volume along its three axes; `UpSampling1D` for (batch, depth, rows, cols, channels)."""

    rank = 3


def sides(value: Any, name: str, owner: str, n: int) -> tuple[tuple[int, int], ...]:
    """What to add or take away before and after each of `n` axes.

    >>> sides((1, (2, 3)), "padding", "ZeroPadding2D", 2)
    ((1, 1), (2, 3))
    >>> sides((2, 3), "cropping", "Cropping1D", 1)
    ((2, 3),)
    """
    one = is_int(value) or (n == 1 and isinstance(value, list | tuple) and len(value) == 2)
    values = (value,) * n if one else value
    if not isinstance(values, list | tuple) or len(values) != n:
        raise ValueError(f"{owner}: {name} is an integer, {n} integers, or {n} pairs (before, after); got {value!r}")
    return tuple(pair(v, name, owner, 2, least=0) for v in values)  # type: ignore[misc]
