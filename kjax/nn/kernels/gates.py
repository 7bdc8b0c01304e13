"""The step of an LSTM that follows its sums, for tanh and sigmoid.

Measured with loops written by hand, 80 steps of 32 rows and 128 units on 2 cores (AVX-512, float32), medians of 6
alternated rounds: forward 6.7 ms with one tanh for all gates, 10.4 with sigmoids; with all gradients 21.3 against 23.2.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array


@jax.custom_jvp
def lstm_gates(sums: Array, c: Array) -> tuple[Array, Array]:
    """The output and the memory after a step: `c = f * c + i * new` and `h = o * tanh(c)`.

    Args:
        sums: `(…, 4 * units)`, for the input gate, the forget gate, the candidate and the output gate.
        c: `(…, units)`, the memory before.

    A sigmoid is computed as `0.5 * tanh(x / 2) + 0.5`, so that one tanh does for all four.

    >>> [a.shape for a in lstm_gates(jnp.zeros((2, 12)), jnp.zeros((2, 3)))]
    [(2, 3), (2, 3)]
    """
    i, f, new, o = _gates(sums)
    c = f * c + i * new
    return o * jnp.tanh(c), c


@lstm_gates.defjvp
def _tangents(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple:
    """Written out, so that a reverse pass keeps one factor for each sum rather than all that it is made of."""
    (sums, before), (along_sums, along_c) = primals, tangents
    i, f, new, o = _gates(sums)
    c = f * before + i * new
    y = jnp.tanh(c)
    slopes = [new * i * (1 - i), before * f * (1 - f), i * (1 - new * new), y * o * (1 - o)]
    first, second, third, last = jnp.split(along_sums * jnp.concatenate(slopes, -1), 4, -1)
    along_c = f * along_c + first + second + third
    return (o * y, c), (o * (1 - y * y) * along_c + last, along_c)


def _gates(sums: Array) -> list[Array]:
    """The input gate, the forget gate, the candidate and the output gate."""
    units = sums.shape[-1] // 4
    halves = np.repeat([0.5, 0.5, 1, 0.5], units).astype(sums.dtype)
    scale = jnp.expand_dims(halves, range(sums.ndim - 1))
    return jnp.split(jnp.tanh(sums * scale) * scale + (1 - scale), 4, -1)
