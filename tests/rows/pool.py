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
    Case(nn.AdaptiveAveragePooling1D(3), (2, 7, 2), lambda k: k.AdaptiveAveragePooling1D(3)),
    Case(nn.AdaptiveAveragePooling2D((2, 5), data_format="channels_first"), (2, 2, 6, 3),
         lambda k: k.AdaptiveAveragePooling2D((2, 5), data_format="channels_first")),
    Case(nn.AdaptiveAveragePooling3D((1, 2, 3)), (2, 3, 3, 4, 2), lambda k: k.AdaptiveAveragePooling3D((1, 2, 3))),
    Case(nn.AdaptiveMaxPooling1D(4, "channels_first"), (2, 2, 7), lambda k: k.AdaptiveMaxPooling1D(4, "channels_first")),
    Case(nn.AdaptiveMaxPooling2D((2, 3)), (2, 6, 7, 2), lambda k: k.AdaptiveMaxPooling2D((2, 3))),
    Case(nn.AdaptiveMaxPooling3D(2), (2, 3, 4, 5, 2), lambda k: k.AdaptiveMaxPooling3D(2)),
]  # fmt: skip

MISTAKES = {
    "an adaptive output of nothing": (lambda: nn.AdaptiveMaxPooling2D(0), ["AdaptiveMaxPooling2D: output_size must be at least 1"]),
    "no output size": (lambda: nn.AdaptiveAveragePooling1D(), ["AdaptiveAveragePooling1D is missing", "'output_size'"]),
    "an output size of three": (lambda: nn.AdaptiveMaxPooling2D((1, 2, 3)), ["output_size is one integer or 2 of them", "(1, 2, 3)"]),
}  # fmt: skip
