"""Rows of `kjax.nn.noise`."""

import jax
import jax.numpy as jnp
from case import Case

from kjax import nn


def train(layer, *shape):
    return layer.apply({}, {}, jnp.ones(shape), training=True, key=jax.random.key(0))


ROWS = [
    Case(nn.Dropout(0.4), (4, 5), lambda k: k.Dropout(0.4)),
    Case(nn.Dropout(0.4, noise_shape=(None, 1), seed=3), (4, 5), lambda k: k.Dropout(0.4)),
    Case(nn.AlphaDropout(0.3, (None, 1, None)), (3, 4, 2), lambda k: k.AlphaDropout(0.3)),
    Case(nn.SpatialDropout1D(0.4), (3, 4, 2), lambda k: k.SpatialDropout1D(0.4)),
    Case(nn.SpatialDropout2D(0.4, "channels_first", seed=1), (3, 2, 3, 4), lambda k: k.SpatialDropout2D(0.4, "channels_first")),
    Case(nn.SpatialDropout3D(0.4), (3, 2, 1, 4, 2), lambda k: k.SpatialDropout3D(0.4)),
    Case(nn.DropPath(0.4), (4, 3), formula=lambda x: x),
    Case(nn.GaussianNoise(0.5), (4, 3), lambda k: k.GaussianNoise(0.5)),
    Case(nn.GaussianDropout(0.5, seed=2), (4, 3), lambda k: k.GaussianDropout(0.5)),
    Case(nn.ActivityRegularization(0.1, 0.2), (4, 3), lambda k: k.ActivityRegularization(0.1, 0.2)),
]  # fmt: skip

MISTAKES = {
    "alpha dropout of everything": (lambda: nn.AlphaDropout(1.0), ["AlphaDropout: rate must be in [0, 1)", "1.0"]),
    "negative drop path": (lambda: nn.DropPath(-0.1), ["DropPath: rate", "-0.1"]),
    "Gaussian dropout of everything": (lambda: nn.GaussianDropout(1), ["GaussianDropout: rate must be in [0, 1)", "got 1"]),
    "negative stddev": (lambda: nn.GaussianNoise(-1.0), ["GaussianNoise: stddev", "-1.0"]),
    "stddev as text": (lambda: nn.GaussianNoise("0.1"), ["GaussianNoise: stddev must be a number", "'0.1'"]),
    "seed as text": (lambda: nn.GaussianNoise(0.1, seed="a"), ["GaussianNoise: seed must be an integer", "'a'"]),
    "spatial dropout of another rank": (lambda: train(nn.SpatialDropout2D(0.1), 2, 3, 4), ["SpatialDropout2D(0.1)", "rank 4", "(2, 3, 4)"]),
    "spatial dropout's data_format": (lambda: nn.SpatialDropout3D(0.1, "NCDHW"), ["SpatialDropout3D: data_format", "'NCDHW'"]),
    "alpha dropout's noise_shape": (lambda: train(nn.AlphaDropout(0.1, (3, 1)), 2, 4), ["noise_shape", "(2, 4)"]),
    "noise without a key": (lambda: nn.GaussianNoise(0.1).apply({}, {}, jnp.ones((2, 2)), training=True), ["GaussianNoise(0.1)", "key=jax.random.key(0)"]),
    "negative activity factor": (lambda: nn.ActivityRegularization(l1=-1.0), ["ActivityRegularization: l1", "-1.0"]),
}  # fmt: skip
