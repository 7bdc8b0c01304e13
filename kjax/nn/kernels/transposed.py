"""Transposed convolution: the map that carries an output's gradient back to the input, used forward.

So it is one of the three maps of `kjax.nn.kernels.conv`, and its gradients are the two others.
"""

from collections.abc import Sequence

from jax import Array

from .conv import Setting, Steps, Window, check_operands, input_grad_p, per_axis
from .primitive import together

OWNER = "conv_transpose"


def conv_transpose(
    x: Array,
    kernel: Array,
    strides: Setting = 1,
    padding: str = "valid",
    output_padding: Setting | None = None,
    dilation: Setting = 1,
) -> Array:
    """Transposed convolution over any number of spatial axes: each cell is spread over a window of the output.

        y[n, i * strides + t * dilation - before, k] = sum over i, t, c of x[n, i, c] * kernel[t, k, c]

    Args:
        x: `(batch, *spatial, channels)`.
        kernel: `(*taps, filters, channels)`, of the same dtype: filters before channels.
        strides: distance of the windows of neighbouring cells.
        padding: "valid" keeps all that is reached, "same" cuts both ends off, so that `size * strides` cells stay.
        output_padding: cells to add behind, less than `strides`; None for as many as "valid" or "same" say.
        dilation: distance of neighbouring taps.

    Returns:
        `(batch, *out, filters)`, where `out` is what `transposed_window` says.

    Raises:
        ValueError: where shapes or settings disagree.
        TypeError: where the dtypes differ.

    >>> import jax.numpy as jnp
    >>> conv_transpose(jnp.ones((8, 7, 7, 64)), jnp.ones((3, 3, 32, 64)), 2, "same").shape
    (8, 14, 14, 32)
    """
    check_operands(OWNER, x, kernel, "filters, channels")
    window = transposed_window(x.shape[1:-1], kernel.shape[:-2], strides, padding, output_padding, dilation)
    return input_grad_p.bind(*together(x, kernel), window=window, members=False)


def transposed_window(
    size: Steps, taps: Steps, strides: Setting, padding: str, output_padding: Setting | None, dilation: Setting
) -> Window:
    """The window of the convolution whose transpose is wanted: it takes the output to something of `size`."""
    axes = len(size)
    strides, dilation = per_axis(OWNER, "strides", strides, axes), per_axis(OWNER, "dilation", dilation, axes)
    extra = tuple(output_padding) if isinstance(output_padding, Sequence) else (output_padding,) * axes
    if padding.lower() not in ("valid", "same"):
        raise ValueError(f"{OWNER}: padding is 'valid' or 'same'; got {padding!r}")
    if len(extra) != axes or any(e is not None and not 0 <= e < s for e, s in zip(extra, strides, strict=True)):
        raise ValueError(f"{OWNER}: output_padding is from 0 on and below strides={strides}; got {output_padding}")
    extent = tuple((k - 1) * d + 1 for k, d in zip(taps, dilation, strict=True))
    kept = [_kept(padding.lower() == "same", *axis) for axis in zip(extent, strides, extra, strict=True)]
    out = tuple((n - 1) * s + k for n, s, k in zip(size, strides, kept, strict=True))
    over = [max(e - k, 0) for e, k in zip(extent, kept, strict=True)]
    return Window(out, tuple(taps), strides, tuple((cut // 2, cut - cut // 2) for cut in over), dilation)


def _kept(same: bool, extent: int, stride: int, extra: int | None) -> int:
    """How many cells of the output each axis has from where the last window starts on."""
    if extra is None:
        return stride if same else max(extent, stride)
    return (extent % 2 if same else extent) + extra
