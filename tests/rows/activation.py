"""Rows of `kjax.nn.advanced_activations`."""

import jax
import jax.numpy as jnp
import numpy as np
from case import Case

from kjax import nn

ROWS = [
    Case(nn.ReLU(max_value=1.0, negative_slope=0.2, threshold=0.3), (4, 5), lambda k: k.ReLU(max_value=1.0, negative_slope=0.2, threshold=0.3)),
    Case(nn.LeakyReLU(), (4, 5), lambda k: k.LeakyReLU()),
    Case(nn.PReLU(alpha_regularizer="l2", alpha_constraint="non_neg", shared_axes=[1]), (3, 4, 2), lambda k: k.PReLU(shared_axes=[1])),
    Case(nn.ELU(0.7), (4, 5), lambda k: k.ELU(0.7)),
    Case(nn.ThresholdedReLU(0.4), (4, 5), formula=lambda x: np.where(x > 0.4, x, 0)),
    Case(nn.Softmax(axis=(1, 2)), (2, 3, 4), lambda k: k.Softmax(axis=(1, 2))),
]  # fmt: skip


def init(layer, shape):
    return layer.init(jax.random.key(0), jnp.ones(shape))


def apply(layer, built, shape):
    return layer.apply(*init(layer, built), jnp.ones(shape))


MISTAKES = {
    "a negative slope": (lambda: nn.LeakyReLU(-0.1), ["LeakyReLU: negative_slope", "-0.1"]),
    "a slope of None": (lambda: nn.LeakyReLU(alpha=None), ["LeakyReLU: negative_slope must be a number", "None"]),
    "a misspelt slope": (lambda: nn.LeakyReLU(negativ_slope=0.1), ["Did you mean 'negative_slope'?"]),
    "a negative threshold": (lambda: nn.ReLU(threshold=-1.0), ["ReLU: threshold", "-1.0"]),
    "a negative ceiling": (lambda: nn.ReLU(max_value=-1.0), ["ReLU: max_value", "-1.0"]),
    "a negative theta": (lambda: nn.ThresholdedReLU(theta=-1.0), ["ThresholdedReLU: theta", "-1.0"]),
    "an alpha of text": (lambda: nn.ELU("a"), ["ELU: alpha must be a number", "'a'"]),
    "an alpha shared over the batch": (lambda: nn.PReLU(shared_axes=[0]), ["PReLU: shared_axes", "from 1", "(0,)"]),
    "an alpha shared over no axis": (lambda: init(nn.PReLU(shared_axes=2), (2, 3)), ["along axis 2", "(2, 3)"]),
    "an alpha for other features": (lambda: apply(nn.PReLU(), (2, 3), (2, 4)), ["an alpha of shape (3,)", "(2, 4)"]),
    "a softmax over the batch": (lambda: nn.Softmax(axis=0), ["Softmax: axis", "batch axis 0"]),
    "a softmax over no axis": (lambda: init(nn.Softmax(axis=2), (2, 3)), ["axis=2", "(2, 3)"]),
}  # fmt: skip
