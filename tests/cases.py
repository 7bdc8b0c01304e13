"""One row per layer and set of options: the generic tests in tests/nn/test_layers.py run all of them on every row.

A row has the layer, an input, and how to make the same layer in Keras 3 (None where Keras has no such layer or
means something else by it; the row then says what to compare with instead).
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from kjax import nn, regularizers


@dataclasses.dataclass(frozen=True)
class Case:
    layer: nn.Layer
    shape: tuple[int, ...]
    keras: Callable[[Any], Any] | None = None
    """Given `keras.layers`, the same layer."""
    formula: Callable[[np.ndarray], np.ndarray] | None = None
    """The output in NumPy, for layers without weights that Keras does not have."""
    integers: int = 0
    """Inputs are integers below this."""
    smooth: bool = True
    """Whether the layer is twice differentiable at random points."""

    def input(self, dtype: Any = np.float32, seed: int = 0) -> np.ndarray:
        rng = np.random.default_rng(seed)
        if self.integers:
            return rng.integers(0, self.integers, self.shape).astype(np.int32)
        return rng.standard_normal(self.shape).astype(dtype)

    @property
    def id(self) -> str:
        return repr(self.layer).replace(" ", "")


def double(x):
    return x * 2.0


def plus(x, by=0.0):
    return x + by


OPTIONS = dict(  # everything that Dense and Conv2D share
    kernel_regularizer=regularizers.l2(0.1),
    bias_regularizer="l1",
    activity_regularizer="l2",
    kernel_constraint="max_norm",
    bias_constraint="non_neg",
    kernel_initializer="he_normal",
    bias_initializer="ones",
)

CASES = [
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
    Case(nn.Dropout(0.4), (4, 5), lambda k: k.Dropout(0.4)),
    Case(nn.Dropout(0.4, noise_shape=(None, 1), seed=3), (4, 5), lambda k: k.Dropout(0.4)),
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
    Case(nn.MaxPooling1D(3, strides=2, padding="same"), (2, 8, 3), lambda k: k.MaxPooling1D(3, strides=2, padding="same")),
    Case(nn.MaxPooling3D(), (2, 4, 5, 4, 2), lambda k: k.MaxPooling3D()),
    Case(nn.AveragePooling1D(2, data_format="channels_first"), (2, 3, 8), lambda k: k.AveragePooling1D(2, data_format="channels_first")),
    Case(nn.AveragePooling3D(2, strides=1, padding="same"), (2, 4, 3, 4, 2), lambda k: k.AveragePooling3D(2, strides=1, padding="same")),
    Case(nn.GlobalMaxPooling1D(), (2, 6, 3), lambda k: k.GlobalMaxPooling1D()),
    Case(nn.GlobalMaxPooling3D(), (2, 3, 2, 4, 3), lambda k: k.GlobalMaxPooling3D()),
    Case(nn.GlobalAveragePooling1D(), (2, 6, 3), lambda k: k.GlobalAveragePooling1D()),
    Case(nn.GlobalAveragePooling3D("channels_first"), (2, 3, 2, 4, 3), lambda k: k.GlobalAveragePooling3D("channels_first")),
    Case(nn.ZeroPadding2D(), (2, 3, 4, 2), lambda k: k.ZeroPadding2D()),
    Case(nn.ZeroPadding2D(((1, 0), (2, 3)), data_format="channels_first"), (2, 2, 3, 4),
         lambda k: k.ZeroPadding2D(((1, 0), (2, 3)), data_format="channels_first")),
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
    Case(nn.BatchNormalization(), (8, 5), lambda k: k.BatchNormalization()),
    Case(nn.BatchNormalization(axis=1, momentum=0.8, epsilon=1e-2, scale=False), (4, 3, 5, 6),
         lambda k: k.BatchNormalization(axis=1, momentum=0.8, epsilon=1e-2, scale=False)),
    Case(nn.BatchNormalization(center=False, gamma_regularizer="l2", gamma_constraint="non_neg"), (4, 3, 5),
         lambda k: k.BatchNormalization(center=False)),
    Case(nn.Serial([nn.Conv2D(2, 3, activation="tanh"), nn.Flatten(), nn.Serial([nn.Dense(3), nn.Dense(2)], name="head")]), (2, 5, 5, 1),
         lambda k: _keras_model(k)),
]  # fmt: skip


def _keras_model(k):
    import keras

    return keras.Sequential([k.Conv2D(2, 3, activation="tanh"), k.Flatten(), k.Dense(3), k.Dense(2)])


def randomised(tree, seed=0):
    """The same tree with other numbers, so that a bias of zero cannot hide anything; variances stay positive."""
    import jax

    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda a: jnp.asarray(0.1 + rng.random(a.shape), a.dtype) * 0.7, tree)
