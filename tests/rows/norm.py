"""Rows of `kjax.nn.norm` and `kjax.nn.noise`."""

from case import Case

from kjax import nn

ROWS = [
    Case(nn.Dropout(0.4), (4, 5), lambda k: k.Dropout(0.4)),
    Case(nn.Dropout(0.4, noise_shape=(None, 1), seed=3), (4, 5), lambda k: k.Dropout(0.4)),
    Case(nn.BatchNormalization(), (8, 5), lambda k: k.BatchNormalization()),
    Case(nn.BatchNormalization(axis=1, momentum=0.8, epsilon=1e-2, scale=False), (4, 3, 5, 6),
         lambda k: k.BatchNormalization(axis=1, momentum=0.8, epsilon=1e-2, scale=False)),
    Case(nn.BatchNormalization(center=False, gamma_regularizer="l2", gamma_constraint="non_neg"), (4, 3, 5),
         lambda k: k.BatchNormalization(center=False)),
]  # fmt: skip
