"""Rows of `kjax.nn.norm`, `kjax.nn.batch_norm` and `kjax.nn.reparametrised`."""

import jax
import jax.numpy as jnp
import numpy as np
from case import Case

from kjax import nn


def init(layer, *shape):
    return layer.init(jax.random.key(0), jnp.ones(shape))


def run(layer, built, given):
    return layer.apply(*init(layer, *built), jnp.ones(given))


def divided(weights):
    """Keras's layer holds the kernel divided by its singular value; ours divides it at each call."""
    u, kernel, bias = map(np.asarray, weights)
    return [kernel / np.linalg.norm(u / np.linalg.norm(u) @ kernel.T), u, bias]


def lengths(weights):
    """The kernel of given lengths and directions, one for each output."""
    g, v, *bias = map(np.asarray, weights)
    return [g * v / np.sqrt((v * v).sum(tuple(range(v.ndim - 1)))), *bias]


ROWS = [
    Case(nn.BatchNormalization(), (8, 5), lambda k: k.BatchNormalization()),
    Case(nn.BatchNormalization(axis=1, momentum=0.8, epsilon=1e-2, scale=False), (4, 3, 5, 6),
         lambda k: k.BatchNormalization(axis=1, momentum=0.8, epsilon=1e-2, scale=False)),
    Case(nn.BatchNormalization(center=False, gamma_regularizer="l2", gamma_constraint="non_neg"), (4, 3, 5),
         lambda k: k.BatchNormalization(center=False)),
    Case(nn.LayerNormalization(), (4, 5), lambda k: k.LayerNormalization()),
    Case(nn.LayerNormalization((1, -1), beta_regularizer="l1", gamma_constraint="non_neg"), (2, 3, 4, 5), lambda k: k.LayerNormalization((1, 3))),
    Case(nn.GroupNormalization(2), (3, 4, 5, 6), lambda k: k.GroupNormalization(2)),
    Case(nn.GroupNormalization(-1, axis=1, center=False), (3, 2, 5), lambda k: k.GroupNormalization(-1, axis=1, center=False)),
    Case(nn.InstanceNormalization(), (3, 4, 5, 2), lambda k: k.GroupNormalization(-1)),
    Case(nn.RMSNormalization((1, 2)), (4, 3, 5), lambda k: k.RMSNormalization((1, 2))),
    Case(nn.UnitNormalization(1), (4, 3, 5), lambda k: k.UnitNormalization(1)),
    # Enough steps for the singular value to be that of the moved vector too.
    Case(nn.SpectralNormalization(nn.Dense(3, kernel_regularizer="l2"), power_iterations=8), (4, 5),
         lambda k: k.SpectralNormalization(k.Dense(3), power_iterations=8), to_keras=divided, smooth=False),
    Case(nn.WeightNorm(nn.Dense(3, "tanh", kernel_regularizer="l2")), (4, 5), lambda k: k.Dense(3, "tanh"), to_keras=lengths),
]  # fmt: skip

MISTAKES = {
    "rms_scaling": (lambda: nn.LayerNormalization(rms_scaling=True), ["LayerNormalization: rms_scaling=True", "use RMSNormalization"]),
    "synchronized batch norm": (lambda: nn.BatchNormalization(synchronized=True), ["BatchNormalization: synchronized=True", "whole batch already", "leave synchronized out"]),
    "batch renormalisation": (lambda: nn.BatchNormalization(renorm=True), ["BatchNormalization: renorm=True", "GroupNormalization"]),
    "layer norm over text": (lambda: nn.LayerNormalization("last"), ["LayerNormalization: axis is an integer or several", "'last'"]),
    "negative epsilon": (lambda: nn.RMSNormalization(epsilon=-1.0), ["RMSNormalization: epsilon", "-1.0"]),
    "layer norm over the batch": (lambda: init(nn.LayerNormalization(axis=(0, 1)), 2, 3), ["axis=(0, 1)", "batch axis", "(2, 3)"]),
    "axis beyond the rank": (lambda: init(nn.UnitNormalization(2), 2, 3), ["UnitNormalization(axis=2)", "beyond the input's rank"]),
    "an axis twice": (lambda: init(nn.LayerNormalization((1, -1)), 2, 3), ["names an axis twice", "(2, 3)"]),
    "layer norm of other features": (lambda: run(nn.LayerNormalization(), (2, 3), (2, 4)), ["was built for (3,) features", "(2, 4)"]),
    "rms norm of other features": (lambda: run(nn.RMSNormalization(), (2, 3), (2, 4)), ["was built for (3,) features", "(2, 4)"]),
    "no groups": (lambda: nn.GroupNormalization(0), ["GroupNormalization: groups", "-1", "got 0"]),
    "group norm over two axes": (lambda: nn.GroupNormalization(2, axis=(1, 2)), ["GroupNormalization: axis is one integer", "(1, 2)"]),
    "groups that do not divide": (lambda: init(nn.GroupNormalization(4), 2, 6), ["4 groups, which does not divide 6", "groups=3"]),
    "groups above the channels": (lambda: init(nn.GroupNormalization(), 2, 6), ["32 groups, which does not divide 6", "groups=6"]),
    "instance norm of vectors": (lambda: init(nn.InstanceNormalization(), 2, 6), ["rank 3 or more", "(2, 6)", "LayerNormalization"]),
    "spectral norm of no layer": (lambda: nn.SpectralNormalization(3), ["SpectralNormalization", "is not a layer: 3"]),
    "spectral norm of no kernel": (lambda: init(nn.SpectralNormalization(nn.Flatten()), 2, 3), ["SpectralNormalization(Flatten()) wraps a layer with a kernel", "no weights"]),
    "weight norm of a network": (lambda: init(nn.WeightNorm(nn.Serial([nn.Dense(2)])), 2, 3), ["WeightNorm(Serial(", "has the weights dense", "wrap each of its layers"]),
    "no power iterations": (lambda: nn.SpectralNormalization(nn.Dense(2), 0), ["SpectralNormalization: power_iterations", "got 0"]),
    "weight norm over text": (lambda: nn.WeightNorm(nn.Dense(2), "out"), ["WeightNorm: axis is an integer, or None", "'out'"]),
    "weight norm beyond the kernel": (lambda: init(nn.WeightNorm(nn.Dense(2), axis=2), 2, 3), ["axis beyond the rank of the layer's kernel", "(3, 2)"]),
}  # fmt: skip
