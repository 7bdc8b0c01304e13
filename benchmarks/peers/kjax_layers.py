"""Layers that kjax does not have (yet), as its users would write them: subclasses with pure functions inside."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from benchmarks import spec
from benchmarks.workloads import NORM_EPSILON, NORM_MOMENTUM
from kjax import nn


def renamed(weights: spec.Weights) -> spec.Weights:
    """The workload's weights under kjax's names."""
    return {
        layer: {"embeddings": own["kernel"]} if layer.endswith("_embedding") else own for layer, own in weights.items()
    }


def zeros(shapes: dict[str, Any]) -> dict[str, jax.Array]:
    """Weights that are loaded later."""
    return {name: jnp.zeros(shape) for name, shape in shapes.items()}


class Convolutions(nn.Layer):
    """Convolutions without a bias, each with a batch norm: kernel1, gamma1, beta1, mean1, variance1, …"""

    filters: int
    strides: int = 1

    ndim = 4
    mixes_examples = True

    def build(self, key, x):
        params = zeros(self.shapes(x.shape[1:]))
        numbers = [name.removeprefix("kernel") for name in params if name.startswith("kernel")]
        state = {f"mean{i}": jnp.zeros(self.filters) for i in numbers}
        return params, state | {f"variance{i}": jnp.ones(self.filters) for i in numbers}

    def normed(self, number, params, state, x, training, strides=1):
        kernel = params[f"kernel{number}"]
        conv = nn.Conv2D(self.filters, kernel.shape[:2], strides=strides, padding="same", use_bias=False)
        norm = nn.BatchNormalization(momentum=NORM_MOMENTUM, epsilon=NORM_EPSILON)
        y, _ = conv.apply({"kernel": kernel}, {}, x)
        learned = {"gamma": params[f"gamma{number}"], "beta": params[f"beta{number}"]}
        moving = {"moving_mean": state[f"mean{number}"], "moving_variance": state[f"variance{number}"]}
        y, moving = norm.apply(learned, moving, y, training)
        return y, {f"mean{number}": moving["moving_mean"], f"variance{number}": moving["moving_variance"]}


class Stem(Convolutions):
    def shapes(self, shape):
        return spec.stem(shape, self.filters).weights

    def call(self, params, state, x, training, key):
        y, state = self.normed("", params, state, x, training)
        return jax.nn.relu(y), state


class Block(Convolutions):
    def shapes(self, shape):
        return spec.block(shape, self.filters, self.strides).weights

    def call(self, params, state, x, training, key):
        y, first = self.normed("1", params, state, x, training, self.strides)
        y, second = self.normed("2", params, state, jax.nn.relu(y), training)
        third = {}
        if "kernel3" in params:
            x, third = self.normed("3", params, state, x, training, self.strides)
        return jax.nn.relu(x + y), {**first, **second, **third}


class Positions(nn.Layer):
    length: int

    def build(self, key, x):
        return zeros(spec.positions(x.shape[1:], self.length).weights), {}

    def call(self, params, state, x, training, key):
        return x + params["kernel"], state


class LayerNorm(nn.Layer):
    def build(self, key, x):
        return zeros(spec.layernorm(x.shape[1:]).weights), {}

    def call(self, params, state, x, training, key):
        return normalise(x, params["gamma"], params["beta"]), state


def normalise(x, gamma, beta):
    mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) * lax.rsqrt(variance + NORM_EPSILON) * gamma + beta


class Decoder(nn.Layer):
    heads: int

    def build(self, key, x):
        return zeros(spec.decoder(x.shape[1:], self.heads).weights), {}

    def call(self, params, state, x, training, key):
        def dense(name, x):
            return x @ params[f"kernel_{name}"] + params[f"bias_{name}"]

        z = normalise(x, params["gamma1"], params["beta1"])
        q, k, v = (a.reshape(*x.shape[:2], self.heads, -1) for a in jnp.split(dense("qkv", z), 3, -1))
        x = x + dense("out", jax.nn.dot_product_attention(q, k, v, is_causal=True).reshape(x.shape))
        z = normalise(x, params["gamma2"], params["beta2"])
        return x + dense("down", jax.nn.gelu(dense("up", z))), state


class LSTM(nn.Layer):
    units: int

    def build(self, key, x):
        return zeros(spec.lstm(x.shape[1:], self.units).weights), {}

    def call(self, params, state, x, training, key):
        projected = x.swapaxes(0, 1) @ params["kernel"] + params["bias"]
        return recurrence(projected, params["kernel_recurrent"])[-1], state


@jax.custom_vjp
def recurrence(projected, kernel):
    """(time, batch, 4 units) -> (time, batch, units): the inputs' part of the gates is computed beforehand."""
    return forward(projected, kernel)[0]


def forward(projected, kernel):
    def step(carry, z):
        h, c = carry
        i, f, g, o = jnp.split(z + h @ kernel, 4, 1)
        i, f, g, o = jax.nn.sigmoid(i), jax.nn.sigmoid(f), jnp.tanh(g), jax.nn.sigmoid(o)
        c = f * c + i * g
        h = o * jnp.tanh(c)
        return (h, c), (h, c, jnp.concatenate([i, f, g, o], 1))

    start = jnp.zeros((projected.shape[1], kernel.shape[0]))
    _, (hs, cs, gates) = lax.scan(step, (start, start), projected)
    return hs, (kernel, hs, cs, gates)


def backward(saved, d_hs):
    """One product for the kernel's gradient, behind the loop."""
    kernel, hs, cs, gates = saved
    start = jnp.zeros_like(hs[:1])
    transposed = lax.optimization_barrier(kernel.T)

    def step(carry, given):
        d_h, d_c = carry
        d_out, gate, c, c_before = given
        i, f, g, o = jnp.split(gate, 4, 1)
        d_h, squashed = d_h + d_out, jnp.tanh(c)
        d_c = d_c + d_h * o * (1 - squashed**2)
        d_gates = (
            d_c * g * i * (1 - i),
            d_c * c_before * f * (1 - f),
            d_c * i * (1 - g**2),
            d_h * squashed * o * (1 - o),
        )
        d_z = jnp.concatenate(d_gates, 1)
        return (d_z @ transposed, d_c * f), d_z

    before = jnp.concatenate([start, cs[:-1]])
    _, d_z = lax.scan(step, (start[0], start[0]), (d_hs, gates, cs, before), reverse=True)
    hs_before = jnp.concatenate([start, hs[:-1]])
    return d_z, jnp.einsum("tbu,tbz->uz", hs_before, d_z)


recurrence.defvjp(forward, backward)
