"""Rows of `kjax.nn.pool`."""

from case import Case

from kjax import nn

ROWS = [
    Case(nn.MaxPooling1D(3, strides=2, padding="same"), (2, 8, 3), lambda k: k.MaxPooling1D(3, strides=2, padding="same")),
    Case(nn.MaxPooling3D(), (2, 4, 5, 4, 2), lambda k: k.MaxPooling3D()),
    Case(nn.AveragePooling1D(2, data_format="channels_first"), (2, 3, 8), lambda k: k.AveragePooling1D(2, data_format="channels_first")),
    Case(nn.AveragePooling3D(2, strides=1, padding="same"), (2, 4, 3, 4, 2), lambda k: k.AveragePooling3D(2, strides=1, padding="same")),
    Case(nn.GlobalMaxPooling1D(), (2, 6, 3), lambda k: k.GlobalMaxPooling1D()),
    Case(nn.GlobalMaxPooling3D(), (2, 3, 2, 4, 3), lambda k: k.GlobalMaxPooling3D()),
    Case(nn.GlobalAveragePooling1D(), (2, 6, 3), lambda k: k.GlobalAveragePooling1D()),
    Case(nn.GlobalAveragePooling3D("channels_first"), (2, 3, 2, 4, 3), lambda k: k.GlobalAveragePooling3D("channels_first")),
    Case(nn.MaxPooling2D(), (2, 6, 6, 3), lambda k: k.MaxPooling2D()),
    Case(nn.MaxPooling2D((3, 2), strides=(2, 1), padding="same"), (2, 7, 6, 3), lambda k: k.MaxPooling2D((3, 2), strides=(2, 1), padding="same")),
    Case(nn.MaxPooling2D(2, data_format="channels_first"), (2, 3, 7, 6), lambda k: k.MaxPooling2D(2, data_format="channels_first")),
    Case(nn.AveragePooling2D(), (2, 6, 7, 3), lambda k: k.AveragePooling2D(2)),
    Case(nn.AveragePooling2D(3, strides=2, padding="same"), (2, 7, 6, 3), lambda k: k.AveragePooling2D(3, strides=2, padding="same")),
    Case(nn.AveragePooling2D(2, data_format="channels_first"), (2, 3, 7, 6), lambda k: k.AveragePooling2D(2, data_format="channels_first")),
    Case(nn.GlobalMaxPooling2D(), (2, 6, 7, 3), lambda k: k.GlobalMaxPooling2D()),
    Case(nn.GlobalMaxPooling2D("channels_first", keepdims=True), (2, 3, 6, 7), lambda k: k.GlobalMaxPooling2D("channels_first", keepdims=True)),
    Case(nn.GlobalAveragePooling2D(), (2, 6, 7, 3), lambda k: k.GlobalAveragePooling2D()),
    Case(nn.GlobalAveragePooling2D("channels_first", keepdims=True), (2, 3, 6, 7),
         lambda k: k.GlobalAveragePooling2D("channels_first", keepdims=True)),
]  # fmt: skip
