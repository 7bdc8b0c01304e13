"""The workloads' layers as kjax's users write them, and the workloads' weights under kjax's names."""

from typing import Any

import jax
import numpy as np

from benchmarks import spec
from benchmarks.spec import Weights
from benchmarks.workloads import NORM_EPSILON, NORM_MOMENTUM
from kjax import layers, nn

Arrays = dict[str, np.ndarray]


def conv(filters: int, padding: str, activation: str | None) -> nn.Layer:
    return layers.Conv2D(filters, (3, 3), padding=padding, activation=activation)


def unbiased(filters: int, size: int = 3, strides: int = 1) -> nn.Layer:
    return layers.Conv2D(filters, size, strides=strides, padding="same", use_bias=False)


def norm() -> nn.Layer:
    return layers.BatchNormalization(momentum=NORM_MOMENTUM, epsilon=NORM_EPSILON)


class Stem(nn.Composite):
    filters: int

    def parts(self):
        return {"conv": unbiased(self.filters), "norm": norm(), "relu": layers.ReLU()}

    def forward(self, x):
        return self.relu(self.norm(self.conv(x)))


class Block(nn.Composite):
    filters: int
    strides: int
    project: bool

    def parts(self):
        both = {"conv1": unbiased(self.filters, strides=self.strides), "conv2": unbiased(self.filters)}
        own = both | {"conv3": unbiased(self.filters, 1, self.strides)} if self.project else both
        return own | {name.replace("conv", "norm"): norm() for name in own}

    def forward(self, x):
        y = self.norm2(self.conv2(jax.nn.relu(self.norm1(self.conv1(x)))))
        return jax.nn.relu(y + (self.norm3(self.conv3(x)) if self.project else x))


def made(kind: str, arguments: list[Any], shape: tuple[int, ...]) -> nn.Layer:
    """The layer for a row of a workload's list, for inputs of a shape."""
    if kind == "block":
        return Block(*arguments, spec.needs_projection(shape, *arguments))
    if kind == "decoder":
        return layers.TransformerBlock(
            shape[-1], *arguments, activation=jax.nn.gelu, use_causal_mask=True, epsilon=NORM_EPSILON
        )
    return LAYERS[kind](*arguments)


LAYERS = {
    "dense": layers.Dense,
    "conv": conv,
    "pool": layers.MaxPooling2D,
    "dropout": layers.Dropout,
    "flatten": layers.Flatten,
    "average": layers.GlobalAveragePooling2D,
    "embedding": layers.Embedding,
    "stem": Stem,
    "positions": lambda length: nn.Residual([layers.PositionEmbedding(length)]),
    "lstm": layers.LSTM,
    "layernorm": lambda: layers.LayerNormalization(epsilon=NORM_EPSILON),
}


def renamed(weights: Weights) -> dict[str, Any]:
    """The workload's weights under kjax's names."""
    return {name: NAMES.get(name.partition("_")[2], dict)(own) for name, own in weights.items()}


def convolutions(own: Arrays) -> dict[str, Arrays]:
    """Of a stem or block: kernel1 and gamma1, beta1 as conv1/kernel and norm1/gamma, norm1/beta."""
    found: dict[str, Arrays] = {}
    for name, value in own.items():
        kind, number = name.rstrip("123"), name[len(name.rstrip("123")) :]
        found.setdefault(("conv" if kind == "kernel" else "norm") + number, {})[kind] = value
    return found


def decoder(own: Arrays) -> dict[str, Any]:
    """Of a transformer's block; the heads' number is that of the only workload."""
    heads = 4

    def dense(name: str) -> Arrays:
        return {"kernel": own[f"kernel_{name}"], "bias": own[f"bias_{name}"]}

    def norm(number: int) -> Arrays:
        return {"gamma": own[f"gamma{number}"], "beta": own[f"beta{number}"]}

    kernels, biases = np.split(own["kernel_qkv"], 3, 1), np.split(own["bias_qkv"], 3)
    attention = {
        name: {"kernel": kernel.reshape(len(kernel), heads, -1), "bias": bias.reshape(heads, -1)}
        for name, kernel, bias in zip(("query", "key", "value"), kernels, biases, strict=True)
    }
    last = own["kernel_out"]
    attention["attention_output"] = {"kernel": last.reshape(heads, -1, last.shape[1]), "bias": own["bias_out"]}
    return {
        "attention": {"layer_normalization": norm(1), "multi_head_attention": attention},
        "mlp": {"layer_normalization": norm(2), "dense": dense("up"), "dense_1": dense("down")},
    }


NAMES = {
    "embedding": lambda own: {"embeddings": own["kernel"]},
    "positions": lambda own: {"position_embedding": {"embeddings": own["kernel"]}},
    "lstm": lambda own: {own_name: own[name] for own_name, name in LSTM.items()},
    "stem": convolutions,
    "block": convolutions,
    "decoder": decoder,
}
LSTM = {"kernel": "kernel", "recurrent_kernel": "kernel_recurrent", "bias": "bias"}
