"""The time loop of an LSTM, with a kernel of its own for CPU.

Three primitives: the loop; its derivative along a direction, linear in that direction; and the transpose of the
derivative, the reverse loop. Each has a rule in plain JAX, which says what it computes, runs on every platform, and is
what derivatives of higher order are taken of. On CPU the loop and its transpose are native: XLA pays a dozen small
operations for each step, and gives a product of few rows one core.

The derivative takes what the weights' tangent adds to all sums from outside, as `recurrence` does: so the gradient of
the recurrent kernel is one product behind the reverse loop.

Measured on 2 cores (AVX-512, float32), 128 units over 80 steps of 32 rows: the loop takes 2.6 ms and its reverse 2.2.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.interpreters import ad

from kjax import native

from .primitive import together
from .products import tensordot
from .recurrent import Plan, recurrence
from .rows import make_row_primitive, pull_linear

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
    real = jnp.ones(plus.shape[:2], plus.dtype) if real is None else real.astype(plus.dtype)
    hs, _, _, *last = forward_p.bind(*together(plus, kernel, h, c, real), backwards=backwards)
    return hs, tuple(last)


# --- The rules in plain JAX ---


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
    h, c = _where(real, o * jnp.tanh(memory), h), _where(real, memory, c)
    return (h, c, jnp.concatenate([i, f, new, o], -1)), (h, c)


def tangent(
    kernel: Array, real: Array, gates: Array, cs: Array, first: Array, plus: Array, h: Array, c: Array, *,
    backwards: bool,
) -> list[Array]:  # fmt: skip
    """The tangents of all that `forward` gives, from those of the sums and of the first states (the last three)."""
    i, f, new, o = jnp.split(gates, GATES, -1)
    curves = jnp.tanh(cs)
    slopes = jnp.concatenate([i * (1 - i), f * (1 - f), 1 - new * new, o * (1 - o)], -1)
    factors = new, before(cs, first, backwards), i, curves, f, o * (1 - curves * curves)

    def body(states: Any, given: Any) -> Any:
        (h, c), (plus, slopes, (by_i, by_f, by_new, by_o, by_c, by_memory), real) = states, given
        along = (plus + h @ kernel) * slopes
        i, f, new, o = jnp.split(along, GATES, -1)
        memory = by_c * c + by_f * f + by_i * i + by_new * new
        h, c = _where(real, by_o * o + by_memory * memory, h), _where(real, memory, c)
        return (h, c), (h, c, along)

    last, (hs, all_c, along) = jax.lax.scan(body, (h, c), (plus, slopes, factors, real), reverse=backwards)
    return [hs, all_c, along, *last]


def reverse(
    kernel: Array, real: Array, gates: Array, cs: Array, first: Array, g_hs: Array, g_h: Array, g_c: Array, *,
    backwards: bool,
) -> list[Array]:  # fmt: skip
    """The gradients of the sums and of the first states, from those of all h (none: of length 0), the last h and c."""
    g_hs = g_hs if len(g_hs) else jnp.zeros_like(cs)

    def run(*along: Array) -> Any:
        hs, _, _, *last = tangent(kernel, real, gates, cs, first, *along, backwards=backwards)
        return hs, *last

    return list(jax.linear_transpose(run, gates, g_h, g_c)((g_hs, g_h, g_c)))


def before(states: Array, first: Array, backwards: bool) -> Array:
    """The state before each step."""
    return jnp.concatenate([states[1:], first[None]] if backwards else [first[None], states[:-1]])


def _where(real: Array, new: Array, old: Array) -> Array:
    return jnp.where(real[:, None] != 0, new, old)


# --- CPU ---


def forward_cpu(plus: Array, kernel: Array, h: Array, c: Array, real: Array, *, backwards: bool) -> Sequence[Array]:
    steps, batch, units = *plus.shape[:2], h.shape[1]
    shapes = [(steps, batch, units)] * 2 + [plus.shape, h.shape, h.shape, _packed(units)]
    sizes = [steps, batch, units, backwards]
    return native.call("lstm", shapes, sizes, plus, kernel, h, c, real)[:-1]


def reverse_cpu(
    kernel: Array, real: Array, gates: Array, cs: Array, first: Array, g_hs: Array, g_h: Array, g_c: Array, *,
    backwards: bool,
) -> Sequence[Array]:  # fmt: skip
    shapes = [gates.shape, g_h.shape, g_c.shape, _packed(g_h.shape[1])]
    sizes = [*cs.shape, backwards, len(g_hs) > 0]
    return native.call("lstm_reverse", shapes, sizes, kernel, real, gates, cs, first, g_hs, g_h, g_c)[:-1]


def _packed(units: int) -> tuple[int, ...]:
    """Room for the recurrent kernel in vectors of at most 16."""
    return (-(-units // 16) * 16, GATES * units)


# --- The primitives ---

forward_p = make_row_primitive("lstm", forward, forward_cpu, (1, None, 0, 0, 1), (1, 1, 1, 0, 0))
tangent_p = make_row_primitive("lstm_tangent", tangent, None, (None, 1, 1, 1, 0, 1, 0, 0), (1, 1, 1, 0, 0))
reverse_p = make_row_primitive("lstm_reverse", reverse, reverse_cpu, (None, 1, 1, 1, 0, 1, 0, 0), (1, 0, 0))


def _forward_jvp(primals: Any, tangents: Any, *, backwards: bool) -> Any:
    (_, kernel, h, c, real), (along, along_kernel, *along_states, _) = primals, map(ad.instantiate_zeros, tangents)
    out = hs, cs, gates, *_ = forward_p.bind(*primals, backwards=backwards)
    if type(tangents[1]) is not ad.Zero:
        along += tensordot(before(hs, h, backwards), along_kernel)
    return out, tangent_p.bind(kernel, real, gates, cs, c, along, *along_states, backwards=backwards)


def _tangent_transpose(cotangents: Any, *operands: Any, backwards: bool) -> Any:
    """The reverse loop, unless gradients come to what only derivatives of higher order see."""
    residuals, along = operands[:-3], operands[-3:]
    g_hs, *inner, g_h, g_c = cotangents
    if all(type(g) is ad.Zero for g in inner):
        none = type(g_hs) is ad.Zero
        g_hs = jnp.zeros((0, *g_hs.aval.shape[1:]), g_hs.aval.dtype) if none else g_hs
        found = reverse_p.bind(*residuals, g_hs, *map(ad.instantiate_zeros, (g_h, g_c)), backwards=backwards)
        found = [g if ad.is_undefined_primal(x) else None for g, x in zip(found, along, strict=True)]
    else:
        found = pull_linear(partial(tangent, *residuals, backwards=backwards), along, cotangents)
    return [None] * len(residuals) + found


def _reverse_transpose(cotangents: Any, *operands: Any, backwards: bool) -> Any:
    """The derivative again, through the plain rules."""
    residuals, along = operands[:-3], operands[-3:]
    run = partial(reverse, *residuals, backwards=backwards)
    return [None] * len(residuals) + pull_linear(run, along, cotangents)


ad.primitive_jvps[forward_p] = _forward_jvp
ad.primitive_transposes[tangent_p] = _tangent_transpose
ad.primitive_transposes[reverse_p] = _reverse_transpose
