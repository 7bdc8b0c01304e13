"""Rows of `kjax.nn.resize`."""

import jax
import jax.numpy as jnp
from case import Case

from kjax import nn


def init(layer, shape):
    return layer.init(jax.random.key(0), jnp.ones(shape))


ROWS = [
    Case(nn.ZeroPadding1D((2, 0)), (2, 3, 2), lambda k: k.ZeroPadding1D((2, 0))),
    Case(nn.ZeroPadding3D(((1, 0), (2, 3), (0, 1))), (2, 2, 3, 2, 1), lambda k: k.ZeroPadding3D(((1, 0), (2, 3), (0, 1)))),
    Case(nn.ZeroPadding2D(), (2, 3, 4, 2), lambda k: k.ZeroPadding2D()),
    Case(nn.ZeroPadding2D(((1, 0), (2, 3)), data_format="channels_first"), (2, 2, 3, 4),
         lambda k: k.ZeroPadding2D(((1, 0), (2, 3)), data_format="channels_first")),
    Case(nn.Cropping1D((2, 1)), (2, 6, 2), lambda k: k.Cropping1D((2, 1))),
    Case(nn.Cropping2D(((1, 0), (2, 1)), data_format="channels_first"), (2, 2, 4, 5), lambda k: k.Cropping2D(((1, 0), (2, 1)), data_format="channels_first")),
    Case(nn.Cropping3D(), (2, 3, 4, 3, 2), lambda k: k.Cropping3D()),
    Case(nn.UpSampling1D(3), (2, 4, 2), lambda k: k.UpSampling1D(3)),
    Case(nn.UpSampling2D((2, 3), "channels_first"), (2, 2, 3, 2), lambda k: k.UpSampling2D((2, 3), "channels_first")),
    Case(nn.UpSampling2D((2, 3), interpolation="bicubic"), (2, 5, 6, 2), lambda k: k.UpSampling2D((2, 3), interpolation="bicubic")),
    Case(nn.UpSampling3D((1, 2, 3)), (2, 2, 3, 2, 2), lambda k: k.UpSampling3D((1, 2, 3))),
]  # fmt: skip

MISTAKES = {
    "cropping everything": (lambda: init(nn.Cropping2D(2), (1, 4, 9, 1)), ["Cropping2D", "nothing of (4, 9) cells", "(1, 4, 9, 1)"]),
    "cropping of three": (lambda: nn.Cropping1D((1, 2, 3)), ["Cropping1D: cropping", "(1, 2, 3)"]),
    "negative cropping": (lambda: nn.Cropping2D(((1, -1), (0, 0))), ["Cropping2D: cropping must be at least 0", "(1, -1)"]),
    "upsampling by zero": (lambda: nn.UpSampling2D(0), ["UpSampling2D: size must be at least 1"]),
    "unknown interpolation": (lambda: nn.UpSampling2D(interpolation="bilnear"), ["unknown interpolation 'bilnear'", "Did you mean 'bilinear'?"]),
    "upsampling pictures without channels": (lambda: init(nn.UpSampling2D(), (1, 4, 4)), ["rank 4", "x[..., None]"]),
}  # fmt: skip
