"""Layers that draw random numbers in training."""

from typing import Any

import jax
import jax.numpy as jnp

from kjax.frozen import is_int, require_between
from kjax.nn import kernels
from kjax.nn.layer import Layer, Params, State


class Dropout(Layer):
    """Sets each element to zero with probability `rate` in training, and scales the others by 1 / (1 - rate).

    Args:
        rate: the share of elements to drop, in [0, 1).
        noise_shape: shape of the draw, with 1 (or None for the input's own size) where elements share their fate:
            `(None, 1, None)` drops whole channels of (batch, time, channels).
        seed: an integer mixed into the key, for another draw from the same key.

    Source: Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", JMLR 2014.

    Raises:
        ValueError: rate outside [0, 1).
        LayerError: training without a key, or a noise_shape that does not fit.

    >>> y, _ = Dropout(0.5).apply({}, {}, jnp.ones((1, 4)), training=True, key=jax.random.key(0))
    >>> sorted(set(y.ravel().tolist()))
    [0.0, 2.0]
    """

    rate: float
    noise_shape: Any = None
    seed: int | None = None

    draws = True

    def validate(self) -> None:
        require_between(self.rate, "rate", "Dropout", 0, 1, open_top=True)
        if self.seed is not None and not is_int(self.seed):
            raise ValueError(f"Dropout: seed must be an integer; got {self.seed!r}")

    def check_input(self, x: Any) -> None:
        shape = self.noise_shape
        if shape is not None and not (
            len(shape) == len(x.shape) and all(n in (None, 1, size) for n, size in zip(shape, x.shape, strict=True))
        ):
            self.refuse("takes a noise_shape of the input's rank, with 1 or the input's size on each axis", x)

    def call(self, params: Params, state: State, x: Any, training: bool, key: Any) -> tuple[Any, State]:
        if not training or self.rate == 0:
            return x, state
        if self.seed is not None:
            key = jax.random.fold_in(key, self.seed)
        noise = self.noise_shape or (None,) * x.ndim
        shape = tuple(size if n is None else n for n, size in zip(noise, x.shape, strict=True))
        keep = jnp.broadcast_to(kernels.keep_mask(key, self.rate, shape), x.shape)
        return jnp.where(keep, x / (1 - self.rate), jnp.zeros((), x.dtype)), state
