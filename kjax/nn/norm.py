"""Normalisation within each example, and what all normalisation layers share."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp

from kjax.dtypes import at_least_float32
from kjax.frozen import is_int, require_between, require_int
from kjax.nn import kernels
from kjax.nn.layer import Layer, Params, State


class OverAxes(Layer):
    """Base of layers with a field `axis`: an integer or several, none of them the batch axis."""

    min_ndim = 2
    computes_wide = True

    @property
    def _axes(self) -> tuple[int, ...]:
        axis = self.axis  # type: ignore[attr-defined]
        return axis if isinstance(axis, tuple) else (axis,)

    def validate(self) -> None:
        owner = type(self).__name__
        if not self._axes or not all(is_int(axis) for axis in self._axes):
            raise ValueError(f"{owner}: axis is an integer or several; got {self.axis!r}")  # type: ignore[attr-defined]
        if hasattr(self, "epsilon"):
            require_between(self.epsilon, "epsilon", owner, 0, math.inf)

    def check_input(self, x: Any) -> None:
        rank = len(x.shape)
        if any(not -rank <= axis < rank or axis in (0, -rank) for axis in self._axes):
            self.refuse("has an axis which is the batch axis or beyond the input's rank", x)
        if len(set(self.features(x))) < len(self._axes):
            self.refuse("names an axis twice", x)

    def features(self, x: Any) -> tuple[int, ...]:
        """The axes of `x` that `axis` names, counted from the front."""
        return tuple(sorted(axis % len(x.shape) for axis in self._axes))

    def others(self, x: Any) -> tuple[int, ...]:
        """The axes of `x` that `axis` does not name."""
        features = self.features(x)
        return tuple(axis for axis in range(len(x.shape)) if axis not in features)

    def check_built(self, weights: Params, x: Any) -> None:
        """Refuses other sizes along `axis` than the weights were made for."""
        shape = tuple(x.shape[axis] for axis in self.features(x))
        for weight in weights.values():
            if weight.shape != shape:
                self.refuse(f"was built for {weight.shape} features on its axis", x)

    def spread(self, weight: jax.Array, x: jax.Array) -> jax.Array:
        """A weight of the features so that it broadcasts against `x`, in its dtype."""
        return jnp.expand_dims(weight.astype(x.dtype), self.others(x))


class Affine(OverAxes):
    """Base of layers that end in `gamma * y + beta`, one number for each feature, unless `scale` or `center` say no."""

    beta_initializer: Any = dataclasses.field(default="zeros", kw_only=True)
    gamma_initializer: Any = dataclasses.field(default="ones", kw_only=True)
    beta_regularizer: Any = dataclasses.field(default=None, kw_only=True)
    gamma_regularizer: Any = dataclasses.field(default=None, kw_only=True)
    beta_constraint: Any = dataclasses.field(default=None, kw_only=True)
    gamma_constraint: Any = dataclasses.field(default=None, kw_only=True)

    def build(self, key: jax.Array, x: Any) -> tuple[Params, State]:
        shape = tuple(x.shape[axis] for axis in self.features(x))
        wanted = {"gamma": self.scale, "beta": self.center}  # type: ignore[attr-defined]
        return self.weights(key, x.dtype, **{name: shape for name, there in wanted.items() if there}), {}

    def affine(self, params: Params, y: jax.Array) -> jax.Array:
        """`gamma * y + beta`, as far as there are any."""
        gamma, beta = self.weights_of(params, y)
        y = y if gamma is None else y * gamma
        return y if beta is None else y + beta

    def weights_of(self, params: Params, x: jax.Array) -> tuple[jax.Array | None, jax.Array | None]:
        """Gamma and beta so that they broadcast against `x`, None where there is none."""
        gamma, beta = (self.spread(params[name], x) if name in params else None for name in ("gamma", "beta"))
        return gamma, beta


class WithinExample(Affine):
    """Base of layers that normalise each example by itself; subclasses define `normalise(self, x)`."""

    def normalise(self, x: jax.Array) -> jax.Array:
        """Mean 0 and variance 1; `x` is float32 or wider."""
        raise NotImplementedError

    def call(self, params: Params, state: State, x: Any, training: bool, key: Any) -> tuple[Any, State]:
        self.check_built(params, x)
        wide = x.astype(at_least_float32(x.dtype))
        return self.finished(params, wide).astype(x.dtype), state

    def finished(self, params: Params, x: jax.Array) -> jax.Array:
        """What comes out; `x` is float32 or wider."""
        return self.affine(params, self.normalise(x))


class LayerNormalization(WithinExample):
    """Gives the features of each example mean 0 and variance 1: `gamma (x - mean) / sqrt(var + epsilon) + beta`.

    The mean and the (biased) variance go over `axis`; each other position has its own. They are computed in float32
    for narrower inputs.

    Args:
        axis: the features' axis (an integer, or several).
        epsilon: added to the variance.
        center: whether to add beta.
        scale: whether to multiply by gamma.

    Shapes: the output's is the input's; gamma and beta have the sizes of `axis`.

    Raises:
        ValueError: an epsilon below 0, an axis that is no integer, or `rms_scaling=True`, which Keras deprecates.
        LayerError: an axis beyond the rank, the batch axis, or features of another size than at `init`.

    Source: Ba, Kiros and Hinton, "Layer Normalization", 2016.

    >>> layer = LayerNormalization(epsilon=0.0)
    >>> params, state = layer.init(jax.random.key(0), jnp.ones((1, 2)))
    >>> layer.apply(params, state, jnp.array([[1.0, 3.0], [20.0, 10.0]]))[0].tolist()
    [[-1.0, 1.0], [1.0, -1.0]]
    """

    axis: Any = -1
    epsilon: float = 1e-3
    center: bool = True
    scale: bool = True

    @classmethod
    def translate(cls, kwargs: dict[str, Any]) -> dict[str, Any]:
        if kwargs.get("rms_scaling"):
            raise ValueError(
                f"{cls.__name__}: rms_scaling=True divides by the standard deviation without taking the mean away, "
                "and Keras has deprecated it; use RMSNormalization"
            )
        return super().translate({name: value for name, value in kwargs.items() if name != "rms_scaling"})

    def finished(self, params: Params, x: jax.Array) -> jax.Array:
        return kernels.norm(x, *self.weights_of(params, x), self.features(x), self.epsilon)[0]


class GroupNormalization(WithinExample):
    """Gives each group of channels of each example mean 0 and variance 1, over all positions; then `gamma`, `beta`.

    Args:
        groups: into how many equal runs the channels are split; -1 for one group a channel (instance normalisation).
            1 normalises the whole example.
        axis: the channels' axis.
        epsilon: added to the variance.
        center: whether to add beta.
        scale: whether to multiply by gamma.

    Shapes: the output's is the input's, (batch, …, channels); gamma and beta have one number for each channel.

    Raises:
        ValueError: groups is neither a positive integer nor -1, or axis is no integer.
        LayerError: groups does not divide the channels, or an axis beyond the rank.

    Source: Wu and He, "Group Normalization", 2018.

    >>> layer = GroupNormalization(2, epsilon=0.0)
    >>> params, state = layer.init(jax.random.key(0), jnp.ones((1, 4)))
    >>> layer.apply(params, state, jnp.array([[1.0, 3.0, 20.0, 10.0]]))[0].tolist()
    [[-1.0, 1.0, 1.0, -1.0]]
    """

    groups: int = 32
    axis: int = -1
    epsilon: float = 1e-3
    center: bool = True
    scale: bool = True

    def validate(self) -> None:
        super().validate()
        if self.groups != -1:
            require_int(self.groups, "groups (or -1 for one a channel)", "GroupNormalization")
        if len(self._axes) > 1:
            raise ValueError(f"GroupNormalization: axis is one integer; got {self.axis!r}")

    def check_input(self, x: Any) -> None:
        super().check_input(x)
        channels = x.shape[self._axes[0]]
        if self.groups != -1 and channels % self.groups:
            known = [n for n in range(1, channels + 1) if channels % n == 0]
            self.refuse(
                f"splits the channels into {self.groups} groups, which does not divide {channels}", x,
                f"pass groups={max(n for n in known if n <= self.groups)}, or another of its divisors",
            )  # fmt: skip

    def normalise(self, x: jax.Array) -> jax.Array:
        (axis,) = self.features(x)
        groups = x.shape[axis] if self.groups == -1 else self.groups
        return kernels.standardise(x, self.others(x)[1:], self.epsilon, (axis, groups))[0]


class InstanceNormalization(WithinExample):
    """Gives each channel of each example mean 0 and variance 1, over all positions: a group for each channel.

    Args:
        axis: the channels' axis.
        epsilon: added to the variance.
        center: whether to add beta.
        scale: whether to multiply by gamma.

    Shapes: the output's is the input's, (batch, …, channels), of rank 3 or more.

    Raises:
        ValueError: an epsilon below 0, or an axis that is no integer.
        LayerError: an input of rank 2, whose channels have one number each, or an axis beyond the rank.

    Source: Ulyanov, Vedaldi and Lempitsky, "Instance Normalization", 2016.

    >>> layer = InstanceNormalization(epsilon=0.0)
    >>> params, state = layer.init(jax.random.key(0), jnp.ones((1, 2, 1)))
    >>> layer.apply(params, state, jnp.array([[[1.0], [3.0]]]))[0].ravel().tolist()
    [-1.0, 1.0]
    """

    axis: int = -1
    epsilon: float = 1e-3
    center: bool = True
    scale: bool = True

    min_ndim = 3
    axes = "(batch, …, channels)"

    def rank_hint(self, x: Any) -> str:
        return "a channel of one number is its own mean; LayerNormalization takes vectors" if len(x.shape) == 2 else ""

    def normalise(self, x: jax.Array) -> jax.Array:
        return kernels.standardise(x, self.others(x)[1:], self.epsilon)[0]


class RMSNormalization(OverAxes):
    """Divides the features of each example by their root mean square: `scale * x / sqrt(mean(x²) + epsilon)`.

    The mean goes over `axis`, in float32 for narrower inputs.

    Args:
        axis: the features' axis (an integer, or several).
        epsilon: added to the mean square.

    Shapes: the output's is the input's; the weight `scale` has the sizes of `axis`, and starts as ones.

    Raises:
        ValueError: an epsilon below 0, or an axis that is no integer.
        LayerError: an axis beyond the rank, the batch axis, or features of another size than at `init`.

    Source: Zhang and Sennrich, "Root Mean Square Layer Normalization", 2019.

    >>> params, state = RMSNormalization().init(jax.random.key(0), jnp.ones((1, 2)))
    >>> [round(v, 4) for v in RMSNormalization().apply(params, state, jnp.array([[1.0, 7.0]]))[0][0].tolist()]
    [0.2, 1.4]
    """

    axis: Any = -1
    epsilon: float = 1e-6

    def build(self, key: jax.Array, x: Any) -> tuple[Params, State]:
        return {"scale": jnp.ones([x.shape[axis] for axis in self.features(x)], x.dtype)}, {}

    def call(self, params: Params, state: State, x: Any, training: bool, key: Any) -> tuple[Any, State]:
        self.check_built(params, x)
        wide = x.astype(at_least_float32(x.dtype))
        square = (wide * wide).mean(self.features(x), keepdims=True)
        return (wide * jax.lax.rsqrt(square + self.epsilon) * self.spread(params["scale"], wide)).astype(x.dtype), state


class UnitNormalization(OverAxes):
    """Divides the features of each example by their length: `x / max(|x|, 1e-12)`, |x| the L2 norm over `axis`.

    Args:
        axis: the features' axis (an integer, or several).

    Raises:
        ValueError: an axis that is no integer.
        LayerError: an axis beyond the rank, or the batch axis.

    >>> y, _ = UnitNormalization().apply({}, {}, jnp.array([[3.0, 4.0], [0.0, 0.0]]))
    >>> [[round(v, 4) for v in row] for row in y.tolist()]
    [[0.6, 0.8], [0.0, 0.0]]
    """

    axis: Any = -1

    def call(self, params: Params, state: State, x: Any, training: bool, key: Any) -> tuple[Any, State]:
        wide = x.astype(at_least_float32(x.dtype))
        square = (wide * wide).sum(self.features(x), keepdims=True)
        return (wide * jax.lax.rsqrt(jnp.maximum(square, 1e-24))).astype(x.dtype), state
