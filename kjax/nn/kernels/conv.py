"""Convolution, channels last, whose forward and gradients are fast on CPU, in and out of loops.

    y[n, o, k] = sum over t, c of x[n, o * strides + t * dilation - padding, c] * kernel[t, c, k]

A convolution is three bilinear maps, each the transpose of the others: the output from (x, kernel), the
gradient of x from (g, kernel), and the gradient of the kernel from (x, g). Each is a primitive here, so
derivatives of every order and mode stay among the three. Each has two lowerings: XLA's own, and one for CPU; and on
one CPU, in float32, kernels in C where those are faster (`conv_native.py`).

Why CPU has its own: XLA's gradients permute the dimensions of their operands, and inside a loop its CPU
backend runs such a convolution 10 to 80 times slower than outside. Here the arrays are transposed instead.
All ratios in this file were measured on 2 cores, AVX-512, in float32.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from functools import wraps

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.interpreters import ad

from . import conv_native
from .primitive import Pairs, Rule, Steps, Window, make_primitive, together

Setting = int | Sequence[int]
Padding = str | Sequence[Sequence[int]]


def conv(x: Array, kernel: Array, strides: Setting = 1, padding: Padding = "valid", dilation: Setting = 1) -> Array:
    """Convolution over any number of spatial axes (the kernel is not flipped, as usual in deep learning).

    Args:
        x: `(batch, *spatial, channels)`.
        kernel: `(*taps, channels, filters)`, of the same dtype.
        strides: step of the window, one for all spatial axes or one for each.
        padding: `"valid"` (none), `"same"` (zeros around, so that `ceil(size / strides)` cells come out; an
            odd one goes to the end), `"causal"` (all zeros before, so that no cell sees a later one), or a pair
            `(before, after)` for each spatial axis.
        dilation: distance of neighbouring taps, one for all spatial axes or one for each.

    Returns:
        `(batch, *out, filters)`.

    Raises:
        ValueError: where shapes or settings disagree, or the kernel reaches beyond the padded input.
        TypeError: where the dtypes differ.

    >>> import jax.numpy as jnp
    >>> x, kernel = jnp.ones((8, 28, 28, 1)), jnp.ones((3, 3, 1, 32))
    >>> conv(x, kernel).shape, conv(x, kernel, strides=2, padding="same").shape
    ((8, 26, 26, 32), (8, 14, 14, 32))
    """
    check_operands("conv", x, kernel)
    window = make_window("conv", x.shape[1:-1], kernel.shape[:-2], strides, padding, dilation)
    return forward_p.bind(*together(x, kernel), window=window, members=False)


def check_operands(owner: str, x: Array, kernel: Array, order: str = "channels, filters") -> None:
    """Refuses operands that are no pair; `order` says what the kernel's last axes are."""
    if x.ndim < 3 or kernel.ndim != x.ndim or x.shape[-1] != kernel.shape[order.endswith("channels") - 2]:
        raise ValueError(
            f"{owner}: x is (batch, *spatial, channels) and kernel (*taps, {order}), with as many axes and "
            f"channels; got x {x.shape} and kernel {kernel.shape}"
        )
    if x.dtype != kernel.dtype:
        raise TypeError(f"{owner}: x is {x.dtype} and the kernel {kernel.dtype}; cast one of them with .astype")


def make_window(
    owner: str, size: Steps, taps: Setting, strides: Setting, padding: Padding, dilation: Setting = 1
) -> Window:
    """Checks the settings against each other, gives each axis its own, and turns the padding into pairs."""
    taps = per_axis(owner, "window", taps, len(size))
    strides = per_axis(owner, "strides", strides, len(size))
    dilation = per_axis(owner, "dilation", dilation, len(size))
    pairs = _pad_pairs(owner, size, taps, strides, padding, dilation)
    window = Window(tuple(size), taps, strides, pairs, dilation)
    if min(window.out) < 1:
        raise ValueError(f"{owner}: window {taps}, dilation {dilation}, exceeds {window.size}; try padding='same'")
    return window


def per_axis(owner: str, name: str, value: Setting, axes: int) -> Steps:
    """One positive integer for each axis."""
    values = tuple(value) if isinstance(value, Sequence) else (value,) * axes
    if len(values) != axes or min(values) < 1:
        raise ValueError(f"{owner}: {name} is one positive integer, or one for each of {axes} axes; got {value}")
    return values


def _pad_pairs(owner: str, size: Steps, taps: Steps, strides: Steps, padding: Padding, dilation: Steps) -> Pairs:
    if isinstance(padding, str) and padding.lower() in ("valid", "same"):
        extent = [(k - 1) * d + 1 for k, d in zip(taps, dilation, strict=True)]
        return tuple(lax.padtype_to_pads(size, extent, strides, padding.upper()))
    if isinstance(padding, str) and padding.lower() == "causal":
        return tuple(((k - 1) * d, 0) for k, d in zip(taps, dilation, strict=True))
    if isinstance(padding, str) or len(padding) != len(size) or any(len(pair) != 2 for pair in padding):
        raise ValueError(
            f"{owner}: padding is 'valid', 'same', 'causal' or {len(size)} pairs (before, after), not {padding}"
        )
    return tuple((before, after) for before, after in padding)


# --- XLA's own: what the three maps are, and how GPU and TPU run them ---


def forward(x: Array, kernel: Array, window: Window) -> Array:
    """The output."""
    return _ordered(x, kernel, window.strides, window.padding, (1,) * len(window.size), window.dilation)


def input_grad(g: Array, kernel: Array, window: Window, rule: Rule = forward) -> Array:
    """The gradient of x: the transpose of the map from x to the output."""
    x = jax.ShapeDtypeStruct((g.shape[0], *window.size, kernel.shape[-2]), g.dtype)
    return jax.linear_transpose(lambda x: rule(x, kernel, window), x)(g)[0]


def kernel_grad(x: Array, g: Array, window: Window, rule: Rule = forward) -> Array:
    """The gradient of the kernel: the transpose of the map from the kernel to the output."""
    kernel = jax.ShapeDtypeStruct((*window.taps, x.shape[-1], g.shape[-1]), g.dtype)
    return jax.linear_transpose(lambda kernel: rule(x, kernel, window), kernel)(g)[0]


def _ordered(x: Array, kernel: Array, strides: Steps, padding: Pairs, x_dilation: Steps, dilation: Steps) -> Array:
    """XLA's convolution with its dimensions in the order in which they lie in memory."""
    batch, *axes, features = range(x.ndim)
    order, kernel_order = (batch, features, *axes), (features, features - 1, *range(len(axes)))
    dimensions = lax.ConvDimensionNumbers(order, kernel_order, order)
    return lax.conv_general_dilated(x, kernel, strides, padding, x_dilation, dilation, dimensions)


# --- CPU ---


def forward_cpu(x: Array, kernel: Array, window: Window) -> Array:
    """The output: few channels leave a convolution little to sum over, so they are unrolled."""
    if math.prod(kernel.shape[:-1]) <= 32:
        return _shifted_sum(x, kernel, window)
    if x.shape[-1] <= 4 or math.prod(window.taps) == 1:
        return _patches_dot(x, kernel, window)
    if len(window.size) > 2:
        return _by_plane(x, kernel, window)
    return _eigen(stored(x), kernel, window.strides, window.padding, (1,) * len(window.size), window.dilation)


def input_grad_cpu(g: Array, kernel: Array, window: Window) -> Array:
    """The gradient of x: the flipped kernel convolved with the gradient, strided windows through patches or blocks."""
    if len(window.size) > 2:
        return input_grad(g, kernel, window, _by_plane)
    if kernel.shape[-2] <= 8 or math.prod(window.taps) == 1:
        return _fold_patches(g, kernel, window)
    if max(window.strides) > 1:
        blocks = max(window.dilation) == 1 and all(k >= s for k, s in zip(window.taps, window.strides, strict=True))
        return (_by_blocks if blocks else _fold_patches)(g, kernel, window)
    axes = range(len(window.size))
    flipped = lax.optimization_barrier(lax.rev(kernel, axes).swapaxes(-1, -2))
    padding = tuple(((k - 1) * d - a, (k - 1) * d - b) for _, k, _, (a, b), d in zip(*window, strict=True))
    ones = (1,) * len(axes)
    return _eigen(g, flipped, ones, padding, ones, window.dilation)


def kernel_grad_cpu(x: Array, g: Array, window: Window) -> Array:
    """The gradient of the kernel: x convolved with the gradient, the batch in the place of the channels."""
    if len(window.size) > 2:
        return kernel_grad(x, g, window, _by_plane)
    swap = (*range(1, g.ndim - 1), 0, g.ndim - 1)
    # The barriers keep XLA from folding the transposes into permuted dimensions, the slow ones in a loop.
    x, g = lax.optimization_barrier((stored(x).swapaxes(0, -1), g.transpose(swap)))
    axes = zip(*window, window.out, strict=True)
    padding = tuple((b, (k - 1) * d + (o - 1) * s + 1 - n - b) for n, k, s, (b, _), d, o in axes)
    return _eigen(x, g, window.dilation, padding, (1,) * len(window.size), window.strides).transpose(swap)


def _eigen(x: Array, kernel: Array, strides: Steps, padding: Pairs, x_dilation: Steps, dilation: Steps) -> Array:
    """The convolution with the last axis of both operands spread out by 2, and strides and padding doubled.

    The sums are the same, but XLA's CPU backend hands such a convolution to Eigen rather than to the library
    it prefers: 1.3 to 1.8 times faster from 32 channels on, 5 times at 26x26x32 to 64, batch 128. There is no
    gain over one axis; half precision is 1.4 times slower, float64 35 times. What that library refuses anyway stays
    as it is: 1.25 times faster at 32x32x16 to 16, 1.1 times where the output is larger than the input.
    """
    out = Window(x.shape[1:-1], kernel.shape[:-2], strides, padding, dilation).out
    refused = max(kernel.shape[-2:]) <= 16 or any(o > n for o, n in zip(out, x.shape[1:-1], strict=True))
    if x.ndim == 4 and x.dtype == jnp.float32 and not refused:
        rows, (before, after) = padding
        padding = (rows, (2 * before, 2 * after))
        strides, x_dilation, dilation = ((a, 2 * b) for a, b in (strides, x_dilation, dilation))
    return _ordered(x, kernel, strides, padding, x_dilation, dilation)


def stored(x: Array) -> Array:
    """x, written to memory once where XLA's CPU backend would compute it again for every consumer.

    Its fusion repeats what has one large operand; a selection has two. Where that costs most is the transpose before
    a kernel's gradient, 4.5 ms against 0.5 for a batch norm and relu of 32x32x16, batch 32: a training step of
    ResNet-20 is 1.2 times faster, one of a CNN with 3 channels in front 1.16 times, and none was slower. A barrier
    does not stop fusion; NaN stays what it is.
    """
    return jnp.where(x == x, x, jnp.asarray(jnp.nan, x.dtype))


def _in_float32(rule: Rule) -> Rule:
    """The rule for half precision too: what is summed up term by term would be rounded each time."""

    @wraps(rule)
    def run(a: Array, b: Array, window: Window) -> Array:
        wide = jnp.float32 if jnp.finfo(a.dtype).bits < 32 else a.dtype
        return rule(a.astype(wide), b.astype(wide), window).astype(a.dtype)

    return run


def taps(x: Array, window: Window) -> Iterator[Array]:
    """For each tap of the window, the cells of x it meets: `(batch, *out, …)`; later axes are left alone."""
    rest = x.ndim - 1 - len(window.size)
    edges = ((0, 0), *window.padding, *[(0, 0)] * rest)
    x = lax.pad(x, jnp.zeros((), x.dtype), [(before, after, 0) for before, after in edges])
    for tap in itertools.product(*map(range, window.taps)):
        start = [t * d for t, d in zip(tap, window.dilation, strict=True)]
        stop = [a + (o - 1) * s + 1 for a, o, s in zip(start, window.out, window.strides, strict=True)]
        limits = (x.shape[0], *stop, *x.shape[x.ndim - rest :])
        yield lax.slice(x, (0, *start, *[0] * rest), limits, (1, *window.strides, *[1] * rest))


@_in_float32
def _shifted_sum(x: Array, kernel: Array, window: Window) -> Array:
    """One fused loop of multiply-adds: 1.2 to 6 times faster than any convolution, up to 32 products."""
    weights = iter(kernel.reshape(-1, *[1] * (x.ndim - 1), kernel.shape[-1]))
    channels = (tap[..., c : c + 1] for tap in taps(x, window) for c in range(x.shape[-1]))
    return sum(channel * next(weights) for channel in channels)


@_in_float32
def _patches_dot(x: Array, kernel: Array, window: Window) -> Array:
    """The kernel as a matrix times what it meets: 1.6 to 3.5 times faster than Eigen, up to 4 channels."""
    patches = lax.optimization_barrier(jnp.concatenate(list(taps(x, window)), -1))
    return patches @ kernel.reshape(-1, kernel.shape[-1])


@_in_float32
def _fold_patches(g: Array, kernel: Array, window: Window) -> Array:
    """The transpose of `_patches_dot`: what each tap sends back, added up where it came from.

    1.5 to 13 times faster than a convolution, up to 8 channels or with strides. JAX's own transpose adds
    padded arrays and crops the sum: 3 times slower in a loop.
    """
    matrix = lax.optimization_barrier(kernel.reshape(-1, kernel.shape[-1]).T)
    patches = lax.optimization_barrier((g @ matrix).reshape(*g.shape[:-1], -1, kernel.shape[-2]))
    x = jnp.zeros((g.shape[0], *window.size, kernel.shape[-2]), g.dtype)
    for i, tap in enumerate(itertools.product(*map(range, window.taps))):
        axes = zip(tap, *window, window.out, strict=True)
        edges = [(t * d - b, n + b - t * d - (o - 1) * s - 1, s - 1) for t, n, _, s, (b, _), d, o in axes]
        x += lax.pad(patches[..., i, :], jnp.zeros((), g.dtype), [(0, 0, 0), *edges, (0, 0, 0)])
    return x


def _by_blocks(g: Array, kernel: Array, window: Window) -> Array:
    """One convolution that gives, for each cell of g, the block of `strides` cells of x that starts there.

    Up to 6 times faster than `_fold_patches` in a loop: 1.8 times for 3x3 and 3.6 for 4x4, both in strides of 2 to
    32 channels, about even for 5x5 (the best of 5 to 7 runs each of 8 shapes).
    """
    rank, strides = len(window.size), window.strides
    blocks = [-(-k // s) for k, s in zip(window.taps, strides, strict=True)]
    rest = [(0, b * s - k, 0) for b, s, k in zip(blocks, strides, window.taps, strict=True)]
    taps = lax.pad(kernel, jnp.zeros((), g.dtype), [*rest, (0, 0, 0), (0, 0, 0)])
    taps = taps.reshape(*(n for pair in zip(blocks, strides, strict=True) for n in pair), *kernel.shape[-2:])
    # (*blocks, filters, *strides, channels): the filters of y are the channels of x, once for each cell of a block.
    taps = taps.transpose(*range(0, 2 * rank, 2), -1, *range(1, 2 * rank, 2), -2)
    taps = lax.optimization_barrier(lax.rev(taps.reshape(*blocks, g.shape[-1], -1), range(rank)))
    y = conv(g, taps, padding=[(b - 1, b - 1) for b in blocks])
    y = y.reshape(*y.shape[:-1], *strides, -1)
    y = y.transpose(0, *(axis for a in range(1, rank + 1) for axis in (a, a + rank)), -1)
    y = y.reshape(y.shape[0], *(y.shape[a] * y.shape[a + 1] for a in range(1, 2 * rank, 2)), -1)
    edges = [(-b, n + b - m, 0) for n, (b, _), m in zip(window.size, window.padding, y.shape[1:-1], strict=True)]
    return lax.pad(y, jnp.zeros((), g.dtype), [(0, 0, 0), *edges, (0, 0, 0)])


@_in_float32
def _by_plane(x: Array, kernel: Array, window: Window) -> Array:
    """A sum of 2-D convolutions, one for each tap of the first axis: 2.6 to 7 times faster than a 3-D one."""
    first, others = Window(*(field[:1] for field in window)), Window(*(field[1:] for field in window))  # type: ignore[arg-type]
    planes = (tap.reshape(-1, *tap.shape[2:]) for tap in taps(x, first))
    y = sum(forward_p.bind(*pair, window=others, members=False) for pair in zip(planes, kernel, strict=True))
    return y.reshape(-1, *first.out, *y.shape[1:])


# --- The primitives ---

forward_p = make_primitive("conv", forward, forward_cpu, (0, 0), (-1, -1), conv_native.FORWARD)
input_grad_p = make_primitive("conv_input_grad", input_grad, input_grad_cpu, (0, 0), (-2, -1), conv_native.INPUT_GRAD)
kernel_grad_p = make_primitive(
    "conv_kernel_grad", kernel_grad, kernel_grad_cpu, (-1, -2), (-1, -1), conv_native.KERNEL_GRAD
)

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
