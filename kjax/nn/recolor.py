"""Layers that change the colours of each picture in a way of its own in training, and not at all otherwise."""

from typing import Any

import jax
import jax.numpy as jnp

from kjax.frozen import require_between
from kjax.nn import color
from kjax.nn.augment import Augment, check_range, two, uniform
from kjax.nn.conv import Windowed


class Coloured(Windowed):
    """Base of layers whose pictures have three channels: red, green and blue."""

    def check_input(self, x: Any) -> None:
        if x.shape[1 if self._data_format == "channels_first" else -1] != 3:
            self.refuse("takes pictures of three channels: red, green and blue", x)


class Recolor(Augment):
    """Base of layers that draw a number for each picture.

    A subclass defines `changed(self, picture, factor)`; what that gives is clipped to `value_range`.
    """

    factor: Any
    value_range: Any = (0, 255)
    data_format: str | None = None
    seed: int | None = None

    def convert(self, name: str, value: Any) -> Any:
        return share(value, name, type(self).__name__) if name == "factor" else super().convert(name, value)

    def validate(self) -> None:
        super().validate()
        check_range(self)

    def drawn(self, key: jax.Array, dtype: Any) -> jax.Array:
        """What `changed` gets."""
        return uniform(key, self.factor, dtype)

    def changed(self, picture: jax.Array, factor: jax.Array) -> jax.Array:
        raise NotImplementedError

    def one(self, key: jax.Array, picture: jax.Array) -> jax.Array:
        return jnp.clip(self.changed(picture, self.drawn(key, picture.dtype)), *self.value_range)


class RandomColorDegeneration(Coloured, Recolor):
    """Takes colour out of each picture: `x + factor * (grey - x)`; see `kjax.nn.color.grey`.

    Args:
        factor: how much of it, a range (least, largest) in [0, 1], or one number for (0, number).
        value_range: the pixels' least and largest value, to which the result is clipped.
        data_format: "channels_last" (the default) or "channels_first".
        seed: an integer mixed into the key.
    """

    def changed(self, picture: jax.Array, factor: jax.Array) -> jax.Array:
        return picture + factor * (color.grey(picture) - picture)


class RandomSaturation(Coloured, Recolor):
    """Multiplies the saturation of HSV by `factor / (1 - factor)`; it stays at most 1.

    Args:
        factor: 0 makes the picture grey, 0.5 leaves it as it is, 1 saturates all colours; a range (least, largest) in
            [0, 1], or one number for (0, number).
        value_range, data_format, seed: as in `RandomColorDegeneration`. (Keras 3.15 takes `value_range` for the
            range of the saturation, which is right for (0, 1) only.)

    >>> layer = RandomSaturation((0.0, 0.0), (0, 1))
    >>> x = jnp.array([1.0, 0.5, 0.25]).reshape(1, 1, 1, 3)
    >>> layer.apply({}, {}, x, training=True, key=jax.random.key(0))[0].ravel().tolist()
    [1.0, 1.0, 1.0]
    """

    def changed(self, picture: jax.Array, factor: jax.Array) -> jax.Array:
        least = self.value_range[0]
        return color.saturated(picture - least, factor / (1 - factor + 1e-7)) + least


class RandomHue(Coloured, Recolor):
    """Turns the colours of each picture round the circle of hues, by `factor / 2` of a turn to either side.

    Args:
        factor: a range (least, largest) in [0, 1], or one number for (0, number).
        value_range, data_format, seed: as in `RandomColorDegeneration`.
    """

    def drawn(self, key: jax.Array, dtype: Any) -> jax.Array:
        side, key = jax.random.split(key)
        return jax.random.rademacher(side, (), dtype) * uniform(key, self.factor, dtype) / 2

    def changed(self, picture: jax.Array, factor: jax.Array) -> jax.Array:
        return color.hue_turned(picture, factor)


class RandomPosterization(Recolor):
    """Keeps only the upper bits of each of a picture's numbers, which are brought to 0 … 255 for that and back.

    Args:
        factor: how many bits, an integer in 1 … 8 or a range of them, the largest included (which Keras 3.15 leaves
            out); one number means (1, number).
        value_range, data_format, seed: as in `RandomColorDegeneration`.
    """

    def convert(self, name: str, value: Any) -> Any:
        if name == "factor":
            return tuple(int(bits) for bits in share(value, name, "RandomPosterization", 1, 8))
        return super().convert(name, value)

    def drawn(self, key: jax.Array, dtype: Any) -> jax.Array:
        least, most = self.factor
        return jax.random.randint(key, (), least, most + 1).astype(dtype)

    def changed(self, picture: jax.Array, factor: jax.Array) -> jax.Array:
        found = color.posterised(color.moved(picture, self.value_range, (0, 255)), factor)
        return color.moved(found, (0, 255), self.value_range)


class RandomSharpness(Recolor):
    """Blurs or sharpens each picture: `x + (1 - 2 factor) * (smoothed - x)`; see `kjax.nn.color.smoothed`.

    Args:
        factor: 0 blurs, 0.5 leaves the picture as it is, 1 sharpens; a range (least, largest) in [0, 1], or one
            number for (0, number).
        value_range, data_format, seed: as in `RandomColorDegeneration`.
    """

    def changed(self, picture: jax.Array, factor: jax.Array) -> jax.Array:
        return picture + (1 - 2 * factor) * (color.smoothed(picture) - picture)


class Solarization(Augment):
    """Inverts what is bright: `x` below a threshold stays, and `255 - x` takes the place of the rest.

    Args:
        addition_factor: a share of 255 that is added before: a range (least, largest) in [0, 1], or one number for
            (0, number).
        threshold_factor: the threshold as a share of 255; likewise. (Keras 3.15 takes the least of either for a
            number of 0 … 255.)
        value_range: the pixels' least and largest value; they are brought to 0 … 255 and back.
        seed: an integer mixed into the key.
        data_format: of no importance here.
    """

    addition_factor: Any = 0.0
    threshold_factor: Any = 0.0
    value_range: Any = (0, 255)
    seed: int | None = None
    data_format: str | None = None

    def convert(self, name: str, value: Any) -> Any:
        return share(value, name, "Solarization") if name.endswith("factor") else super().convert(name, value)

    def validate(self) -> None:
        super().validate()
        check_range(self)

    def one(self, key: jax.Array, picture: jax.Array) -> jax.Array:
        add, threshold = (
            255 * uniform(k, range_, picture.dtype)
            for k, range_ in zip(jax.random.split(key), (self.addition_factor, self.threshold_factor), strict=True)
        )
        lit = jnp.clip(color.moved(picture, self.value_range, (0, 255)) + add, 0, 255)
        return color.moved(jnp.where(lit < threshold, lit, 255 - lit), (0, 255), self.value_range)


class Sometimes(Augment):
    """Base of layers that change only some pictures: with a chance drawn from the range `factor`.

    A subclass defines `changed(self, key, picture)`.
    """

    def convert(self, name: str, value: Any) -> Any:
        return share(value, name, type(self).__name__) if name == "factor" else super().convert(name, value)

    @property
    def chances(self) -> tuple[float, float]:
        """The range that a picture's chance is drawn from."""
        return self.factor  # type: ignore[attr-defined]

    def changed(self, key: jax.Array, picture: jax.Array) -> jax.Array:
        raise NotImplementedError

    def one(self, key: jax.Array, picture: jax.Array) -> jax.Array:
        often, coin, key = jax.random.split(key, 3)
        chance = uniform(often, self.chances, picture.dtype)
        wanted = jax.random.uniform(coin, (), picture.dtype) < chance
        return jnp.where(wanted, self.changed(key, picture), picture)


class RandomInvert(Sometimes):
    """Turns some pictures into their negatives: `least + largest - x`, with the numbers of `value_range`.

    Args:
        factor: the range that a picture's chance is drawn from, or one number for (0, number), which inverts number / 2
            of all pictures, as in Keras; (1, 1) inverts all.
        value_range: the pixels' least and largest value. (Keras 3.15 takes the least for 0.)
        seed: an integer mixed into the key.
        data_format: of no importance here.
    """

    factor: Any = 1.0
    value_range: Any = (0, 255)
    seed: int | None = None
    data_format: str | None = None

    def validate(self) -> None:
        super().validate()
        check_range(self)

    def changed(self, key: jax.Array, picture: jax.Array) -> jax.Array:
        return sum(self.value_range) - picture


class RandomGrayscale(Coloured, Sometimes):
    """Makes some pictures grey; they keep three channels. See `kjax.nn.color.grey`.

    Args:
        factor: the chance of each picture.
        data_format: "channels_last" (the default) or "channels_first".
        seed: an integer mixed into the key.
    """

    factor: float = 0.5
    data_format: str | None = None
    seed: int | None = None

    def convert(self, name: str, value: Any) -> Any:
        return value if name == "factor" else super().convert(name, value)

    def validate(self) -> None:
        super().validate()
        require_between(self.factor, "factor", "RandomGrayscale", 0, 1)

    @property
    def chances(self) -> tuple[float, float]:
        return self.factor, self.factor

    def changed(self, key: jax.Array, picture: jax.Array) -> jax.Array:
        return color.grey(picture)


def share(value: Any, name: str, owner: str, low: float = 0, high: float = 1) -> tuple[float, float]:
    """A range in [low, high]; a single number means (low, number).

    >>> share(0.2, "factor", "RandomHue"), share((0.3, 0.1), "factor", "RandomHue")
    ((0.0, 0.2), (0.1, 0.3))
    """
    least, largest = sorted(two(value, name, owner, low, high, lambda most: (low, most)))
    return least, largest
