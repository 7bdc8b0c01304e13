"""Flax NNX with optax as its users write it: modules, `nnx.Optimizer`, a jitted step that keeps its graph cached."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from benchmarks.peers.channels import heads as split_heads
from benchmarks.spec import needs_projection, walk
from benchmarks.workloads import BETA_1, BETA_2, EPSILON, LEARNING_RATE, NORM_EPSILON, NORM_MOMENTUM, Workload


class Peer:
    def __init__(self, workload: Workload):
        self.batch = workload.batch
        self.model = network(workload)
        adam = optax.adam(LEARNING_RATE, BETA_1, BETA_2, EPSILON)
        self.optimizer = nnx.Optimizer(self.model, adam, wrt=nnx.Param)
        self.model.train()
        self.step = nnx.cached_partial(train_step, self.model, self.optimizer)
        self.generator = np.random.default_rng(0)

    def prepare(self, x: np.ndarray, y: np.ndarray) -> Any:
        return x, y

    def epoch(self, data: Any, shuffle: bool = True) -> float:
        x, y = data
        order = self.generator.permutation(len(x)) if shuffle else np.arange(len(x))
        batches = [order[start : start + self.batch] for start in range(0, len(x), self.batch)]
        losses = [self.step(x[rows], y[rows]) for rows in batches]
        return float(np.mean(jax.device_get(losses)))


@nnx.jit
def train_step(model: nnx.Module, optimizer: nnx.Optimizer, x: Any, y: Any) -> Any:
    loss, grads = nnx.value_and_grad(lambda model: mean_loss(model(x), y))(model)
    optimizer.update(model, grads)
    return loss


def mean_loss(logits: Any, y: Any) -> Any:
    if logits.shape[-1] == 1:
        return optax.sigmoid_binary_cross_entropy(logits, y).mean()
    return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()


def network(workload: Workload) -> nnx.Module:
    weights, rngs = workload.weights(), nnx.Rngs(0)
    layers = walk(workload.spec, workload.shape)
    return nnx.Sequential(*[LAYERS[kind](shape, weights.get(n), rngs, *args) for n, (kind, *args), shape, _ in layers])


def load(module: Any, **values: np.ndarray) -> Any:
    for name, value in values.items():
        getattr(module, name)[...] = jnp.asarray(value)
    return module


def linear(kernel, bias, rngs):
    return load(nnx.Linear(*kernel.shape, rngs=rngs), kernel=kernel, bias=bias)


def dense(shape, w, rngs, units, activation):
    return activated(linear(w["kernel"], w["bias"], rngs), activation)


def activated(module, activation):
    return nnx.Sequential(module, nnx.relu) if activation == "relu" else module


def conv(shape, w, rngs, filters, padding, activation):
    module = nnx.Conv(shape[2], filters, (3, 3), padding=padding.upper(), rngs=rngs)
    return activated(load(module, kernel=w["kernel"], bias=w["bias"]), activation)


def normed(w, number, rngs, stride=1):
    kernel = w[f"kernel{number}"]
    *size, channels, filters = kernel.shape
    module = nnx.Conv(channels, filters, size, stride, padding="SAME", use_bias=False, rngs=rngs)
    norm = nnx.BatchNorm(filters, momentum=NORM_MOMENTUM, epsilon=NORM_EPSILON, rngs=rngs)
    load(norm, scale=w[f"gamma{number}"], bias=w[f"beta{number}"])
    return nnx.Sequential(load(module, kernel=kernel), norm)


def stem(shape, w, rngs, filters):
    return nnx.Sequential(normed(w, "", rngs), nnx.relu)


class Block(nnx.Module):
    def __init__(self, shape, w, rngs, filters, stride):
        self.first, self.second = normed(w, "1", rngs, stride), normed(w, "2", rngs)
        self.shortcut = normed(w, "3", rngs, stride) if needs_projection(shape, filters, stride) else None

    def __call__(self, x):
        y = self.second(nnx.relu(self.first(x)))
        return nnx.relu(y + (x if self.shortcut is None else self.shortcut(x)))


class Positions(nnx.Module):
    def __init__(self, shape, w, rngs, length):
        self.embedding = nnx.Param(jnp.asarray(w["kernel"]))

    def __call__(self, x):
        return x + self.embedding[...]


class LSTM(nnx.Module):
    def __init__(self, shape, w, rngs, units):
        cell = nnx.OptimizedLSTMCell(shape[1], units, rngs=rngs)
        load(cell.dense_i, kernel=w["kernel"])
        load(cell.dense_h, kernel=w["kernel_recurrent"], bias=w["bias"])
        self.rnn = nnx.RNN(cell)

    def __call__(self, x):
        return self.rnn(x)[:, -1]


def layernorm(shape, w, rngs, number=""):
    norm = nnx.LayerNorm(shape[-1], epsilon=NORM_EPSILON, rngs=rngs)
    return load(norm, scale=w[f"gamma{number}"], bias=w[f"beta{number}"])


def attention(shape, w, rngs, heads):
    width, each = shape[-1], shape[-1] // heads
    module = nnx.MultiHeadAttention(heads, width, decode=False, rngs=rngs)
    for part, kernel, bias in zip((module.query, module.key, module.value), *split_heads(w), strict=True):
        load(part, kernel=kernel.reshape(width, heads, each), bias=bias.reshape(heads, each))
    load(module.out, kernel=w["kernel_out"].reshape(heads, each, width), bias=w["bias_out"])
    return module


class Decoder(nnx.Module):
    def __init__(self, shape, w, rngs, heads):
        self.norm1, self.norm2 = layernorm(shape, w, rngs, "1"), layernorm(shape, w, rngs, "2")
        self.attention = attention(shape, w, rngs, heads)
        self.up = linear(w["kernel_up"], w["bias_up"], rngs)
        self.down = linear(w["kernel_down"], w["bias_down"], rngs)

    def __call__(self, x):
        x = x + self.attention(self.norm1(x), mask=nnx.make_causal_mask(x[..., 0]))
        return x + self.down(nnx.gelu(self.up(self.norm2(x))))


LAYERS: dict[str, Any] = {f.__name__: f for f in (dense, conv, stem, layernorm)}
LAYERS |= {
    "pool": lambda shape, w, rngs: lambda x: nnx.max_pool(x, (2, 2), (2, 2)),
    "dropout": lambda shape, w, rngs, rate: nnx.Dropout(rate, rngs=rngs),
    "flatten": lambda shape, w, rngs: lambda x: x.reshape(len(x), -1),
    "average": lambda shape, w, rngs: lambda x: x.mean((1, 2)),
    "embedding": lambda shape, w, rngs, *size: load(nnx.Embed(*size, rngs=rngs), embedding=w["kernel"]),
    "block": Block,
    "positions": Positions,
    "lstm": LSTM,
    "decoder": Decoder,
}
