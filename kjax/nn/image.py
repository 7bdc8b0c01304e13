"""Pure functions of pictures: affine maps of one, sizes of a batch. The channels are the last axis."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from kjax.dtypes import at_least_float32

FILL_MODES = ("constant", "nearest", "reflect", "wrap")
INTERPOLATIONS = ("nearest", "bilinear")
METHODS = ("bilinear", "nearest", "bicubic", "lanczos3", "lanczos5")


@functools.partial(jax.jit, static_argnums=0)
def each(layer: Any, *parts: jax.Array) -> jax.Array:
    """`layer.one` of each picture of a batch; compiled as a whole, also where it is called step by step."""
    return jax.vmap(layer.one)(*parts)


def affine(
    picture: jax.Array,
    matrix: jax.Array,
    offset: jax.Array,
    interpolation: str = "bilinear",
    fill_mode: str = "constant",
    fill_value: float = 0.0,
) -> jax.Array:
    """The picture whose point p = (row, column) shows what the given one has at `matrix @ p + offset`.

    Args:
        picture: shape (rows, cols, channels).
        matrix: shape (2, 2).
        offset: shape (2,).
        interpolation: "bilinear", or "nearest" for the nearest pixel.
        fill_mode: what lies outside of a row `a b c d`: "constant" (`k k | a b c d | k k`, k the fill value), "nearest"
            (`a a | a b c d | d d`), "reflect" (`b a | a b c d | d c`) or "wrap" (`c d | a b c d | a b`).
        fill_value: what "constant" fills with.

    These are `scipy.ndimage.affine_transform` of order 1 and 0 with the modes "grid-constant", "nearest", "reflect"
    and "grid-wrap".

    >>> affine(jnp.arange(3.0).reshape(1, 3, 1), jnp.eye(2), jnp.array([0.0, 0.5])).ravel().tolist()
    [0.5, 1.5, 1.0]
    """
    row, col = pixels(picture, matrix.dtype)
    row, col = (matrix[i, 0] * row + matrix[i, 1] * col + offset[i] for i in (0, 1))
    return sampled(picture, row, col, interpolation, fill_mode, fill_value)


def pixels(picture: jax.Array, dtype: Any) -> tuple[jax.Array, jax.Array]:
    """The row (rows, 1) and the column (1, cols) of each pixel."""
    rows, cols = jnp.arange(picture.shape[0])[:, None], jnp.arange(picture.shape[1])[None, :]
    return rows.astype(dtype), cols.astype(dtype)


def sampled(
    picture: jax.Array,
    row: jax.Array,
    col: jax.Array,
    interpolation: str = "bilinear",
    fill_mode: str = "constant",
    fill_value: float = 0.0,
) -> jax.Array:
    """The picture whose pixels show what the given one has at the points (row, col), two arrays (rows, cols)."""

    def pixel(i: jax.Array, j: jax.Array) -> jax.Array:
        found = picture[within(i, picture.shape[0], fill_mode), within(j, picture.shape[1], fill_mode)]
        if fill_mode != "constant":
            return found
        inside = (i >= 0) & (i < picture.shape[0]) & (j >= 0) & (j < picture.shape[1])
        return jnp.where(inside[..., None], found, jnp.asarray(fill_value, picture.dtype))

    if interpolation == "nearest":
        return pixel(jnp.round(row).astype(jnp.int32), jnp.round(col).astype(jnp.int32))
    top, left = jnp.floor(row), jnp.floor(col)
    down, right = ((a - b)[..., None].astype(picture.dtype) for a, b in ((row, top), (col, left)))
    i, j = top.astype(jnp.int32), left.astype(jnp.int32)
    upper = pixel(i, j) * (1 - right) + pixel(i, j + 1) * right
    lower = pixel(i + 1, j) * (1 - right) + pixel(i + 1, j + 1) * right
    return upper * (1 - down) + lower * down


def blurred(picture: jax.Array, sigma: tuple[Any, Any], window: tuple[int, int]) -> jax.Array:
    """The picture smoothed by a Gaussian down and across, cut off beyond a window of so many pixels.

    Args:
        picture: shape (rows, cols, channels); beyond its border lies 0.
        sigma: the Gaussian's width down and across, in pixels.
        window: odd numbers of pixels, likewise.
    """
    down, across = (smoothing(n, s, k, picture.dtype) for n, s, k in zip(picture.shape[:2], sigma, window, strict=True))
    return jnp.einsum("ij,jkc,lk->ilc", down, picture, across, precision="highest")


def smoothing(n: int, sigma: Any, window: int, dtype: Any) -> jax.Array:
    """The matrix (n, n) whose rows are the weights of a Gaussian about each of n pixels.

    >>> (100 * smoothing(3, 1.0, 3, "float32")).astype(int)[0].tolist()
    [45, 27, 0]
    """
    away = jnp.arange(n)[:, None] - jnp.arange(n)[None]
    weight = jnp.exp(-0.5 * (jnp.arange(window // 2 + 1).astype(dtype) / sigma) ** 2)
    weight = weight / (2 * weight.sum() - 1)
    return jnp.where(abs(away) <= window // 2, weight[jnp.minimum(abs(away), window // 2)], 0)


def within(index: jax.Array, size: int, fill_mode: str) -> jax.Array:
    """The index of the pixel that stands at `index` when an axis of `size` pixels goes on without end.

    >>> within(jnp.arange(-2, 5), 3, "reflect").tolist()
    [1, 0, 0, 1, 2, 2, 1]
    """
    if fill_mode == "wrap":
        return index % size
    if fill_mode == "reflect":
        index = index % (2 * size)
        return jnp.minimum(index, 2 * size - 1 - index)
    return jnp.clip(index, 0, size - 1)


def resize(x: jax.Array, height: int, width: int, method: str = "bilinear", antialias: bool = False) -> jax.Array:
    """Pictures of another size: (batch, rows, cols, channels) -> (batch, height, width, channels).

    Pixels are squares: the centre of the first lies half a pixel inside. `antialias` widens the kernel where the
    picture shrinks. Rounding of small floats is left to the end.
    """
    wide = x.astype(at_least_float32(x.dtype))
    return jax.image.resize(wide, (x.shape[0], height, width, x.shape[3]), method, antialias).astype(x.dtype)


def centre_window(x: jax.Array, rows: int, cols: int) -> jax.Array:
    """The `rows` × `cols` pixels in the middle of pictures."""
    top, left = (x.shape[1] - rows) // 2, (x.shape[2] - cols) // 2
    return x[:, top : top + rows, left : left + cols]


def crop_to_aspect(x: jax.Array, height: int, width: int) -> jax.Array:
    """The largest window in the middle with the aspect ratio height : width."""
    rows, cols = x.shape[1:3]
    return centre_window(x, max(min(rows, cols * height // width), 1), max(min(cols, rows * width // height), 1))


def pad_to_aspect(x: jax.Array, height: int, width: int, value: float) -> jax.Array:
    """The pictures with as much added on both sides as brings them to the aspect ratio height : width."""
    rows, cols = x.shape[1:3]
    above, before = max(cols * height // width - rows, 0) // 2, max(rows * width // height - cols, 0) // 2
    pads = ((0, 0), (above, above), (before, before), (0, 0))
    return jnp.pad(x, pads, constant_values=jnp.asarray(value, x.dtype))


def fit(x: Any, height: int, width: int) -> Any:
    """Pictures cropped to the aspect ratio, then resized: what crops do with a picture that is too small for them."""
    return resize(crop_to_aspect(x, height, width), height, width)
