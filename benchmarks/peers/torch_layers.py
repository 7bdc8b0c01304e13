"""The layers of `benchmarks.spec` as modules of PyTorch, with the workload's weights."""

from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from benchmarks.peers.channels import conv_kernel, dense_rows
from benchmarks.spec import needs_projection, walk
from benchmarks.workloads import NORM_EPSILON, NORM_MOMENTUM, Workload


def network(workload: Workload) -> nn.Module:
    weights = workload.weights()
    modules = []
    for i, (name, (kind, *arguments), shape, _) in enumerate(walk(workload.spec, workload.shape)):
        own = weights.get(name)
        if kind == "dense":
            own = {**own, "kernel": dense_rows(workload, own["kernel"], i)}
        modules.append(LAYERS[kind](shape, own, *arguments))
    model = nn.Sequential(*modules)
    return model.to(memory_format=torch.channels_last) if len(workload.shape) == 3 else model


def load(module: nn.Module, **values: np.ndarray) -> nn.Module:
    with torch.no_grad():
        for name, value in values.items():
            getattr(module, name).copy_(torch.from_numpy(value))
    return module


def linear(kernel, bias):
    return load(nn.Linear(*kernel.shape), weight=kernel.T.copy(), bias=bias)


def dense(shape, w, units, activation):
    return activated(linear(w["kernel"], w["bias"]), activation)


def activated(module, activation):
    return nn.Sequential(module, nn.ReLU()) if activation == "relu" else module


def conv(shape, w, filters, padding, activation):
    module = nn.Conv2d(shape[2], filters, 3, padding=padding)
    return activated(load(module, weight=conv_kernel(w["kernel"]), bias=w["bias"]), activation)


def normed(w, number, stride=1):
    kernel = conv_kernel(w[f"kernel{number}"])
    filters, channels, size, _ = kernel.shape
    convolution = Padded(channels, filters, size, stride, padding=0 if stride > 1 else size // 2, bias=False)
    norm = nn.BatchNorm2d(filters, NORM_EPSILON, 1 - NORM_MOMENTUM)
    load(norm, weight=w[f"gamma{number}"], bias=w[f"beta{number}"])
    return nn.Sequential(load(convolution, weight=kernel), norm)


class Padded(nn.Conv2d):
    """A convolution; with stride 2 it pads as "same" does elsewhere: one row and column at the end."""

    def forward(self, x):
        return super().forward(functional.pad(x, (0, 1, 0, 1)) if self.stride[0] > 1 and self.kernel_size[0] > 1 else x)


def stem(shape, w, filters):
    return nn.Sequential(normed(w, ""), nn.ReLU())


class Block(nn.Module):
    def __init__(self, shape, w, filters, stride):
        super().__init__()
        self.first, self.second = normed(w, "1", stride), normed(w, "2")
        self.shortcut = normed(w, "3", stride) if needs_projection(shape, filters, stride) else nn.Identity()

    def forward(self, x):
        return functional.relu(self.shortcut(x) + self.second(functional.relu(self.first(x))))


class Average(nn.Module):
    def forward(self, x):
        return x.mean((2, 3))


class Positions(nn.Module):
    def __init__(self, shape, w, length):
        super().__init__()
        self.weight = nn.Parameter(torch.from_numpy(w["kernel"]))

    def forward(self, x):
        return x + self.weight


class LSTM(nn.Module):
    def __init__(self, shape, w, units):
        super().__init__()
        self.lstm = nn.LSTM(shape[1], units, batch_first=True)
        load(self.lstm, weight_ih_l0=w["kernel"].T.copy(), weight_hh_l0=w["kernel_recurrent"].T.copy())
        load(self.lstm, bias_ih_l0=w["bias"], bias_hh_l0=np.zeros_like(w["bias"]))
        self.lstm.bias_hh_l0.requires_grad_(False)  # the other frameworks have one bias

    def forward(self, x):
        return self.lstm(x)[0][:, -1]


def layernorm(shape, w, number=""):
    return load(nn.LayerNorm(shape[-1], NORM_EPSILON), weight=w[f"gamma{number}"], bias=w[f"beta{number}"])


class Attention(nn.Module):
    def __init__(self, w, heads):
        super().__init__()
        self.heads = heads
        self.qkv = linear(w["kernel_qkv"], w["bias_qkv"])
        self.out = linear(w["kernel_out"], w["bias_out"])

    def forward(self, x):
        batch, length, width = x.shape
        q, k, v = (a.view(batch, length, self.heads, -1).transpose(1, 2) for a in self.qkv(x).chunk(3, -1))
        y = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(y.transpose(1, 2).reshape(batch, length, width))


class Decoder(nn.Module):
    def __init__(self, shape, w, heads):
        super().__init__()
        up, down = linear(w["kernel_up"], w["bias_up"]), linear(w["kernel_down"], w["bias_down"])
        self.attention = nn.Sequential(layernorm(shape, w, "1"), Attention(w, heads))
        self.mlp = nn.Sequential(layernorm(shape, w, "2"), up, nn.GELU("tanh"), down)

    def forward(self, x):
        x = x + self.attention(x)
        return x + self.mlp(x)


LAYERS: dict[str, Any] = {f.__name__: f for f in (dense, conv, stem, layernorm)}
LAYERS |= {
    "pool": lambda shape, w: nn.MaxPool2d(2),
    "dropout": lambda shape, w, rate: nn.Dropout(rate),
    "flatten": lambda shape, w: nn.Flatten(),
    "average": lambda shape, w: Average(),
    "embedding": lambda shape, w, rows, width: load(nn.Embedding(rows, width), weight=w["kernel"]),
    "block": Block,
    "positions": Positions,
    "lstm": LSTM,
    "decoder": Decoder,
}
