"""Layers that draw random numbers in training, or penalise what passes."""

import math
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from kjax import regularizers
from kjax.dtypes import at_least_float32
from kjax.frozen import is_int, require_between
from kjax.nn import kernels
from kjax.nn.core import check_data_format
from kjax.nn.layer import Layer, Params, State


class Noise(Layer):
    """Base of layers that disturb their input in training alone, by a `rate` in [0, 1), with a field `seed`.

    Subclasses define `disturb(self, x, key)`.
    """

    draws = True

    def validate(self) -> None:
        owner = type(self).__name__
        require_between(self.rate, "rate", owner, 0, 1, open_top=True)  # type: ignore[attr-defined]
        self.check_seed()

    def check_seed(self) -> None:
        """Refuses a seed that is no integer."""
        seed = self.seed  # type: ignore[attr-defined]
        if seed is not None and not is_int(seed):
            raise ValueError(f"{type(self).__name__}: seed must be an integer; got {seed!r}")

    @property
    def strength(self) -> float:
        """How much is disturbed; 0 leaves the input as it is."""
        return self.rate  # type: ignore[attr-defined]

    def disturb(self, x: jax.Array, key: jax.Array) -> jax.Array:
        """The input with noise."""
        raise NotImplementedError

    def call(self, params: Params, state: State, x: Any, training: bool, key: Any) -> tuple[Any, State]:
        if not training or self.strength == 0:
            return x, state
        seed = self.seed  # type: ignore[attr-defined]
        return self.disturb(x, key if seed is None else jax.random.fold_in(key, seed)), state


class Dropping(Noise):
    """Base of layers that set elements to zero with probability `rate`, and scale the others by 1 / (1 - rate)."""

    def draw_shape(self, x: Any) -> tuple[int, ...]:
        """The shape of the draw: 1 along the axes on which elements share their fate."""
        raise NotImplementedError

    def keep(self, x: jax.Array, key: jax.Array) -> jax.Array:
        """Which elements stay."""
        rate = self.rate  # type: ignore[attr-defined]
        return jnp.broadcast_to(kernels.keep_mask(key, rate, self.draw_shape(x)), x.shape)

    def disturb(self, x: jax.Array, key: jax.Array) -> jax.Array:
        rate = self.rate  # type: ignore[attr-defined]
        return jnp.where(self.keep(x, key), x / (1 - rate), jnp.zeros((), x.dtype))


class Dropout(Dropping):
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

    def check_input(self, x: Any) -> None:
        shape = self.noise_shape
        if shape is not None and not (
            len(shape) == len(x.shape) and all(n in (None, 1, size) for n, size in zip(shape, x.shape, strict=True))
        ):
            self.refuse("takes a noise_shape of the input's rank, with 1 or the input's size on each axis", x)

    def draw_shape(self, x: Any) -> tuple[int, ...]:
        noise = self.noise_shape or (None,) * x.ndim
        return tuple(size if n is None else n for n, size in zip(noise, x.shape, strict=True))


class AlphaDropout(Dropout):
    """Dropout for `selu` networks: keeps mean 0 and variance 1 of its input as they are.

    With probability `rate` an element becomes α' = -1.0507 · 1.6733, which selu tends to below; all are then scaled
    and shifted: `a x + b`, a = ((1 - rate) (1 + rate α'²))^(-1/2), b = -a α' rate.

    Args:
        rate: the share of elements to set to α', in [0, 1).
        noise_shape: that of `Dropout`.
        seed: an integer mixed into the key, for another draw from the same key.

    Raises:
        ValueError: rate outside [0, 1).
        LayerError: training without a key, or a noise_shape that does not fit.

    Source: Klambauer et al., "Self-Normalizing Neural Networks", 2017; arguments as in Keras.

    >>> x = jax.random.normal(jax.random.key(0), (1000, 100))
    >>> y, _ = AlphaDropout(0.3).apply({}, {}, x, training=True, key=jax.random.key(1))
    >>> abs(y.mean()) < 0.02, abs(y.var() - 1) < 0.02
    (Array(True, dtype=bool), Array(True, dtype=bool))
    """

    lowest: ClassVar[float] = -1.0507009873554805 * 1.6732632423543772

    def disturb(self, x: jax.Array, key: jax.Array) -> jax.Array:
        a = ((1 - self.rate) * (1 + self.rate * self.lowest**2)) ** -0.5
        b = -a * self.lowest * self.rate
        return jnp.where(self.keep(x, key), a * x + b, jnp.asarray(a * self.lowest + b, x.dtype))


class SpatialDropout(Dropping):
    """Base of the layers that drop whole channels."""

    def validate(self) -> None:
        super().validate()
        check_data_format(getattr(self, "data_format", None), type(self).__name__)

    def draw_shape(self, x: Any) -> tuple[int, ...]:
        channels = 1 if getattr(self, "data_format", None) == "channels_first" else x.ndim - 1
        return tuple(size if axis in (0, channels) else 1 for axis, size in enumerate(x.shape))


class SpatialDropout1D(SpatialDropout):
    """Drops whole channels of sequences, (batch, steps, channels); otherwise like `Dropout`.

    Args:
        rate: the share of channels to drop, in [0, 1).
        seed: an integer mixed into the key, for another draw from the same key.

    Raises:
        ValueError: rate outside [0, 1).
        LayerError: an input of another rank, or training without a key.

    Source: Tompson et al., "Efficient object localization using convolutional networks", 2014.

    >>> y, _ = SpatialDropout1D(0.5).apply({}, {}, jnp.ones((2, 9, 4)), training=True, key=jax.random.key(0))
    >>> sorted(set(y.sum(1).ravel().tolist()))
    [0.0, 18.0]
    """

    rate: float
    seed: int | None = None

    ndim = 3
    axes = "(batch, steps, channels)"


class SpatialDropout2D(SpatialDropout):
    """Drops whole channels of pictures; otherwise like `Dropout`.

    Args:
        rate: the share of channels to drop, in [0, 1).
        data_format: "channels_last" (the default), (batch, rows, cols, channels), or "channels_first".
        seed: an integer mixed into the key, for another draw from the same key.

    Raises and source: those of `SpatialDropout1D`.
    """

    rate: float
    data_format: str | None = None
    seed: int | None = None

    ndim = 4
    axes = "(batch, rows, cols, channels), or channels first"


class SpatialDropout3D(SpatialDropout):
    """Drops whole channels of volumes, (batch, depth, rows, cols, channels); arguments of `SpatialDropout2D`."""

    rate: float
    data_format: str | None = None
    seed: int | None = None

    ndim = 5
    axes = "(batch, depth, rows, cols, channels), or channels first"


class DropPath(Dropping):
    """Drops whole examples with probability `rate` in training, and scales the others by 1 / (1 - rate).

    At the end of a residual branch, `x + DropPath(0.1)(branch(x))`, it leaves out the branch for some examples: a
    network of random depth.

    Args:
        rate: the share of examples to drop, in [0, 1).
        seed: an integer mixed into the key, for another draw from the same key.

    Raises:
        ValueError: rate outside [0, 1).
        LayerError: training without a key.

    Source: Huang et al., "Deep networks with stochastic depth", 2016; scaled in training rather than in inference.

    >>> y, _ = DropPath(0.5).apply({}, {}, jnp.ones((9, 4)), training=True, key=jax.random.key(0))
    >>> sorted(set(y.sum(1).tolist()))
    [0.0, 8.0]
    """

    rate: float
    seed: int | None = None

    def draw_shape(self, x: Any) -> tuple[int, ...]:
        return (x.shape[0],) + (1,) * (x.ndim - 1)


class GaussianNoise(Noise):
    """Adds normal noise of mean 0 in training.

    Args:
        stddev: standard deviation of the noise, at least 0.
        seed: an integer mixed into the key, for another draw from the same key.

    Raises:
        ValueError: stddev below 0.
        LayerError: training without a key.

    >>> y, _ = GaussianNoise(0.5).apply({}, {}, jnp.ones((1000, 100)), training=True, key=jax.random.key(0))
    >>> round(y.mean().item(), 1), round(y.std().item(), 2)
    (1.0, 0.5)
    """

    stddev: float
    seed: int | None = None

    def validate(self) -> None:
        require_between(self.stddev, "stddev", "GaussianNoise", 0, math.inf)
        self.check_seed()

    @property
    def strength(self) -> float:
        return self.stddev

    def disturb(self, x: jax.Array, key: jax.Array) -> jax.Array:
        wide = at_least_float32(x.dtype)
        return (x.astype(wide) + self.stddev * kernels.normal(key, x.shape, wide)).astype(x.dtype)


class GaussianDropout(Noise):
    """Multiplies by normal noise of mean 1 and variance rate / (1 - rate), that of dropout, in training.

    Args:
        rate: in [0, 1).
        seed: an integer mixed into the key, for another draw from the same key.

    Raises:
        ValueError: rate outside [0, 1).
        LayerError: training without a key.

    Source: Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", JMLR 2014.

    >>> y, _ = GaussianDropout(0.2).apply({}, {}, jnp.ones((1000, 100)), training=True, key=jax.random.key(0))
    >>> round(y.mean().item(), 1), round(y.std().item(), 2)
    (1.0, 0.5)
    """

    rate: float
    seed: int | None = None

    def disturb(self, x: jax.Array, key: jax.Array) -> jax.Array:
        wide, stddev = at_least_float32(x.dtype), math.sqrt(self.rate / (1 - self.rate))
        return (x.astype(wide) * (1 + stddev * kernels.normal(key, x.shape, wide))).astype(x.dtype)


class ActivityRegularization(Layer):
    """Passes its input on, and adds `l1 * sum(|x|) + l2 * sum(x²)`, divided by the number of examples, to the loss.

    Args:
        l1: factor of the sum of magnitudes.
        l2: factor of the sum of squares.

    Raises:
        ValueError: a factor is negative or not finite.

    >>> layer = ActivityRegularization(l2=0.5)
    >>> params, state = layer.init(jax.random.key(0), jnp.ones((1, 2)))
    >>> _, state = layer.apply(params, state, jnp.array([[3.0, 4.0], [0.0, 0.0]]))
    >>> float(layer.penalty(params, state))
    6.25
    """

    l1: float = 0.0
    l2: float = 0.0

    def validate(self) -> None:
        regularizers.require_factor(self.l1, "l1", "ActivityRegularization")
        regularizers.require_factor(self.l2, "l2", "ActivityRegularization")

    @property
    def activity_regularizer(self) -> regularizers.L1L2:
        """The penalty, as the base class looks it up."""
        return regularizers.L1L2(self.l1, self.l2)

    def call(self, params: Params, state: State, x: Any, training: bool, key: Any) -> tuple[Any, State]:
        return x, state
