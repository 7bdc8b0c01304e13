"""Normalisation over the batch."""

import dataclasses
from typing import Any

import jax

from kjax.dtypes import at_least_float32
from kjax.frozen import require_between
from kjax.nn import kernels
from kjax.nn.layer import Params, State
from kjax.nn.mask import over, unmask
from kjax.nn.norm import Affine

REFUSED = {
    "synchronized": "under jax.jit the statistics are those of the whole batch already, on however many devices",
    "renorm": "batch renormalisation is not offered; for small batches use GroupNormalization or a higher momentum",
}
"""Arguments of Keras's that may only be False, and why."""


class BatchNormalization(Affine):
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

    >>> import jax.numpy as jnp
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
    moving_mean_initializer: Any = dataclasses.field(default="zeros", kw_only=True)
    moving_variance_initializer: Any = dataclasses.field(default="ones", kw_only=True)

    mixes_examples = True
    takes_mask = True

    @classmethod
    def translate(cls, kwargs: dict[str, Any]) -> dict[str, Any]:
        for name, why in REFUSED.items():
            if kwargs.get(name):
                raise ValueError(f"{cls.__name__}: {name}={kwargs[name]!r}: {why}; leave {name} out")
        without = {"renorm_clipping", "renorm_momentum", *REFUSED}
        return super().translate({name: value for name, value in kwargs.items() if name not in without})

    def validate(self) -> None:
        super().validate()
        require_between(self.momentum, "momentum", "BatchNormalization", 0, 1, open_top=True)

    def build(self, key: jax.Array, x: Any) -> tuple[Params, State]:
        shape = tuple(x.shape[axis] for axis in self.features(x))
        # Statistics of small floats would be lost in rounding.
        moving = self.weights(key, at_least_float32(x.dtype), moving_mean=shape, moving_variance=shape)
        return super().build(key, x)[0], moving

    def call(self, params: Params, state: State, x: Any, training: bool, key: Any) -> tuple[Any, State]:
        value, mask = unmask(x)
        self.check_built({"moving_mean": state["moving_mean"]}, value)
        wide = value.astype(state["moving_mean"].dtype)
        if training and self.trainable:
            y, mean, variance = self._normalised(params, wide, mask)
            state = {**state, **self._moved(state, moving_mean=mean, moving_variance=variance)}
        else:
            factor = jax.lax.rsqrt(state["moving_variance"] + self.epsilon)
            y = (wide - self.spread(state["moving_mean"], wide)) * self.spread(factor, wide)
            y = self.affine(params, y)
        return y.astype(value.dtype), state

    def _normalised(self, params: Params, x: jax.Array, mask: Any) -> tuple[jax.Array, jax.Array, jax.Array]:
        """The output, and the mean and variance of the batch."""
        if mask is None:
            return kernels.norm(x, *self.weights_of(params, x), self.others(x), self.epsilon)
        y, mean, variance = kernels.standardise(x, self.others(x), self.epsilon, real=over(mask, x))
        return self.affine(params, y), mean, variance

    def _moved(self, state: State, **batch: jax.Array) -> State:
        return {
            name: state[name] * self.momentum
            + jax.lax.stop_gradient(new.reshape(state[name].shape)) * (1 - self.momentum)
            for name, new in batch.items()
        }
