"""Convolution's three maps by the kernels in `kjax/native/conv.c` and `conv_kernel_grad.c`, on one CPU in float32.

What the kernels need to know is worked out here, from static shapes: how the work falls into tasks, and which taps
each pixel meets. One axis of space is taken for two, the first of size 1.
"""

import itertools
import math
from typing import NamedTuple

from jax import Array

from ... import native
from .primitive import Native, Steps, Window

ROOM, G_ROOM = 40960, 16384
"""Floats that a task has for its part of x, and of g, as in conv.h and conv_kernel_grad.c."""
PIXELS = 384
"""In one pass of a kernel's gradient: 1.1 to 1.2 times faster than 128, as fast as 600."""
TASKS = 32
"""So many at least, where there is work for them: a fixed number, for results must not depend on the machine."""


class Phase(NamedTuple):
    """Every so many pixels of a result's axis, from the first on, and the taps they meet.

    A tap is a pair: how far from its pixel it meets the operand, and its number in the kernel.
    """

    first: int
    pixels: int
    taps: list[tuple[int, int]]


class Axis(NamedTuple):
    """How the pixels of an operand and a result meet on an axis.

    From a phase's pixel to the next, the operand moves on by `stride` and the result by `step`.
    """

    size: int
    out: int
    taps: int
    stride: int
    step: int
    phases: list[Phase]

    @property
    def longest(self) -> int:
        return max(phase.pixels for phase in self.phases)

    @property
    def offsets(self) -> list[int]:
        return [offset for phase in self.phases for offset, _ in phase.taps] or [0]

    def span(self, pixels: int) -> int:
        """How much of the operand so many pixels of each phase meet."""
        return max(self.offsets) - min(self.offsets) + (pixels - 1) * self.stride + 1


def takes_forward(x: Steps, kernel: Steps, window: Window) -> bool:
    """Up to 16 products, a sum that XLA fuses with what comes after it is faster.

    Not so for one tap of 16 channels: 32x32x16 to 32, 1x1, takes 0.58 of the sum's time in strides of 2, 0.78 without
    (0.36 and 0.27 of XLA's own; medians of 5 rounds).
    """
    several = math.prod(kernel[:-1]) > 16 or kernel[-2] == 16
    return several and _fits(x, kernel, window) and min(_band(_forward_axes(window), x)) > 0


def takes_input_grad(g: Steps, kernel: Steps, window: Window) -> bool:
    """For up to 4 channels, most of a vector would be idle: patches are 1.3 to 2 times faster."""
    return kernel[-2] > 4 and _fits(g, kernel, window) and min(_band(_input_grad_axes(window), g)) > 0


def takes_kernel_grad(x: Steps, g: Steps, window: Window) -> bool:
    return _fits(x, g, window) and min(_grad_band(x, _plane(window))) > 0


def takes_relu_grad(x: Steps, g: Steps, window: Window) -> bool:
    return g[-1] % 16 == 0 and takes_kernel_grad(x, g, window)


def forward(x: Array, kernel: Array, window: Window) -> Array:
    """The output."""
    return _conv(x, kernel, _forward_axes(window), (x.shape[0], *window.out, kernel.shape[-1]))


def forward_relu(x: Array, kernel: Array, bias: Array, window: Window) -> Array:
    """The output plus the bias, and where that is negative 0."""
    shape = (x.shape[0], *window.out, kernel.shape[-1])
    sizes = _sizes(_forward_axes(window), x.shape, shape, swapped=False)
    results = [shape, _packed(x, kernel, shape), (_whole(shape[-1]),)]
    return native.call("conv_relu", results, sizes, x, kernel, bias)[0]


def input_grad(g: Array, kernel: Array, window: Window) -> Array:
    """The gradient of x."""
    return _conv(g, kernel, _input_grad_axes(window), (g.shape[0], *window.size, kernel.shape[-2]), swapped=True)


def kernel_grad(x: Array, g: Array, window: Window) -> Array:
    """The gradient of the kernel."""
    kernel = (*window.taps, x.shape[-1], g.shape[-1])
    return native.call("conv_kernel_grad", [kernel, _sums(x, g, window)], _grad_sizes(x, g, window), x, g)[0]


def kernel_grad_relu(x: Array, g: Array, y: Array, window: Window) -> tuple[Array, Array]:
    """The gradients of kernel and bias by that g which met a positive y."""
    results = [(*window.taps, x.shape[-1], g.shape[-1]), g.shape[-1:], _sums(x, g, window, rows=1)]
    kernel, bias, _ = native.call("conv_relu_grad", results, _grad_sizes(x, g, window), x, g, y)
    return kernel, bias


# --- The output and the gradient of x ---


def _conv(x: Array, kernel: Array, axes: list[Axis], shape: Steps, swapped: bool = False) -> Array:
    sizes = _sizes(axes, x.shape, shape, swapped)
    return native.call("conv", [shape, _packed(x, kernel, shape)], sizes, x, kernel)[0]


def _packed(x: Array, kernel: Array, shape: Steps) -> Steps:
    return (math.prod(kernel.shape[:-2]) * x.shape[-1] * _whole(shape[-1]),)


def _forward_axes(window: Window) -> list[Axis]:
    axes = zip(*_plane(window), _plane(window).out, strict=True)
    return [
        Axis(n, o, k, s, 1, [Phase(0, o, [(t * d - before, t) for t in range(k)])])
        for n, k, s, (before, _), d, o in axes
    ]


def _input_grad_axes(window: Window) -> list[Axis]:
    """A pixel of x meets the pixels of g whose window it was in; by which taps depends on its place in a stride."""
    axes = zip(*_plane(window), _plane(window).out, strict=True)
    return [
        Axis(o, n, k, 1, s, [Phase(p, -(-(n - p) // s), _back(p + before, k, s, d)) for p in range(min(s, n))])
        for n, k, s, (before, _), d, o in axes
    ]


def _back(place: int, taps: int, stride: int, dilation: int) -> list[tuple[int, int]]:
    places = [place - t * dilation for t in range(taps)]
    return sorted((at // stride, t) for t, at in enumerate(places) if at % stride == 0)


def _sizes(axes: list[Axis], x: Steps, y: Steps, swapped: bool) -> list[int]:
    """As `Sizes` and `Phase` of conv.c have them."""
    rows, columns = axes
    phases = list(itertools.product(rows.phases, columns.phases))
    images = [x[0], rows.size, columns.size, x[-1], y[0], rows.out, columns.out, y[-1]]
    steps = [rows.stride, columns.stride, rows.step, columns.step]
    first = [min(rows.offsets), min(columns.offsets), rows.span(1), columns.span(1)]
    size = [rows.longest, columns.longest, *_band(axes, x)]
    taps = sum(len(row.taps) * len(column.taps) for row, column in phases)
    lists = [number for pair in phases for number in _phase(*pair, columns.taps)]
    return [*images, swapped, *steps, *first, *size, taps, len(phases), *lists]


def _phase(row: Phase, column: Phase, across: int) -> list[int]:
    """Taps of a row that meet neighbouring pixels, which are neighbours in memory too, make one run."""
    first = min(column.taps, default=(0, 0))[0]
    near = bool(column.taps) and [offset - first for offset, _ in column.taps] == list(range(len(column.taps)))
    groups = [column.taps] if near else [[tap] for tap in column.taps]
    runs = [[offset, group[0][0], *(t * across + u for _, u in group)] for offset, t in row.taps for group in groups]
    head = [row.first, column.first, row.pixels, column.pixels, len(runs), len(groups[0]) if groups else 1]
    return [*head, *itertools.chain(*runs)]


def _band(axes: list[Axis], x: Steps) -> tuple[int, int]:
    """Rows and columns of a phase that one task computes; 0 where not one has room."""
    rows, columns = axes
    few = min(4, rows.longest)
    across = _even(columns.longest, _pixels(columns, ROOM // (rows.span(few) * x[-1])))
    if not across:
        return 0, 0
    down = _pixels(rows, ROOM // (columns.span(across) * x[-1]))
    return min(down, max(few, _fair(rows.longest, x[0])), rows.longest), across


def _pixels(axis: Axis, room: int) -> int:
    """So many pixels of each phase meet no more of the operand than there is room for."""
    return max(0, (room - axis.span(1)) // axis.stride + 1)


def _even(whole: int, most: int) -> int:
    """The size of pieces of a whole, as even as can be."""
    return -(-whole // -(-whole // most)) if most else 0


def _fair(rows: int, images: int) -> int:
    """Rows of a task, so that there are enough tasks."""
    return -(-rows // -(-TASKS // images))


# --- The gradient of the kernel ---


def _groups(x: Steps, g: Steps) -> int:
    """Each has sums of its own: enough for tasks, together with the blocks of features, but no more."""
    return min(x[0], max(1, TASKS // 2 // -(-g[-1] // 32)))


def _grad_band(x: Steps, plane: Window) -> tuple[int, int]:
    """Rows and columns of g for one pass: so many pixels that beginning and ending it cost little."""
    rows, columns = _forward_axes(plane)
    few = min(4, rows.longest)
    across = min(G_ROOM // 32 // few, _pixels(columns, ROOM // (rows.span(few) * x[-1])))
    across = _even(columns.longest, across)
    if not across:
        return 0, 0
    down = min(_pixels(rows, ROOM // (columns.span(across) * x[-1])), G_ROOM // 32 // across)
    return min(down, -(-PIXELS // across), rows.longest), across


def _sums(x: Array, g: Array, window: Window, rows: int = 0) -> Steps:
    """Of each group, for each tap and channel, and so many rows more."""
    depth = math.prod(window.taps) * x.shape[-1] + rows
    return (_groups(x.shape, g.shape) * depth * _whole(g.shape[-1]),)


def _grad_sizes(x: Array, g: Array, window: Window) -> list[int]:
    plane = _plane(window)
    images = [x.shape[0], *plane.size, x.shape[-1], g.shape[0], *plane.out, g.shape[-1]]
    steps = [*plane.taps, *plane.strides, *plane.dilation, *(before for before, _ in plane.padding)]
    return [*images, *steps, _groups(x.shape, g.shape), *_grad_band(x.shape, plane)]


# --- Both ---


def _plane(window: Window) -> Window:
    """The window in two axes."""
    if len(window.size) == 2:
        return window
    return Window(
        (1, *window.size), (1, *window.taps), (1, *window.strides), ((0, 0), *window.padding), (1, *window.dilation)
    )


def _fits(a: Steps, b: Steps, window: Window) -> bool:
    least, many = min(*a, *b, *window.size), max(math.prod(window.taps), math.prod(window.strides))
    return len(window.size) <= 2 and least > 0 and many <= 1024  # of taps or phases, which are listed one by one


def _whole(features: int) -> int:
    """Features in whole vectors, of whatever size they are; 16 is the largest."""
    return -(-features // 16) * 16


FORWARD = Native(forward, takes_forward)
INPUT_GRAD = Native(input_grad, takes_input_grad)
KERNEL_GRAD = Native(kernel_grad, takes_kernel_grad)
