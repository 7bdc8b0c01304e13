"""Rows of `kjax.nn.core` and the containers."""

from case import OPTIONS, Case

from kjax import nn


def double(x):
    return x * 2.0


def plus(x, by=0.0):
    return x + by


def _keras_model(k):
    import keras

    return keras.Sequential([k.Conv2D(2, 3, activation="tanh"), k.Flatten(), k.Dense(3), k.Dense(2)])


ROWS = [
    Case(nn.Dense(3), (4, 5), lambda k: k.Dense(3)),
    Case(nn.Dense(3, "tanh", use_bias=False), (4, 2, 5), lambda k: k.Dense(3, "tanh", use_bias=False)),
    Case(nn.Dense(2, activation="softmax", **OPTIONS), (4, 5), lambda k: k.Dense(2, activation="softmax")),
    Case(nn.Activation("tanh"), (4, 5), lambda k: k.Activation("tanh")),
    Case(nn.Activation("softplus"), (4, 2, 5), lambda k: k.Activation("softplus")),
    Case(nn.Flatten(), (4, 2, 3, 5), lambda k: k.Flatten()),
    Case(nn.Flatten(data_format="channels_first"), (4, 2, 3, 5), lambda k: k.Flatten(data_format="channels_first")),
    Case(nn.Flatten(), (4,), lambda k: k.Flatten()),
    Case(nn.Reshape((3, 4)), (2, 12), lambda k: k.Reshape((3, 4))),
    Case(nn.Reshape((-1, 2)), (2, 3, 4), lambda k: k.Reshape((-1, 2))),
    Case(nn.Permute((2, 1)), (2, 3, 4), lambda k: k.Permute((2, 1))),
    Case(nn.Permute((3, 1, 2)), (2, 3, 4, 5), lambda k: k.Permute((3, 1, 2))),
    Case(nn.RepeatVector(3), (2, 4), lambda k: k.RepeatVector(3)),
    Case(nn.Lambda(double), (2, 4), formula=lambda x: 2 * x),
    Case(nn.Lambda(plus, output_shape=(4,), arguments={"by": 1.5}), (2, 4), formula=lambda x: x + 1.5),
    Case(nn.Embedding(7, 3), (4, 5), lambda k: k.Embedding(7, 3), integers=7),
    Case(nn.Embedding(7, 3, mask_zero=True, input_length=5), (4, 5), lambda k: k.Embedding(7, 3, mask_zero=True), integers=7),
    Case(nn.Serial([nn.Conv2D(2, 3, activation="tanh"), nn.Flatten(), nn.Serial([nn.Dense(3), nn.Dense(2)], name="head")]), (2, 5, 5, 1),
         lambda k: _keras_model(k)),
]  # fmt: skip
