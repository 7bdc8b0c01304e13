"""Convolution, channels last, whose forward and gradients are fast on CPU, in and out of loops.

    y[n, o, k] = sum_{t, c} x[n, o * strides + t * dilation - padding, c] * kernel[t, c, k]

One convolution is three bilinear maps, each the transpose of the others: the output from (x, kernel), the input's
gradient from (g, kernel), and the kernel's gradient from (x, g). Each is a primitive here, so derivatives of any order
and mode stay among the three, and each has two lowerings: XLA's own convolution, and one for CPU.

Why CPU needs its own: XLA's gradients permute the dimensions of their operands, which its CPU backend runs 40 times
slower inside a loop. The lowerings here transpose the arrays instead, and keep the dimensions in order.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax
from jax import Array, lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jax.typing import ArrayLike

Pairs = tuple[tuple[int, int], ...]


class Window(NamedTuple):
    """The static half of a convolution; one entry for each spatial axis."""

    size: tuple[int, ...]
    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    padding: Pairs
    dilation: tuple[int, ...]


def conv(
    x: Array,
    kernel: Array,
    strides: Sequence[int] = (1, 1),
    padding: str | Sequence[tuple[int, int]] = "valid",
    dilation: Sequence[int] = (1, 1),
) -> Array:
    """Convolution (cross-correlation, as everywhere in deep learning) over any number of spatial axes.

    Args:
        x: `(batch, *spatial, channels)`.
        kernel: `(*window, channels, filters)`, of the same dtype.
        strides: step of the window along each spatial axis.
        padding: `"valid"` (none), `"same"` (zeros, so that the output has `ceil(size / strides)` cells, the odd one at
            the end), or pairs `(before, after)`, one for each spatial axis.
        dilation: distance between the kernel's taps along each spatial axis.

    Returns:
        `(batch, *out, filters)`.

    Raises:
        ValueError: where ranks, channels or the lengths of the settings disagree, or the window exceeds the input.
        TypeError: where the dtypes differ.

    >>> import jax.numpy as jnp
    >>> x, kernel = jnp.ones((8, 28, 28, 1)), jnp.ones((3, 3, 1, 32))
    >>> conv(x, kernel).shape, conv(x, kernel, strides=(2, 2), padding="same").shape
    ((8, 26, 26, 32), (8, 14, 14, 32))
    """
    return forward_p.bind(x, kernel, window=make_window(x, kernel, strides, padding, dilation), members=False)


def make_window(x: Array, kernel: Array, strides: Sequence[int], padding, dilation: Sequence[int]) -> Window:
    """Checks the operands against each other and resolves the padding."""
    rank = x.ndim - 2
    if rank < 1 or kernel.ndim != x.ndim:
        raise ValueError(f"conv: x (batch, *spatial, channels) and kernel (*window, in, out) need equal ranks of at "
                         f"least 3; got shapes {x.shape} and {kernel.shape}")
    if x.shape[-1] != kernel.shape[-2]:
        raise ValueError(f"conv: x has {x.shape[-1]} channels, the kernel expects {kernel.shape[-2]}; "
                         f"got shapes {x.shape} and {kernel.shape}")
    if x.dtype != kernel.dtype:
        raise TypeError(f"conv: x is {x.dtype}, the kernel {kernel.dtype}; cast one of them with .astype")
    size, taps = x.shape[1:-1], kernel.shape[:-2]
    return Window(size, taps, tuple(strides), resolve_padding(size, taps, strides, padding, dilation), tuple(dilation))


def resolve_padding(size, taps, strides, padding, dilation) -> Pairs:
    """The padding as pairs, as TensorFlow and XLA define "same" and "valid"."""
    extent = tuple((k - 1) * d + 1 for k, d in zip(taps, dilation))
    if isinstance(padding, str):
        padding = lax.padtype_to_pads(size, extent, strides, padding.upper())
    return tuple((int(before), int(after)) for before, after in padding)


def out_size(window: Window) -> tuple[int, ...]:
    return tuple((n + sum(p) - (k - 1) * d - 1) // s + 1 for n, k, s, p, d in zip(*window))


# --- XLA's own: the definition of the three maps, and their lowering on GPU and TPU --------------------------------


def _channels_last(rank: int) -> tuple[str, str, str]:
    axes = "DHW"[-rank:]
    return f"N{axes}C", f"{axes}IO", f"N{axes}C"


def forward(x: Array, kernel: Array, window: Window) -> Array:
    return lax.conv_general_dilated(
        x, kernel, window.strides, window.padding, rhs_dilation=window.dilation,
        dimension_numbers=_channels_last(len(window.size)),
    )


def input_grad(g: Array, kernel: Array, window: Window) -> Array:
    x = jax.ShapeDtypeStruct((g.shape[0], *window.size, kernel.shape[-2]), g.dtype)
    return jax.linear_transpose(lambda x: forward(x, kernel, window), x)(g)[0]


def kernel_grad(x: Array, g: Array, window: Window) -> Array:
    kernel = jax.ShapeDtypeStruct((*window.kernel, x.shape[-1], g.shape[-1]), g.dtype)
    return jax.linear_transpose(lambda kernel: forward(x, kernel, window), kernel)(g)[0]


# --- CPU -----------------------------------------------------------------------------------------------------------


def _eigen(x: Array, kernel: Array, strides, padding, lhs_dilation, rhs_dilation) -> Array:
    def double(pair):
        return (*pair[:-1], 2 * pair[-1])

    padding = (*padding[:-1], tuple(2 * p for p in padding[-1]))
    return lax.conv_general_dilated(
        x, kernel, double(strides), padding, double(lhs_dilation), double(rhs_dilation),
        dimension_numbers=_channels_last(len(strides)),
    )


def forward_cpu(x: Array, kernel: Array, window: Window) -> Array:
    return _eigen(x, kernel, window.strides, window.padding, (1,) * len(window.size), window.dilation)


def input_grad_cpu(g: Array, kernel: Array, window: Window) -> Array:
    """The gradient, spread out by the strides, convolved with the flipped kernel."""
    rank = len(window.size)
    flipped = lax.optimization_barrier(lax.rev(kernel, range(rank)).swapaxes(-1, -2))
    padding = []
    for n, k, s, (before, _), d, out in zip(*window, out_size(window)):
        reach = (k - 1) * d
        padding.append((reach - before, n + before - (out - 1) * s - 1))
    return _eigen(g, flipped, (1,) * rank, padding, window.strides, window.dilation)


def kernel_grad_cpu(x: Array, g: Array, window: Window) -> Array:
    """The input convolved with the gradient, the batch as the channels that are summed over."""
    rank = len(window.size)
    x = lax.optimization_barrier(x.swapaxes(0, -1))
    g = lax.optimization_barrier(lax.transpose(g, (*range(1, rank + 1), 0, rank + 1)))
    padding = []
    for n, k, s, (before, _), d, out in zip(*window, out_size(window)):
        padding.append((before, (k - 1) * d + (out - 1) * s + 1 - n - before))
    grad = _eigen(x, g, window.dilation, padding, (1,) * rank, window.strides)
    return lax.transpose(grad, (*range(1, rank + 1), 0, rank + 1))


# --- The primitives ------------------------------------------------------------------------------------------------


def over_members(rule: Callable, cpu: bool) -> Callable:
    """The rule for one pair of operands, or for as many as there are ensemble members."""

    def run(a: Array, b: Array, *, window: Window, members: bool) -> Array:
        if not members:
            return rule(a, b, window)
        if cpu:
            return lax.map(lambda pair: rule(*pair, window), (a, b))
        return jax.vmap(partial(rule, window=window))(a, b)

    return run


def fold(x: Array, source: int, axis: int) -> Array:
    """Merges a vmapped axis into another one, which is counted without it."""
    axis %= x.ndim - 1
    x = jax.numpy.moveaxis(x, source, axis)
    return x.reshape(*x.shape[:axis], -1, *x.shape[axis + 2 :])


def unfold(x: Array, size: int, axis: int) -> tuple[Array, int]:
    """Undoes `fold` on the result; returns the place of the vmapped axis too."""
    axis %= x.ndim
    return x.reshape(*x.shape[:axis], size, -1, *x.shape[axis + 1 :]), axis


def make_primitive(name: str, reference: Callable, cpu: Callable, lhs_axes, rhs_axes) -> Primitive:
    """A bilinear primitive.

    `lhs_axes` are the axes of the left operand and of the result that absorb the vmapped axis of a left operand vmapped alone
    (the batch, say); `rhs_axes` the same for the right operand.
    """
    primitive = Primitive(name)
    anywhere, on_cpu = over_members(reference, cpu=False), over_members(cpu, cpu=True)

    @partial(jax.jit, static_argnames=("window", "members"))
    def compiled(a, b, window, members):
        return primitive.bind(a, b, window=window, members=members)

    @primitive.def_impl
    def eager(a, b, **static):
        with jax.disable_jit(False):
            return compiled(a, b, **static)

    @primitive.def_abstract_eval
    def shape(a, b, **static):
        return jax.make_jaxpr(partial(anywhere, **static))(a, b).out_avals[0]

    def batch(operands, axes, *, window, members):
        (a, b), (i, j) = operands, axes
        if i is not None and j is not None:
            a, b = fold(a, i, 0) if members else jax.numpy.moveaxis(a, i, 0), fold(b, j, 0) if members else jax.numpy.moveaxis(b, j, 0)
            out = primitive.bind(a, b, window=window, members=True)
            return unfold(out, operands[0].shape[i], 0) if members else (out, 0)
        mine, result = lhs_axes if j is None else rhs_axes
        if members and mine == 0:
            mine = result = 1
        size = a.shape[i] if j is None else b.shape[j]
        a, b = (fold(a, i, mine), b) if j is None else (a, fold(b, j, mine))
        return unfold(primitive.bind(a, b, window=window, members=members), size, result)

    batching.primitive_batchers[primitive] = batch
    mlir.register_lowering(primitive, mlir.lower_fun(anywhere, multiple_results=False))
    mlir.register_lowering(primitive, mlir.lower_fun(on_cpu, multiple_results=False), platform="cpu")
    return primitive


forward_p = make_primitive("conv", forward, forward_cpu, (0, 0), (-1, -1))
input_grad_p = make_primitive("conv_input_grad", input_grad, input_grad_cpu, (0, 0), (-2, -1))
kernel_grad_p = make_primitive("conv_kernel_grad", kernel_grad, kernel_grad_cpu, (-1, -2), (-1, -1))

ad.defbilinear(
    forward_p,
    lambda g, x, kernel, **static: input_grad_p.bind(g, kernel, **static),
    lambda g, x, kernel, **static: kernel_grad_p.bind(x, g, **static),
)
ad.defbilinear(
    input_grad_p,
    lambda x, g, kernel, **static: forward_p.bind(x, kernel, **static),
    lambda x, g, kernel, **static: kernel_grad_p.bind(x, g, **static),
)
ad.defbilinear(
    kernel_grad_p,
    lambda kernel, x, g, **static: input_grad_p.bind(g, kernel, **static),
    lambda kernel, x, g, **static: forward_p.bind(x, kernel, **static),
)
