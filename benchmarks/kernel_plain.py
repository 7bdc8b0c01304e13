"""The operations of `kernel_cases` in plain JAX, as one writes them without kjax."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from benchmarks.peers import raw_layers


def conv(x: Any, kernel: Any, strides: int, padding: str) -> Any:
    return raw_layers.convolve(x, kernel, strides, padding)


def conv_relu(x: Any, kernel: Any, bias: Any, padding: str) -> Any:
    return jax.nn.relu(conv(x, kernel, 1, padding) + bias)


def attention(query: Any, key: Any, value: Any) -> Any:
    """Causal."""
    scores = jnp.einsum("bthd,bshd->bhts", query, key) / jnp.sqrt(query.shape[-1])
    causal = jnp.tril(jnp.ones(scores.shape[-2:], bool))
    return jnp.einsum("bhts,bshd->bthd", jax.nn.softmax(jnp.where(causal, scores, -jnp.inf)), value)


def lstm(plus: Any, kernel: Any, h: Any, c: Any) -> Any:
    def step(states: Any, plus: Any) -> Any:
        h, c = states
        i, f, new, o = jnp.split(plus + h @ kernel, 4, 1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(new)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    return lax.scan(step, (h, c), plus)[1]


def gru(plus: Any, kernel: Any, bias: Any, h: Any) -> Any:
    def step(h: Any, plus: Any) -> Any:
        (z, r, new), (by_z, by_r, by_new) = jnp.split(plus, 3, 1), jnp.split(h @ kernel + bias, 3, 1)
        z, r = jax.nn.sigmoid(z + by_z), jax.nn.sigmoid(r + by_r)
        h = z * h + (1 - z) * jnp.tanh(new + r * by_new)
        return h, h

    return lax.scan(step, h, plus)[1]


def simple_rnn(plus: Any, kernel: Any, h: Any) -> Any:
    def step(h: Any, plus: Any) -> Any:
        h = jnp.tanh(plus + h @ kernel)
        return h, h

    return lax.scan(step, h, plus)[1]


def norm(x: Any, scale: Any, offset: Any, axes: Any) -> Any:
    return raw_layers.normalise(x, scale, offset, axes)


def take(array: Any, rows: Any) -> Any:
    return array[rows]


max_pool = partial(raw_layers.pool, None, key=None)


def keep_mask(key: Any, rate: float, shape: Any) -> Any:
    return jax.random.bernoulli(jax.random.wrap_key_data(key), 1 - rate, shape)
