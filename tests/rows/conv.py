"""Rows of `kjax.nn.conv`."""

from case import OPTIONS, Case

from kjax import nn

ROWS = [
    Case(nn.Conv2D(4, 3), (2, 7, 6, 3), lambda k: k.Conv2D(4, 3)),
    Case(nn.Conv2D(4, (3, 2), strides=(2, 1), padding="same", activation="tanh"), (2, 7, 6, 3),
         lambda k: k.Conv2D(4, (3, 2), strides=(2, 1), padding="same", activation="tanh")),
    Case(nn.Conv2D(4, 3, strides=2, padding="same", use_bias=False), (2, 8, 7, 3),
         lambda k: k.Conv2D(4, 3, strides=2, padding="same", use_bias=False)),
    Case(nn.Conv2D(4, 3, dilation_rate=(2, 1), padding="same"), (2, 7, 6, 3), lambda k: k.Conv2D(4, 3, dilation_rate=(2, 1), padding="same")),
    Case(nn.Conv2D(4, 2, dilation_rate=2), (2, 7, 6, 1), lambda k: k.Conv2D(4, 2, dilation_rate=2)),
    Case(nn.Conv2D(4, 3, data_format="channels_first", **OPTIONS), (2, 3, 7, 6), lambda k: k.Conv2D(4, 3, data_format="channels_first")),
    Case(nn.Conv2D(4, 1), (2, 3, 3, 2), lambda k: k.Conv2D(4, 1)),
    Case(nn.Conv2D(6, 3, groups=2, padding="same"), (2, 5, 6, 4), lambda k: k.Conv2D(6, 3, groups=2, padding="same")),
    Case(nn.Conv2D(6, 3, strides=2, groups=3), (2, 5, 6, 3), lambda k: k.Conv2D(6, 3, strides=2, groups=3)),
    Case(nn.Conv1D(4, 3, padding="causal", dilation_rate=2), (2, 9, 3), lambda k: k.Conv1D(4, 3, padding="causal", dilation_rate=2)),
    Case(nn.Conv1D(4, 3, strides=2, padding="same", data_format="channels_first"), (2, 3, 9),
         lambda k: k.Conv1D(4, 3, strides=2, padding="same", data_format="channels_first")),
    Case(nn.Conv3D(2, (2, 3, 2), padding="same"), (2, 4, 5, 3, 2), lambda k: k.Conv3D(2, (2, 3, 2), padding="same")),
    Case(nn.ZeroPadding1D((2, 0)), (2, 3, 2), lambda k: k.ZeroPadding1D((2, 0))),
    Case(nn.ZeroPadding3D(((1, 0), (2, 3), (0, 1))), (2, 2, 3, 2, 1), lambda k: k.ZeroPadding3D(((1, 0), (2, 3), (0, 1)))),
    Case(nn.ZeroPadding2D(), (2, 3, 4, 2), lambda k: k.ZeroPadding2D()),
    Case(nn.ZeroPadding2D(((1, 0), (2, 3)), data_format="channels_first"), (2, 2, 3, 4),
         lambda k: k.ZeroPadding2D(((1, 0), (2, 3)), data_format="channels_first")),
]  # fmt: skip
