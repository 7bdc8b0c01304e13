"""The time loop of an LSTM, with a kernel of its own for CPU.

Measured on 2 cores (AVX-512, float32), 128 units over 80 steps of 32 rows: the loop takes 2.6 ms and its reverse 2.2.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from .loops import Rules, add_product, before, hold, make_loop, run_loop
from .recurrent import Plan, recurrence

GATES = 4


def lstm(plus: Array, kernel: Array, h: Array, c: Array, real: Array | None, backwards: bool) -> Any:
    """`(hs, (h, c))`: the outputs of all steps, and the last states; derivatives of any order and mode.

        i, f, new, o = split(plus[t] + h @ kernel)
        c = sigmoid(f) * c + sigmoid(i) * tanh(new)
        h = sigmoid(o) * tanh(c)

    Args:
        plus: `(time, batch, 4 * units)`, the inputs' part of the sums.
        kernel: `(units, 4 * units)`.
        h, c: `(batch, units)`, what the first step starts from.
        real: `(time, batch)`, False where a step leaves the states of an example as they are; None for nowhere.
        backwards: whether the last step comes first.

    >>> ones = jnp.ones((2, 3))
    >>> hs, (h, c) = lstm(jnp.ones((5, 2, 12)), jnp.ones((3, 12)), ones, ones, None, False)
    >>> hs.shape, h.shape, c.shape
    ((5, 2, 3), (2, 3), (2, 3))
    """
    return run_loop(LOOP, plus, (kernel,), (h, c), real, backwards)


def forward(plus: Array, kernel: Array, h: Array, c: Array, real: Array, *, backwards: bool) -> list[Array]:
    """All h, all c and all gates, then the last h and c."""
    plan = Plan(_step, jnp.matmul, backwards, False)
    (hs, cs, gates), last = recurrence(plan, (kernel,), ((plus,), ()), (h, c), (), real)
    return [hs, cs, gates, *last]


def _step(sums: Any, others: Any, states: Any, fixed: Any, real: Array) -> Any:
    h, c = states
    i, f, new, o = jnp.split(sums[0](h), GATES, -1)
    i, f, new, o = jax.nn.sigmoid(i), jax.nn.sigmoid(f), jnp.tanh(new), jax.nn.sigmoid(o)
    memory = f * c + i * new
    h, c = hold(real, o * jnp.tanh(memory), h), hold(real, memory, c)
    return (h, c, jnp.concatenate([i, f, new, o], -1)), (h, c)


def tangent(
    kernel: Array, real: Array, hs: Array, cs: Array, gates: Array, first_h: Array, first_c: Array,
    plus: Array, h: Array, c: Array, *, backwards: bool,
) -> list[Array]:  # fmt: skip
    """The tangents of all that `forward` gives, from those of the sums and of the first states (the last three)."""
    i, f, new, o = jnp.split(gates, GATES, -1)
    curves = jnp.tanh(cs)
    slopes = jnp.concatenate([i * (1 - i), f * (1 - f), 1 - new * new, o * (1 - o)], -1)
    factors = new, before(cs, first_c, backwards), i, curves, f, o * (1 - curves * curves)

    def body(states: Any, given: Any) -> Any:
        (h, c), (plus, slopes, (by_i, by_f, by_new, by_o, by_c, by_memory), real) = states, given
        along = (plus + h @ kernel) * slopes
        i, f, new, o = jnp.split(along, GATES, -1)
        memory = by_c * c + by_f * f + by_i * i + by_new * new
        h, c = hold(real, by_o * o + by_memory * memory, h), hold(real, memory, c)
        return (h, c), (h, c, along)

    last, steps = jax.lax.scan(body, (h, c), (plus, slopes, factors, real), reverse=backwards)
    return [*steps, *last]


def along(plus: Array, weights: Any, operands: Any, kept: Any, backwards: bool) -> Sequence[Array]:
    """The tangent of all sums."""
    return (add_product(plus, before(kept[0], operands[2], backwards), weights[0]),)


LOOP = make_loop(Rules("lstm", forward, tangent, along, GATES, weights=1, states=2, kept=(1, 1, 4), sums=(4,)))
