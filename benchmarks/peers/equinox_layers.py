"""The layers of `benchmarks.spec` as modules of Equinox, each `(x, state, key) -> (y, state)` for one example."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks.peers.channels import conv_kernel, dense_rows
from benchmarks.peers.channels import heads as split_heads
from benchmarks.spec import needs_projection, walk
from benchmarks.workloads import NORM_EPSILON, NORM_MOMENTUM, Workload

KEY = jax.random.key(0)
"""What modules draw their first weights with, before the workload's are put in."""


class Network(eqx.Module):
    layers: list

    def __call__(self, x, state, key):
        for layer, own in zip(self.layers, jax.random.split(key, len(self.layers)), strict=True):
            x, state = layer(x, state, own)
        return x, state


class Plain(eqx.Module):
    """A function of the input alone."""

    function: Callable

    def __call__(self, x, state, key):
        return self.function(x), state


def network(workload: Workload) -> Network:
    weights = workload.weights()
    layers = []
    for i, (name, (kind, *arguments), shape, _) in enumerate(walk(workload.spec, workload.shape)):
        own = weights.get(name)
        if kind == "dense":
            own = {**own, "kernel": dense_rows(workload, own["kernel"], i)}
        layer = LAYERS[kind](shape, own, *arguments)
        layers.append(layer if kind in ("dropout", "stem", "block") else Plain(layer))
    return Network(layers)


def load(module: Any, **values: np.ndarray) -> Any:
    arrays = [jnp.asarray(value) for value in values.values()]
    return eqx.tree_at(lambda m: [getattr(m, name) for name in values], module, arrays)


def linear(kernel, bias):
    return load(eqx.nn.Linear(*kernel.shape, key=KEY), weight=kernel.T, bias=bias)


def dense(shape, w, units, activation):
    module = activated(linear(w["kernel"], w["bias"]), activation)
    return OverTime(module) if len(shape) == 2 else module


def activated(module, activation):
    return eqx.nn.Sequential([module, eqx.nn.Lambda(jax.nn.relu)]) if activation == "relu" else module


class OverTime(eqx.Module):
    """A module for each place of a sequence."""

    module: Callable

    def __call__(self, x):
        return jax.vmap(self.module)(x)


def conv(shape, w, filters, padding, activation):
    module = eqx.nn.Conv2d(shape[2], filters, 3, padding=padding.upper(), key=KEY)
    return activated(load(module, weight=conv_kernel(w["kernel"]), bias=w["bias"][:, None, None]), activation)


class Dropout(eqx.Module):
    dropout: eqx.nn.Dropout

    def __init__(self, shape, w, rate):
        self.dropout = eqx.nn.Dropout(rate)

    def __call__(self, x, state, key):
        return self.dropout(x, key=key), state


class Normed(eqx.Module):
    conv: eqx.nn.Conv2d
    norm: eqx.nn.BatchNorm

    def __init__(self, w, number, stride=1):
        kernel = conv_kernel(w[f"kernel{number}"])
        filters, channels, size, _ = kernel.shape
        module = eqx.nn.Conv2d(channels, filters, size, stride, padding="SAME", use_bias=False, key=KEY)
        self.conv = load(module, weight=kernel)
        norm = eqx.nn.BatchNorm(filters, "batch", eps=NORM_EPSILON, momentum=NORM_MOMENTUM, mode="batch")
        self.norm = load(norm, weight=w[f"gamma{number}"], bias=w[f"beta{number}"])

    def __call__(self, x, state):
        return self.norm(self.conv(x), state)


class Stem(eqx.Module):
    normed: Normed

    def __init__(self, shape, w, filters):
        self.normed = Normed(w, "")

    def __call__(self, x, state, key):
        y, state = self.normed(x, state)
        return jax.nn.relu(y), state


class Block(eqx.Module):
    first: Normed
    second: Normed
    shortcut: Normed | None

    def __init__(self, shape, w, filters, stride):
        self.first, self.second = Normed(w, "1", stride), Normed(w, "2")
        self.shortcut = Normed(w, "3", stride) if needs_projection(shape, filters, stride) else None

    def __call__(self, x, state, key):
        y, state = self.first(x, state)
        y, state = self.second(jax.nn.relu(y), state)
        if self.shortcut is not None:
            x, state = self.shortcut(x, state)
        return jax.nn.relu(x + y), state


class Positions(eqx.Module):
    embedding: jax.Array

    def __init__(self, shape, w, length):
        self.embedding = jnp.asarray(w["kernel"])

    def __call__(self, x):
        return x + self.embedding


class LSTM(eqx.Module):
    cell: eqx.nn.LSTMCell

    def __init__(self, shape, w, units):
        cell = eqx.nn.LSTMCell(shape[1], units, key=KEY)
        self.cell = load(cell, weight_ih=w["kernel"].T, weight_hh=w["kernel_recurrent"].T, bias=w["bias"])

    def __call__(self, x):
        start = jnp.zeros(self.cell.hidden_size)
        return lax.scan(lambda carry, x: (self.cell(x, carry), None), (start, start), x)[0][0]


def layernorm(shape, w, number=""):
    norm = eqx.nn.LayerNorm(shape[-1], NORM_EPSILON)
    return OverTime(load(norm, weight=w[f"gamma{number}"], bias=w[f"beta{number}"]))


class Decoder(eqx.Module):
    norm1: OverTime
    norm2: OverTime
    attention: eqx.nn.MultiheadAttention
    mlp: OverTime

    def __init__(self, shape, w, heads):
        self.norm1, self.norm2 = layernorm(shape, w, "1"), layernorm(shape, w, "2")
        self.attention = attention(shape[-1], w, heads)
        up, down = linear(w["kernel_up"], w["bias_up"]), linear(w["kernel_down"], w["bias_down"])
        self.mlp = OverTime(eqx.nn.Sequential([up, eqx.nn.Lambda(jax.nn.gelu), down]))

    def __call__(self, x):
        z = self.norm1(x)
        x = x + self.attention(z, z, z, mask=jnp.tril(jnp.ones((len(x), len(x)), bool)))
        return x + self.mlp(self.norm2(x))


def attention(width, w, heads):
    biases = {f"use_{name}_bias": True for name in ("query", "key", "value", "output")}
    module = eqx.nn.MultiheadAttention(heads, width, **biases, key=KEY)
    kernels, biases = split_heads(w)
    projections = [linear(*pair) for pair in zip([*kernels, w["kernel_out"]], [*biases, w["bias_out"]], strict=True)]
    return eqx.tree_at(lambda m: [m.query_proj, m.key_proj, m.value_proj, m.output_proj], module, projections)


class Embedding(eqx.Module):
    embedding: eqx.nn.Embedding

    def __init__(self, shape, w, rows, width):
        self.embedding = eqx.nn.Embedding(weight=jnp.asarray(w["kernel"]))

    def __call__(self, x):
        return jax.vmap(self.embedding)(x)


LAYERS: dict[str, Any] = {
    "dense": dense,
    "conv": conv,
    "pool": lambda shape, w: eqx.nn.MaxPool2d(2, 2),
    "dropout": Dropout,
    "flatten": lambda shape, w: jnp.ravel,
    "stem": Stem,
    "block": Block,
    "average": lambda shape, w: lambda x: x.mean((1, 2)),
    "embedding": Embedding,
    "positions": Positions,
    "lstm": LSTM,
    "decoder": Decoder,
    "layernorm": layernorm,
}
