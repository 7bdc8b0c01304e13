"""The layers of `benchmarks.spec` as plain functions of JAX; means, norms and softmax in float32 at least."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from benchmarks.workloads import NORM_EPSILON


def apply(spec: Any, params: Any, x: Any, key: Any) -> Any:
    """The network's output; in training, with a key. Moving statistics of batch norms are not kept: no peer's
    training depends on them, and none of the measurements reads them."""
    for i, (kind, *arguments) in enumerate(spec):
        own = None if key is None else jax.random.fold_in(key, i)
        x = LAYERS[kind](params.get(f"{i}_{kind}"), x, own, *arguments)
    return x


def dense(p, x, key, units, activation):
    return activate(x @ p["kernel"] + p["bias"], activation)


def activate(x, activation):
    return jax.nn.relu(x) if activation == "relu" else x


def conv(p, x, key, filters, padding, activation):
    return activate(convolve(x, p["kernel"], 1, padding) + p["bias"], activation)


def convolve(x, kernel, stride, padding):
    names = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x, kernel, (stride, stride), padding.upper(), dimension_numbers=names)


def pool(p, x, key):
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


def dropout(p, x, key, rate):
    if key is None or not rate:
        return x
    return jnp.where(jax.random.bernoulli(key, 1 - rate, x.shape), x / (1 - rate), 0)


def flatten(p, x, key):
    return x.reshape(len(x), -1)


def stem(p, x, key, filters):
    return jax.nn.relu(normed(p, "", x))


def block(p, x, key, filters, stride):
    y = jax.nn.relu(normed(p, "1", x, stride))
    y = normed(p, "2", y)
    return jax.nn.relu(y + (normed(p, "3", x, stride) if "kernel3" in p else x))


def normed(p, number, x, stride=1):
    y = convolve(x, p[f"kernel{number}"], stride, "same")
    return normalise(y, p[f"gamma{number}"], p[f"beta{number}"], (0, 1, 2))


def normalise(x, gamma, beta, axes):
    wide = x.astype(jnp.float32)
    mean, variance = wide.mean(axes, keepdims=True), wide.var(axes, keepdims=True)
    return ((wide - mean) * lax.rsqrt(variance + NORM_EPSILON) * gamma + beta).astype(x.dtype)


def average(p, x, key):
    return x.mean((1, 2), dtype=jnp.float32).astype(x.dtype)


def embedding(p, x, key, rows, width):
    return p["kernel"][x]


def positions(p, x, key, length):
    return x + p["kernel"]


def lstm(p, x, key, units):
    projected = x.swapaxes(0, 1) @ p["kernel"] + p["bias"]

    def step(carry, z):
        h, c = carry
        i, f, g, o = jnp.split(z + h @ p["kernel_recurrent"], 4, 1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        return (jax.nn.sigmoid(o) * jnp.tanh(c), c), None

    start = jnp.zeros((len(x), units), x.dtype)
    return lax.scan(step, (start, start), projected)[0][0]


def decoder(p, x, key, heads):
    x = x + attention(p, layernorm({"gamma": p["gamma1"], "beta": p["beta1"]}, x, key), heads)
    z = layernorm({"gamma": p["gamma2"], "beta": p["beta2"]}, x, key)
    z = jax.nn.gelu(z @ p["kernel_up"] + p["bias_up"])
    return x + z @ p["kernel_down"] + p["bias_down"]


def attention(p, x, heads):
    q, k, v = (a.reshape(*a.shape[:2], heads, -1) for a in jnp.split(x @ p["kernel_qkv"] + p["bias_qkv"], 3, -1))
    scores = jnp.einsum("bthd,bshd->bhts", q, k) / jnp.sqrt(q.shape[-1])
    causal = jnp.tril(jnp.ones(scores.shape[-2:], bool))
    shares = jax.nn.softmax(jnp.where(causal, scores, -jnp.inf).astype(jnp.float32)).astype(x.dtype)
    y = jnp.einsum("bhts,bshd->bthd", shares, v).reshape(x.shape)
    return y @ p["kernel_out"] + p["bias_out"]


def layernorm(p, x, key):
    return normalise(x, p["gamma"], p["beta"], -1)


LAYERS: dict[str, Any] = {f.__name__: f for f in (dense, conv, pool, dropout, flatten, stem, block, average)}
LAYERS |= {f.__name__: f for f in (embedding, positions, lstm, decoder, layernorm)}
