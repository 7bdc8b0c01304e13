"""Layers that bend, blur and cover each picture in a way of its own in training, and not at all otherwise."""

from typing import Any

import jax
import jax.numpy as jnp

from kjax.frozen import require_between
from kjax.nn import image
from kjax.nn.augment import Augment, check_name, check_range, span, uniform
from kjax.nn.mix import cut
from kjax.nn.recolor import Sometimes, share

CORNERS = ((0, 0), (1, 0), (0, 1), (1, 1))
"""Of a picture with sides of length 1, as (x, y)."""


class RandomShear(Augment):
    """Slants each picture: the pixel at (row, col) shows what was at (row + y col, col + x row).

    Args:
        x_factor: a range (least, largest) in [-1, 1] that x is drawn from, or one number for (-number, number); -x
            takes its place for half of the pictures.
        y_factor: likewise of y, whose sign changes with that of x.
        interpolation: "bilinear" or "nearest".
        fill_mode: what lies outside of a picture: "constant", "nearest", "reflect" or "wrap"; see
            `kjax.nn.image.affine`.
        fill_value: what "constant" fills with.
        data_format: "channels_last" (the default) or "channels_first".
        seed: an integer mixed into the key.
    """

    x_factor: Any = 0.0
    y_factor: Any = 0.0
    interpolation: str = "bilinear"
    fill_mode: str = "reflect"
    fill_value: float = 0.0
    data_format: str | None = None
    seed: int | None = None

    def convert(self, name: str, value: Any) -> Any:
        return span(value, name, "RandomShear") if name.endswith("factor") else super().convert(name, value)

    def validate(self) -> None:
        super().validate()
        check_name(self, "fill_mode", image.FILL_MODES)
        check_name(self, "interpolation", image.INTERPOLATIONS)

    def one(self, key: jax.Array, picture: jax.Array) -> jax.Array:
        side, *keys = jax.random.split(key, 3)
        sign, ranges = jax.random.rademacher(side, (), picture.dtype), (self.x_factor, self.y_factor)
        x, y = (sign * uniform(k, range_, picture.dtype) for k, range_ in zip(keys, ranges, strict=True))
        matrix = jnp.stack([jnp.stack([jnp.ones_like(y), y]), jnp.stack([x, jnp.ones_like(x)])])
        offset = jnp.zeros(2, picture.dtype)
        return image.affine(picture, matrix, offset, self.interpolation, self.fill_mode, self.fill_value)


class RandomPerspective(Sometimes):
    """Shows some pictures as if from another side: each coordinate of a corner is multiplied by 1 + u of its own.

    Args:
        factor: the range that a picture's chance is drawn from, or one number for (0, number), which changes number / 2
            of all pictures, as in Keras; (1, 1) changes all.
        scale: u is drawn from -scale / 2 … scale / 2, a number in [0, 1].
        interpolation: "bilinear" or "nearest".
        fill_value: what lies outside of a picture.
        seed: an integer mixed into the key.
        data_format: "channels_last" (the default) or "channels_first".

    The corner at (0, 0) stays where it is, as in Keras.
    """

    factor: Any = 1.0
    scale: float = 1.0
    interpolation: str = "bilinear"
    fill_value: float = 0.0
    seed: int | None = None
    data_format: str | None = None

    def validate(self) -> None:
        super().validate()
        require_between(self.scale, "scale", "RandomPerspective", 0, 1)
        check_name(self, "interpolation", image.INTERPOLATIONS)

    def changed(self, key: jax.Array, picture: jax.Array) -> jax.Array:
        u = self.scale * (jax.random.uniform(key, (4, 2), picture.dtype) - 0.5)
        corners = jnp.asarray(CORNERS, picture.dtype)
        row, col = projected(picture, homography(corners * (1 + u), corners))
        return image.sampled(picture, row, col, self.interpolation, "constant", self.fill_value)


class RandomElasticTransform(Sometimes):
    """Moves each pixel of some pictures a little, its neighbours alike, as if they were drawn on rubber.

    A pixel moves by `0.1 s longest side * g` down and across, where g is noise of deviation σ = `0.05 s shortest side`
    smoothed by a Gaussian of the same width.

    Args:
        factor: the range that a picture's chance is drawn from, or one number for (0, number); see `RandomPerspective`.
        scale: the range that s is drawn from, in [0, 1], or one number for (0, number).
        interpolation: "bilinear" or "nearest".
        fill_mode, fill_value: what lies outside of a picture, as in `RandomShear`.
        value_range: the pixels' least and largest value, to which the result is clipped.
        seed: an integer mixed into the key.
        data_format: "channels_last" (the default) or "channels_first".

    (Keras 3.15 moves a pixel as far down as across.)

    Source: Simard, Steinkraus and Platt, "Best practices for convolutional neural networks", ICDAR 2003; Keras.
    """

    factor: Any = 1.0
    scale: Any = 1.0
    interpolation: str = "bilinear"
    fill_mode: str = "reflect"
    fill_value: float = 0.0
    value_range: Any = (0, 255)
    seed: int | None = None
    data_format: str | None = None

    def convert(self, name: str, value: Any) -> Any:
        return share(value, name, type(self).__name__) if name == "scale" else super().convert(name, value)

    def validate(self) -> None:
        super().validate()
        check_range(self)
        check_name(self, "fill_mode", image.FILL_MODES)
        check_name(self, "interpolation", image.INTERPOLATIONS)

    def changed(self, key: jax.Array, picture: jax.Array) -> jax.Array:
        (rows, cols), (size, noise) = picture.shape[:2], jax.random.split(key)
        s = uniform(size, self.scale, picture.dtype)
        sigma = 0.05 * min(rows, cols) * s + 1e-6
        window = int(0.3 * min(rows, cols) * self.scale[1]) | 1  # three deviations to each side
        moves = sigma * jax.random.normal(noise, (rows, cols, 2), picture.dtype)
        moves = 0.1 * max(rows, cols) * s * image.blurred(moves, (sigma, sigma), (window, window))
        row, col = image.pixels(picture, picture.dtype)
        row, col = row + moves[..., 0], col + moves[..., 1]
        y = image.sampled(picture, row, col, self.interpolation, self.fill_mode, self.fill_value)
        return jnp.clip(y, *self.value_range)


class RandomGaussianBlur(Sometimes):
    """Smooths some pictures by a Gaussian, whose widths across and down are drawn apart.

    Args:
        factor: the range that a picture's chance is drawn from, or one number for (0, number); see `RandomPerspective`.
        kernel_size: beyond how many pixels the Gaussian is cut off: an odd number, or two of them, (across, down).
        sigma: the range that the Gaussian's width is drawn from, in pixels, in [0, 1], or one number for (0, number).
        value_range: the pixels' least and largest value, to which the result is clipped.
        data_format: "channels_last" (the default) or "channels_first".
        seed: an integer mixed into the key.

    Beyond the border lies 0, as in Keras.
    """

    factor: Any = 1.0
    kernel_size: Any = 3
    sigma: Any = 1.0
    value_range: Any = (0, 255)
    data_format: str | None = None
    seed: int | None = None

    def convert(self, name: str, value: Any) -> Any:
        if name == "sigma":
            return share(value, name, "RandomGaussianBlur")
        return super().convert(name, value)

    def validate(self) -> None:
        super().validate()
        check_range(self)
        if not all(size % 2 for size in self.kernel_size):
            raise ValueError(f"RandomGaussianBlur: kernel_size is odd, e.g. 3; got {self.kernel_size}")

    def changed(self, key: jax.Array, picture: jax.Array) -> jax.Array:
        across, down = (uniform(k, self.sigma, picture.dtype) + 1e-6 for k in jax.random.split(key))
        y = image.blurred(picture, (down, across), self.kernel_size[::-1])
        return jnp.clip(y, *self.value_range)


class RandomErasing(Sometimes):
    """Covers a rectangle of some pictures; its sides are the square roots of two draws from `scale`.

    Args:
        factor: the range that a picture's chance is drawn from, or one number for (0, number); see `RandomPerspective`.
        scale: the range of a rectangle's share of the area, in [0, 1], or one number for (0, number).
        fill_value: what it is covered with: a number, one for each channel, or None for noise from a normal
            distribution whose deviation is the largest value.
        value_range: the pixels' least and largest value, to which what covers is clipped.
        seed: an integer mixed into the key.
        data_format: "channels_last" (the default) or "channels_first".

    Source: Zhong et al., "Random erasing data augmentation", AAAI 2020 (arXiv:1708.04896); Keras.
    """

    factor: Any = 1.0
    scale: Any = (0.02, 0.33)
    fill_value: Any = None
    value_range: Any = (0, 255)
    seed: int | None = None
    data_format: str | None = None

    def convert(self, name: str, value: Any) -> Any:
        return share(value, name, type(self).__name__) if name == "scale" else super().convert(name, value)

    def validate(self) -> None:
        super().validate()
        check_range(self)

    def check_input(self, x: Any) -> None:
        channels = x.shape[1 if self.data_format == "channels_first" else -1]
        if isinstance(self.fill_value, tuple) and len(self.fill_value) != channels:
            self.refuse(f"has fill_value={self.fill_value}, not a number for each channel", x)

    def changed(self, key: jax.Array, picture: jax.Array) -> jax.Array:
        sides, places, noise = jax.random.split(key, 3)
        side = jnp.sqrt(jax.random.uniform(sides, (2, 1, 1), picture.dtype, *self.scale))
        place = jax.random.uniform(places, (2, 1, 1), picture.dtype)
        row, col = (cut(n, side[i], place[i])[0] for i, n in enumerate(picture.shape[:2]))
        if self.fill_value is None:
            cover = self.value_range[1] * jax.random.normal(noise, picture.shape, picture.dtype)
        else:
            cover = jnp.broadcast_to(jnp.asarray(self.fill_value, picture.dtype), picture.shape[2:])[None, None]
        covered = (row[:, None] & col[None])[..., None]
        return jnp.where(covered, jnp.clip(cover, *self.value_range), picture)


def homography(source: jax.Array, target: jax.Array) -> jax.Array:
    """The projective map (3, 3) that takes four points to four others, both as (4, 2)."""
    (x, y), (u, v) = source.T, target.T
    one, zero = jnp.ones_like(x), jnp.zeros_like(x)
    of_u = jnp.stack([x, y, one, zero, zero, zero, -u * x, -u * y], 1)
    of_v = jnp.stack([zero, zero, zero, x, y, one, -v * x, -v * y], 1)
    found = jnp.linalg.solve(jnp.concatenate([of_u, of_v]), jnp.concatenate([u, v]))
    return jnp.concatenate([found, one[:1]]).reshape(3, 3)


def projected(picture: jax.Array, matrix: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Where each pixel's source is, (row, col), by a projective map of points (x, y) in sides of length 1."""
    row, col = image.pixels(picture, picture.dtype)
    rows, cols = (max(n - 1, 1) for n in picture.shape[:2])
    x, y, z = (matrix[i, 0] * col / cols + matrix[i, 1] * row / rows + matrix[i, 2] for i in range(3))
    return y / z * rows, x / z * cols
