"""Rows of `kjax.nn.noise`."""

from case import Case

from kjax import nn

ROWS = [
    Case(nn.Dropout(0.4), (4, 5), lambda k: k.Dropout(0.4)),
    Case(nn.Dropout(0.4, noise_shape=(None, 1), seed=3), (4, 5), lambda k: k.Dropout(0.4)),
]  # fmt: skip
