"""Normalisation layers."""

import math
from typing import Any

import jax
import jax.numpy as jnp

from kjax.dtypes import at_least_float32
from kjax.frozen import is_int, require_between
from kjax.nn.layer import Layer, Params, State
from kjax.nn.mask import over, unmask


class BatchNormalization(Layer):
    """Normalises each feature over the batch, scales and shifts it: `gamma (x - mean) / sqrt(var + epsilon) + beta`.

    In training the mean and variance are those of the batch (of its real cells, where the input is masked), and
    the moving ones in `state` follow: `moving = momentum * moving + (1 - momentum) * batch`. Otherwise, and where
    `trainable=False`, the moving ones are used. The variance is the biased one throughout, as in Keras 3; Keras 2
    on TensorFlow moved an unbiased one.

    Args:
        axis: the features' axis (an integer, or several).
        momentum: in [0, 1).
        epsilon: added to the variance.
        center: whether to add beta.
        scale: whether to multiply by gamma.

    Source: Ioffe and Szegedy, "Batch Normalization", 2015.

    >>> layer = BatchNormalization()
    >>> params, state = layer.init(jax.random.key(0), jnp.ones((1, 3)))
    >>> y, state = layer.apply(params, state, jnp.array([[0.0, 1, 2], [2, 3, 4]]), training=True)
    >>> [round(v, 3) for v in y[0].tolist()], [round(v, 2) for v in state["moving_mean"].tolist()]
    ([-1.0, -1.0, -1.0], [0.01, 0.02, 0.03])
    """

    axis: Any = -1
    momentum: float = 0.99
    epsilon: float = 1e-3
    center: bool = True
    scale: bool = True
    beta_initializer: Any = "zeros"
    gamma_initializer: Any = "ones"
    moving_mean_initializer: Any = "zeros"
    moving_variance_initializer: Any = "ones"
    beta_regularizer: Any = None
    gamma_regularizer: Any = None
    beta_constraint: Any = None
    gamma_constraint: Any = None

    min_ndim = 2
    mixes_examples = True
    takes_mask = True

    def validate(self) -> None:
        require_between(self.momentum, "momentum", "BatchNormalization", 0, 1, open_top=True)
        require_between(self.epsilon, "epsilon", "BatchNormalization", 0, math.inf)
        if not all(is_int(axis) for axis in self._axes()):
            raise ValueError(f"BatchNormalization: axis is an integer or several; got {self.axis!r}")

    def check_input(self, x: Any) -> None:
        if any(not -len(x.shape) <= axis < len(x.shape) or axis in (0, -len(x.shape)) for axis in self._axes()):
            self.refuse(f"has axis={self.axis}, which is the batch axis or beyond the input's rank", x)

    def build(self, key: jax.Array, x: Any) -> tuple[Params, State]:
        shape = tuple(x.shape[axis] for axis in self._features(x))
        learned = {"gamma": shape} if self.scale else {}
        learned |= {"beta": shape} if self.center else {}
        # Statistics of small floats would be lost in rounding.
        dtype = at_least_float32(x.dtype)
        return self.weights(key, x.dtype, **learned), self.weights(key, dtype, moving_mean=shape, moving_variance=shape)

    def call(self, params: Params, state: State, x: Any, training: bool, key: Any) -> tuple[Any, State]:
        value, mask = unmask(x)
        features = self._features(value)
        if tuple(value.shape[axis] for axis in features) != state["moving_mean"].shape:
            self.refuse(f"was built for {state['moving_mean'].shape} features on axis {self.axis}", value)
        wide = value.astype(state["moving_mean"].dtype)
        mean, variance = state["moving_mean"], state["moving_variance"]
        if training and self.trainable:
            mean, variance = moments(wide, tuple(a for a in range(value.ndim) if a not in features), mask)
            state = {
                **state,
                "moving_mean": self._move(state["moving_mean"], mean),
                "moving_variance": self._move(state["moving_variance"], variance),
            }
        return self._normalise(params, wide, mean, variance, features).astype(value.dtype), state

    def _normalise(self, params: Params, x: Any, mean: Any, variance: Any, features: tuple[int, ...]) -> Any:
        others = tuple(axis for axis in range(x.ndim) if axis not in features)
        factor = jax.lax.rsqrt(variance + self.epsilon)
        if self.scale:
            factor = factor * params["gamma"].astype(x.dtype)
        y = (x - jnp.expand_dims(mean, others)) * jnp.expand_dims(factor, others)
        return y + jnp.expand_dims(params["beta"].astype(x.dtype), others) if self.center else y

    def _move(self, old: Any, new: Any) -> Any:
        return old * self.momentum + jax.lax.stop_gradient(new) * (1 - self.momentum)

    def _axes(self) -> tuple[int, ...]:
        return self.axis if isinstance(self.axis, tuple) else (self.axis,)

    def _features(self, x: Any) -> tuple[int, ...]:
        return tuple(sorted(axis % len(x.shape) for axis in self._axes()))


def moments(x: jax.Array, axes: tuple[int, ...], mask: jax.Array | None) -> tuple[jax.Array, jax.Array]:
    """Mean and biased variance over `axes`, of the cells that the mask calls real."""
    if mask is None:
        return x.mean(axes), x.var(axes)
    real = over(mask, x)
    count = jnp.maximum(jnp.broadcast_to(real, x.shape).sum(axes), 1).astype(x.dtype)
    zero = jnp.zeros((), x.dtype)
    mean = jnp.where(real, x, zero).sum(axes) / count
    away = jnp.where(real, x - jnp.expand_dims(mean, axes), zero)
    return mean, (away * away).sum(axes) / count
