"""Pure functions of the colours of one picture, (rows, cols, channels) of floats."""

from typing import Any

import jax
import jax.numpy as jnp

LUMA = (0.2989, 0.5870, 0.1140)


def grey(picture: jax.Array) -> jax.Array:
    """The brightness of each pixel in all of its three channels: `0.2989 red + 0.5870 green + 0.1140 blue`.

    >>> grey(jnp.array([[[100.0, 0.0, 0.0]]])).round(2).ravel()
    Array([29.89, 29.89, 29.89], dtype=float32)
    """
    brightness = (picture * jnp.asarray(LUMA, picture.dtype)[None, None]).sum(-1, keepdims=True)
    return jnp.broadcast_to(brightness, picture.shape)


def saturated(picture: jax.Array, factor: jax.Array) -> jax.Array:
    """The picture with the saturation of HSV times `factor`, at most 1; values are at least 0.

    As each channel is `value - value * saturation * (a function of the hue)`, no conversion is needed.
    """
    value = picture.max(-1, keepdims=True)
    chroma = value - picture.min(-1, keepdims=True)
    most = jnp.where(chroma > 0, value / jnp.where(chroma > 0, chroma, 1), factor)
    return value - (value - picture) * jnp.minimum(factor, most)


def hue_turned(picture: jax.Array, turn: jax.Array) -> jax.Array:
    """The picture with `turn`, a share of the circle of colours, added to the hue of HSV.

    >>> hue_turned(jnp.array([[[1.0, 0.0, 0.0]]]), 1 / 3).round(3).tolist()  # red becomes green
    [[[0.0, 1.0, 0.0]]]
    """
    red, green, blue = jnp.moveaxis(picture, -1, 0)
    value = picture.max(-1)
    chroma = value - picture.min(-1)
    ways = (green - blue, 2 * chroma + blue - red, 4 * chroma + red - green)
    way = jnp.where(value == red, ways[0], jnp.where(value == green, ways[1], ways[2]))
    hue = way / jnp.where(chroma > 0, chroma, 1) + 6 * turn  # in sixths of the circle
    place = (jnp.asarray([5, 3, 1], picture.dtype)[None, None] + hue[..., None]) % 6
    return value[..., None] - chroma[..., None] * jnp.clip(jnp.minimum(place, 4 - place), 0, 1)


def posterised(picture: jax.Array, bits: jax.Array) -> jax.Array:
    """Values of 0 … 255 with only their upper bits kept.

    >>> posterised(jnp.array([[[200.0]]]), 2).item()
    192.0
    """
    step = 2.0 ** (8 - bits)
    return jnp.floor(jnp.clip(picture, 0, 255) / step) * step


def smoothed(picture: jax.Array) -> jax.Array:
    """Each pixel's mean with its eight neighbours, where it counts five times; beyond the border lies 0."""
    rows, cols = picture.shape[:2]
    padded = jnp.pad(picture, ((1, 1), (1, 1), (0, 0)))
    return (sum(padded[i : i + rows, j : j + cols] for i in range(3) for j in range(3)) + 4 * picture) / 13


def stretched(picture: jax.Array, value_range: tuple[float, float]) -> jax.Array:
    """The picture with the least and the largest value of each channel moved to those of the range.

    >>> stretched(jnp.array([[[2.0], [3.0], [4.0]]]), (0, 255)).ravel().tolist()
    [0.0, 127.5, 255.0]
    """
    low, high = picture.min((0, 1), keepdims=True), picture.max((0, 1), keepdims=True)
    flat = high == low
    found = value_range[0] + (picture - low) / jnp.where(flat, 1, high - low) * (value_range[1] - value_range[0])
    return jnp.where(flat, picture, found)


def equalised(picture: jax.Array, value_range: tuple[float, float], bins: int = 256) -> jax.Array:
    """The picture with its values spread so that in each channel all parts of the range hold equally many pixels."""

    def one(channel: jax.Array) -> jax.Array:
        index = (jnp.clip(channel, 0, 255) * ((bins - 1) / 255)).astype(jnp.int32)
        below = jnp.cumsum(histogram(index.ravel(), bins))
        first = below[index.min()]
        table = jnp.round((below - first) * 255 / jnp.maximum(below[-1] - first, 1))
        flat = index.min() == index.max()
        return jnp.where(flat, channel, jnp.clip(table, 0, 255).astype(channel.dtype)[index])

    spread = jax.vmap(one, -1, -1)(moved(picture, value_range, (0, 255)))
    return moved(spread, (0, 255), value_range)


def locally_equalised(
    picture: jax.Array, value_range: tuple[float, float], clip_limit: float, grid: tuple[int, int]
) -> jax.Array:
    """CLAHE: each tile of the picture gets a table of new values from its own histogram, whose bins hold at most
    `clip_limit` times their even share (what is over is spread over all); a pixel gets the bilinear mean of what the
    tables of the four nearest tiles say."""
    size = [-(-n // tiles) for n, tiles in zip(picture.shape[:2], grid, strict=True)]
    grown = [(0, side * tiles - n) for n, side, tiles in zip(picture.shape[:2], size, grid, strict=True)]

    def one(channel: jax.Array) -> jax.Array:
        index = jnp.clip(channel, 0, 255).astype(jnp.int32)
        padded = jnp.pad(index, grown, mode="symmetric")
        tiles = padded.reshape(grid[0], size[0], grid[1], size[1]).swapaxes(1, 2).reshape(*grid, -1)
        tables = jax.vmap(jax.vmap(lambda tile: table_of(tile, clip_limit, channel.dtype)))(tiles)
        (up, down, low), (left, right, near) = (
            neighbours(n, side, count, channel.dtype) for n, side, count in zip(channel.shape, size, grid, strict=True)
        )
        across = [
            tables[row[:, None], left[None], index] * (1 - near)[None]
            + tables[row[:, None], right[None], index] * near[None]
            for row in (up, down)
        ]
        return across[0] * (1 - low)[:, None] + across[1] * low[:, None]

    return moved(jax.vmap(one, -1, -1)(moved(picture, value_range, (0, 255))), (0, 255), value_range)


def table_of(tile: jax.Array, clip_limit: float, dtype: Any) -> jax.Array:
    """The new value for each of 256, from the histogram of a tile."""
    counts = histogram(tile, 256).astype(dtype)
    if clip_limit > 0:
        most = clip_limit * len(tile) / 256
        counts = jnp.minimum(counts, most) + jnp.maximum(counts - most, 0).sum() / 256
    below = jnp.cumsum(counts)
    left = len(tile) - below[0]
    return jnp.clip((below - below[0]) * 255 / jnp.where(left == 0, 1, left), 0, 255)


def neighbours(n: int, side: int, tiles: int, dtype: Any) -> tuple[jax.Array, jax.Array, jax.Array]:
    """For each of n pixels along an axis: the tile before it, the tile behind it, and how near the latter is."""
    place = (jnp.arange(n).astype(dtype) - side / 2) / side
    before = jnp.floor(place)
    index = before.astype(jnp.int32)
    return jnp.clip(index, 0, tiles - 1), jnp.clip(index + 1, 0, tiles - 1), place - before


def histogram(index: jax.Array, bins: int) -> jax.Array:
    """How often each of `bins` integers occurs.

    >>> histogram(jnp.array([0, 2, 2]), 3).tolist()
    [1, 0, 2]
    """
    return jnp.zeros(bins, jnp.int32).at[index].add(1)


def moved(x: jax.Array, source: tuple[float, float], target: tuple[float, float]) -> jax.Array:
    """Numbers of one range at the same place of another.

    >>> moved(jnp.array([-1.0, 0.0]), (-1, 1), (0, 255)).tolist()
    [0.0, 127.5]
    """
    if source == target:
        return x
    return (x - source[0]) * ((target[1] - target[0]) / (source[1] - source[0])) + target[0]
