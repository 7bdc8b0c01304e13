"""Layers that mix the examples of a batch, and their labels with them."""

from typing import Any

import jax
import jax.numpy as jnp

from kjax.dtypes import at_least_float32
from kjax.frozen import require_between
from kjax.nn.augment import check_seed, seeded, two, uniform
from kjax.nn.core import channels_back, channels_last, check_data_format
from kjax.nn.layer import Layer, Params, State
from kjax.nn.mask import mask_of, over, plain, remask, unmask


class Mixing(Layer):
    """Base of the layers that mix each example with another one of its batch, in training alone.

    The input is a tuple `(images, labels)`, labels as vectors (one-hot), and so is the output; images alone are
    mixed too. As labels come out changed, such a layer stands before the network, in a training step:

        mix = nn.MixUp(0.2)

        @jax.jit
        def step(state, batch):
            batch, _ = mix.apply({}, {}, batch, training=True, key=jax.random.fold_in(state.key, state.step))
            return trainer.train_step(state, batch)

    A subclass defines `shares(self, key, images)`: how much of each example, and of each label, stays.
    Rows that are padding are mixed into no other.
    """

    draws = True
    mixes_examples = True
    takes_mask = True

    def validate(self) -> None:
        check_data_format(self.data_format, type(self).__name__)  # type: ignore[attr-defined]
        check_seed(self)

    def check_input(self, x: Any) -> None:
        images, *labels = x if isinstance(x, tuple | list) else (x,)
        if len(images.shape) < 2 or len(labels) > 1:
            self.refuse("takes images, or a tuple (images, labels)", images)
        if labels and (len(labels[0].shape) < 2 or labels[0].shape[0] != images.shape[0]):
            self.refuse(
                "takes a vector of labels per image", labels[0], "kjax.utils.to_categorical makes them of class numbers"
            )

    def shares(self, key: jax.Array, images: jax.Array) -> tuple[jax.Array, jax.Array]:
        """What stays: of images as (batch, …) for as many of their axes as differ, of labels as (batch,)."""
        raise NotImplementedError

    def call(self, params: Params, state: State, x: Any, training: bool, key: Any) -> tuple[Any, State]:
        if not training:
            return x, state
        several = isinstance(x, tuple | list)
        parts = tuple(x) if several else (x,)
        images = channels_last(plain(parts[0]), self.data_format)  # type: ignore[attr-defined]
        partner_key, key = jax.random.split(seeded(self, key))
        partner = partners(partner_key, len(images), mask_of(x))
        of_images, of_labels = self.shares(key, images)
        mixed = channels_back(blend(images, partner, of_images), self.data_format)  # type: ignore[attr-defined]
        values = (mixed, *(blend(plain(part), partner, of_labels) for part in parts[1:]))
        found = tuple(remask(value, unmask(part)[1]) for value, part in zip(values, parts, strict=True))
        return found if several else found[0], state


class MixUp(Mixing):
    """Blends each example with another: `weight * x + (1 - weight) * x[other]`, labels likewise.

    Args:
        alpha: the weight is drawn from the distribution Beta(alpha, alpha) for each example; above 0.
        data_format: of no importance here.
        seed: an integer mixed into the key.

    Inputs and outputs, and how to train with it: see `Mixing`; `(images, labels)` -> `(images, labels)`.

    Source: Zhang et al., "mixup: beyond empirical risk minimization", ICLR 2018.

    >>> images, labels = jnp.zeros((4, 2, 2, 1)), jnp.eye(4)
    >>> (x, y), _ = MixUp().apply({}, {}, (images, labels), training=True, key=jax.random.key(0))
    >>> x.shape, y.sum(1).round(4).tolist()
    ((4, 2, 2, 1), [1.0, 1.0, 1.0, 1.0])
    """

    alpha: float = 0.2
    data_format: str | None = None
    seed: int | None = None

    def validate(self) -> None:
        super().validate()
        require_between(self.alpha, "alpha", "MixUp", 1e-6, float("inf"))

    def shares(self, key: jax.Array, images: jax.Array) -> tuple[jax.Array, jax.Array]:
        weight = symmetric_beta(key, self.alpha, (len(images),), at_least_float32(images.dtype))
        return weight, weight


class CutMix(Mixing):
    """Pastes a rectangle of another picture into each one; labels mix as the numbers of pixels do.

    Args:
        factor: a range (least, largest) in [0, 1] from which alpha is drawn, or one number for (0, number). The
            rectangle's share of the area is drawn from Beta(alpha, alpha), its place uniformly.
        seed: an integer mixed into the key.
        data_format: "channels_last" (the default) or "channels_first".

    Inputs and outputs, and how to train with it: see `Mixing`; `(images, labels)` -> `(images, labels)`.

    Source: Yun et al., "CutMix: regularization strategy to train strong classifiers", ICCV 2019.
    """

    factor: Any = 1.0
    seed: int | None = None
    data_format: str | None = None

    ndim = None

    def convert(self, name: str, value: Any) -> Any:
        if name != "factor":
            return super().convert(name, value)
        return tuple(sorted(two(value, name, "CutMix", 0, 1, lambda most: (0, most))))

    def check_input(self, x: Any) -> None:
        super().check_input(x)
        images = x[0] if isinstance(x, tuple | list) else x
        if len(images.shape) != 4:
            self.refuse("takes pictures of rank 4, (batch, rows, cols, channels)", images)

    def shares(self, key: jax.Array, images: jax.Array) -> tuple[jax.Array, jax.Array]:
        keys, dtype = jax.random.split(key, 3), at_least_float32(images.dtype)
        alpha = uniform(keys[0], self.factor, dtype) + 1e-6
        side = jnp.sqrt(symmetric_beta(keys[1], alpha, (len(images), 1), dtype))
        start = jax.random.uniform(keys[2], (len(images), 2), dtype)
        row, col = (cut(size, side, start[:, i, None]) for i, size in enumerate(images.shape[1:3]))
        own = 1 - (row[:, :, None] & col[:, None, :]).astype(dtype)
        return own, own.mean((1, 2))


def symmetric_beta(key: jax.Array, alpha: Any, shape: tuple[int, ...], dtype: Any) -> jax.Array:
    """Draws from Beta(alpha, alpha), without the loop of a rejection: `(1 + t / sqrt(2 alpha + t²)) / 2`, where t is
    Student's with 2 alpha degrees of freedom, drawn by Bailey's formula.

    Source: Bailey, "Polar generation of random variates with the t-distribution", Mathematics of Computation 1994.
    """
    u, v = jax.random.uniform(key, (2, *shape), dtype)
    cos, power = jnp.cos(2 * jnp.pi * v), u ** (1 / alpha)
    far = (1 - power) * cos**2  # t² / (2 alpha) times the power, which may be 0
    return (1 + jnp.sign(cos) * jnp.sqrt(far / (power + far))) / 2


def cut(size: int, share: jax.Array, start: jax.Array) -> jax.Array:
    """Which of `size` pixels lie in an interval of that share of them; `start` of the room left lies before it."""
    pixels, length = jnp.arange(size)[None, :].astype(share.dtype), share * size
    first = start * (size - length)
    return (pixels >= first) & (pixels < first + length)


def partners(key: jax.Array, n: int, mask: Any) -> jax.Array:
    """An order of n rows; a row whose partner is padding gets itself."""
    order = jax.random.permutation(key, n)
    if mask is None:
        return order
    real = mask.reshape(n, -1).any(1)
    return jnp.where(real[order], order, jnp.arange(n))


def blend(x: jax.Array, partner: jax.Array, share: jax.Array) -> jax.Array:
    """`share` of each row, and the rest of its partner."""
    wide = x.astype(share.dtype)
    share = over(share, x)
    return (share * wide + (1 - share) * wide[partner]).astype(x.dtype)
