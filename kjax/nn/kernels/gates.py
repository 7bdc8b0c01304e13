"""The step of an LSTM that follows its sums, for tanh and sigmoid."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array


@jax.custom_jvp
def lstm_gates(sums: Array, c: Array) -> tuple[Array, Array]:
    """The output and the memory after a step: `c = f * c + i * new` and `h = o * tanh(c)`.

    Args:
        sums: (…, 4 * units), the sums of the input gate, the forget gate, the candidate and the output gate.
        c: (…, units), the memory before.

    >>> [a.shape for a in lstm_gates(jnp.zeros((2, 12)), jnp.zeros((2, 3)))]
    [(2, 3), (2, 3)]
    """
    i, f, new, o = jnp.split(_activated(sums), 4, -1)
    c = f * c + i * new
    return o * jnp.tanh(c), c


def _activated(sums: Array) -> Array:
    units = sums.shape[-1] // 4
    scale = np.repeat([0.5, 0.5, 1, 0.5], units).astype(sums.dtype)
    shift = np.repeat([0.5, 0.5, 0, 0.5], units).astype(sums.dtype)
    scale, shift = (jnp.expand_dims(a, range(sums.ndim - 1)) for a in (scale, shift))
    return jnp.tanh(sums * scale) * scale + shift


@lstm_gates.defjvp
def _tangents(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple:
    (sums, before), (along_sums, along_c) = primals, tangents
    i, f, new, o = jnp.split(_activated(sums), 4, -1)
    c = f * before + i * new
    y = jnp.tanh(c)
    slopes = [new * i * (1 - i), before * f * (1 - f), i * (1 - new * new), y * o * (1 - o)]
    moved = jnp.split(along_sums * jnp.concatenate(slopes, -1), 4, -1)
    along_c = f * along_c + moved[0] + moved[1] + moved[2]
    return (o * y, c), (o * (1 - y * y) * along_c + moved[3], along_c)
