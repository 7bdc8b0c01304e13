"""Keras 3 as its users write it, functional API and `fit`; the backend comes from KERAS_BACKEND."""

from typing import Any

import keras
import numpy as np
from keras import layers

from benchmarks.peers.channels import heads as split_heads
from benchmarks.spec import needs_projection, walk
from benchmarks.workloads import BETA_1, BETA_2, EPSILON, LEARNING_RATE, NORM_EPSILON, NORM_MOMENTUM, Workload


class Peer:
    def __init__(self, workload: Workload):
        keras.utils.set_random_seed(0)
        self.batch = workload.batch
        self.model = network(workload)
        self.model.compile(keras.optimizers.Adam(LEARNING_RATE, BETA_1, BETA_2, EPSILON), loss(workload))

    def prepare(self, x: np.ndarray, y: np.ndarray) -> Any:
        return x, y

    def epoch(self, data: Any, shuffle: bool = True) -> float:
        return self.model.fit(*data, batch_size=self.batch, verbose=0, shuffle=shuffle).history["loss"][-1]

    def predict(self, x: np.ndarray) -> np.ndarray:
        return self.model.predict(x, verbose=0)

    def train_on_batch(self, x: np.ndarray, y: np.ndarray) -> float:
        return float(self.model.train_on_batch(x, y))


def loss(workload: Workload) -> Any:
    name = "BinaryCrossentropy" if workload.classes == 1 else "SparseCategoricalCrossentropy"
    return getattr(keras.losses, name)(from_logits=True)


def network(workload: Workload) -> Any:
    weights = workload.weights()
    x = inputs = keras.Input(workload.shape, dtype="int32" if workload.vocabulary else "float32")
    for name, (kind, *arguments), _, _ in walk(workload.spec, workload.shape):
        x = LAYERS[kind](x, weights.get(name), *arguments)
    return keras.Model(inputs, x)


def load(layer: Any, values: list[np.ndarray]) -> None:
    """Sets what is trained; moving statistics stay."""
    for variable, value in zip(layer.trainable_variables, values, strict=True):
        variable.assign(value)


def called(layer: Any, x: Any, *values: np.ndarray) -> Any:
    y = layer(x)
    load(layer, list(values))
    return y


def dense(x, w, units, activation):
    return called(layers.Dense(units, activation=activation), x, w["kernel"], w["bias"])


def conv(x, w, filters, padding, activation):
    return called(layers.Conv2D(filters, 3, padding=padding, activation=activation), x, w["kernel"], w["bias"])


def normed(x, w, number, filters, size=3, stride=1):
    x = called(layers.Conv2D(filters, size, stride, padding="same", use_bias=False), x, w[f"kernel{number}"])
    norm = layers.BatchNormalization(momentum=NORM_MOMENTUM, epsilon=NORM_EPSILON)
    return called(norm, x, w[f"gamma{number}"], w[f"beta{number}"])


def stem(x, w, filters):
    return layers.ReLU()(normed(x, w, "", filters))


def block(x, w, filters, stride):
    y = layers.ReLU()(normed(x, w, "1", filters, stride=stride))
    y = normed(y, w, "2", filters)
    if needs_projection(x.shape[1:], filters, stride):
        x = normed(x, w, "3", filters, 1, stride)
    return layers.ReLU()(layers.Add()([x, y]))


class Positions(layers.Layer):
    """Adds a learned vector to each place."""

    def build(self, shape):
        self.embeddings = self.add_weight(shape=shape[1:], name="embeddings")

    def call(self, x):
        return x + self.embeddings


def lstm(x, w, units):
    return called(layers.LSTM(units), x, w["kernel"], w["kernel_recurrent"], w["bias"])


def layernorm(x, w, number=""):
    return called(layers.LayerNormalization(epsilon=NORM_EPSILON), x, w[f"gamma{number}"], w[f"beta{number}"])


def decoder(x, w, heads):
    x = layers.Add()([x, attention(layernorm(x, w, "1"), w, heads)])
    z = called(layers.Dense(4 * x.shape[-1], activation=gelu), layernorm(x, w, "2"), w["kernel_up"], w["bias_up"])
    return layers.Add()([x, called(layers.Dense(x.shape[-1]), z, w["kernel_down"], w["bias_down"])])


def gelu(x):
    return keras.activations.gelu(x, approximate=True)


def attention(x, w, heads):
    width, each = x.shape[-1], x.shape[-1] // heads
    layer = layers.MultiHeadAttention(heads, each)
    y = layer(x, x, use_causal_mask=True)
    kernels, biases = split_heads(w)
    values = [
        a for k, b in zip(kernels, biases, strict=True) for a in (k.reshape(width, heads, each), b.reshape(heads, each))
    ]
    load(layer, [*values, w["kernel_out"].reshape(heads, each, width), w["bias_out"]])
    return y


LAYERS: dict[str, Any] = {f.__name__: f for f in (dense, conv, stem, block, lstm, layernorm, decoder)}
LAYERS |= {
    "pool": lambda x, w: layers.MaxPooling2D()(x),
    "dropout": lambda x, w, rate: layers.Dropout(rate)(x),
    "flatten": lambda x, w: layers.Flatten()(x),
    "average": lambda x, w: layers.GlobalAveragePooling2D()(x),
    "embedding": lambda x, w, rows, width: called(layers.Embedding(rows, width), x, w["kernel"]),
    "positions": lambda x, w, length: called(Positions(), x, w["kernel"]),
}
