"""Layers that apply several random changes to each picture of a batch, in training alone."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from kjax.frozen import require_between, require_int
from kjax.nn import color, image
from kjax.nn.augment import (
    Augment,
    RandomBrightness,
    RandomContrast,
    RandomRotation,
    RandomTranslation,
    check_name,
    check_range,
)
from kjax.nn.mix import symmetric_beta
from kjax.nn.recolor import (
    Coloured,
    RandomColorDegeneration,
    RandomHue,
    RandomPosterization,
    RandomSaturation,
    RandomSharpness,
    Solarization,
    share,
)
from kjax.nn.warp import RandomShear

Change = Callable[[jax.Array, jax.Array], jax.Array]


class RandomColorJitter(Augment):
    """Changes the brightness, contrast, saturation and hue of each picture, one after the other.

    Args:
        value_range: the pixels' least and largest value, to which each result is clipped.
        brightness_factor: as in `RandomBrightness`; None leaves it out, as with the others.
        contrast_factor: as in `RandomContrast`.
        saturation_factor: as in `RandomSaturation`.
        hue_factor: as in `RandomHue`.
        seed: an integer mixed into the key.
        data_format: "channels_last" (the default) or "channels_first".
    """

    value_range: Any = (0, 255)
    brightness_factor: Any = None
    contrast_factor: Any = None
    saturation_factor: Any = None
    hue_factor: Any = None
    seed: int | None = None
    data_format: str | None = None

    @property
    def steps(self) -> list[Augment]:
        """The layers that are applied."""
        kinds = {
            RandomBrightness: self.brightness_factor,
            RandomContrast: self.contrast_factor,
            RandomSaturation: self.saturation_factor,
            RandomHue: self.hue_factor,
        }
        options = {"value_range": self.value_range, "data_format": self.data_format}
        return [kind(factor, **options) for kind, factor in kinds.items() if factor is not None]

    def validate(self) -> None:
        super().validate()
        check_range(self)
        _ = self.steps

    def check_input(self, x: Any) -> None:
        for layer in self.steps:
            layer.check_input(x)

    def one(self, key: jax.Array, picture: jax.Array) -> jax.Array:
        for i, layer in enumerate(self.steps):
            picture = layer.one(jax.random.fold_in(key, i), picture)
        return picture


class Policy(Coloured, Augment):
    """Base of layers that choose among many changes of a strength `factor`, for each picture anew."""

    def convert(self, name: str, value: Any) -> Any:
        return share(value, name, type(self).__name__) if name == "factor" else super().convert(name, value)

    def validate(self) -> None:
        super().validate()
        check_range(self)
        check_name(self, "interpolation", image.INTERPOLATIONS)

    def changes(self, colours: bool = True) -> list[Change]:
        """`change(key, picture)`: of shapes, of bits and contrast, and those of colours and light."""
        factor, value_range, way = self.factor, self.value_range, {"interpolation": self.interpolation}  # type: ignore[attr-defined]
        bits = max(1, int(8 * factor[1]))
        random: list[Augment] = [
            RandomShear(factor, factor, **way),
            RandomTranslation(factor, factor, **way),
            RandomRotation(factor, **way),
            RandomPosterization(bits, value_range),
            Solarization(factor, factor, value_range),
        ]
        if colours:
            kinds = (RandomBrightness, RandomColorDegeneration, RandomContrast, RandomSharpness)
            random += [kind(factor, value_range) for kind in kinds]
        return [
            *(layer.one for layer in random),
            lambda key, picture: color.stretched(picture, value_range),
            lambda key, picture: color.equalised(picture, value_range),
        ]


class RandAugment(Policy):
    """Applies `num_ops` changes to each picture, drawn from eleven kinds with equal chances.

    They are `RandomShear`, `RandomTranslation`, `RandomRotation`, `RandomBrightness`, `RandomColorDegeneration`,
    `RandomContrast`, `RandomSharpness`, `RandomPosterization` (with `8 factor` bits), `Solarization`, `AutoContrast`
    and `Equalization`. (Keras 3.15 draws the kinds once for a whole batch.)

    Args:
        value_range: the pixels' least and largest value.
        num_ops: how many changes there are.
        factor: their strength: a range (least, largest) in [0, 1], or one number for (0, number).
        interpolation: "bilinear" or "nearest".
        seed: an integer mixed into the key.
        data_format: "channels_last" (the default) or "channels_first".

    Source: Cubuk et al., "RandAugment", 2019 (arXiv:1909.13719); Keras.
    """

    value_range: Any = (0, 255)
    num_ops: int = 2
    factor: Any = 0.5
    interpolation: str = "bilinear"
    seed: int | None = None
    data_format: str | None = None

    def validate(self) -> None:
        super().validate()
        require_int(self.num_ops, "num_ops", "RandAugment")

    def one(self, key: jax.Array, picture: jax.Array) -> jax.Array:
        return chained(jax.random.split(key, self.num_ops), picture, self.changes())


class AugMix(Policy):
    """Mixes each picture with several of its own changed copies, each of them changed several times in a row.

        (1 - m) * (w_1 * chain_1(x) + w_2 * chain_2(x) + …) + m * x,  w from Dirichlet(alpha), m from Beta(alpha, alpha)

    Each link of a chain is drawn with equal chances from the changes of `RandAugment` and no change. (Keras 3.15 draws
    them once, for all batches.)

    Args:
        value_range: the pixels' least and largest value, to which the result is clipped.
        num_chains: how many changed copies there are.
        chain_depth: how many links a chain has.
        factor: the changes' strength: a range (least, largest) in [0, 1], or one number for (0, number).
        alpha: above 0; large ones give even weights.
        all_ops: whether changes of brightness, colour, contrast and sharpness are among them.
        interpolation: "bilinear" or "nearest".
        seed: an integer mixed into the key.
        data_format: "channels_last" (the default) or "channels_first".

    Source: Hendrycks et al., "AugMix", ICLR 2020 (arXiv:1912.02781); Keras.
    """

    value_range: Any = (0, 255)
    num_chains: int = 3
    chain_depth: int = 3
    factor: Any = 0.3
    alpha: float = 1.0
    all_ops: bool = True
    interpolation: str = "bilinear"
    seed: int | None = None
    data_format: str | None = None

    def validate(self) -> None:
        super().validate()
        require_int(self.num_chains, "num_chains", "AugMix")
        require_int(self.chain_depth, "chain_depth", "AugMix")
        require_between(self.alpha, "alpha", "AugMix", 1e-6, float("inf"))

    def one(self, key: jax.Array, picture: jax.Array) -> jax.Array:
        chains, weights, rest = jax.random.split(key, 3)
        changes = [*self.changes(self.all_ops), lambda key, picture: picture]
        links = jax.random.split(chains, (self.num_chains, self.chain_depth))
        copies = jax.vmap(lambda keys: chained(keys, picture, changes))(links)
        alphas = jnp.full(self.num_chains, self.alpha, picture.dtype)
        weight = jax.random.dirichlet(weights, alphas, dtype=picture.dtype)
        mixed = (copies * weight[:, None, None, None]).sum(0)
        own = symmetric_beta(rest, self.alpha, (), picture.dtype)
        return jnp.clip(own * picture + (1 - own) * mixed, *self.value_range)


def chained(keys: jax.Array, picture: jax.Array, changes: list[Change]) -> jax.Array:
    """The picture after a change for each key, drawn from several."""

    def step(picture: jax.Array, key: jax.Array) -> tuple[jax.Array, None]:
        kind, key = jax.random.split(key)
        return jax.lax.switch(jax.random.randint(kind, (), 0, len(changes)), changes, key, picture), None

    return jax.lax.scan(step, picture, keys)[0]
