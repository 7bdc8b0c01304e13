"""Grouped and depthwise convolution: each group of filters sees its own group of channels.

XLA's CPU backend has nothing for them: a training step of a depthwise one, 28x28x64, batch 32, took 3,900 ms in a
loop, one group after the other 23; four groups of 16 channels 1,290 against 48.
"""

import math
from functools import partial

import jax.numpy as jnp
from jax import Array, lax

from kjax.nn.kernels.conv import Padding, Setting, Window, conv, forward_p, make_window, taps
from kjax.nn.kernels.primitive import together


def grouped_conv(
    x: Array, kernel: Array, groups: int, strides: Setting = 1, padding: Padding = "valid", dilation: Setting = 1
) -> Array:
    """Convolution whose channels and filters are split into groups, one beside the other.

    Args:
        x: `(batch, *spatial, channels)`.
        kernel: `(*taps, channels // groups, filters)`, of the same dtype.
        groups: divides channels and filters; as many as channels make it a depthwise convolution.
        strides, padding, dilation: as `conv` takes them.

    Returns:
        `(batch, *out, filters)`.

    Raises:
        ValueError, TypeError: as `conv`, or groups that do not divide channels and filters.

    >>> x, kernel = jnp.ones((8, 28, 28, 6)), jnp.ones((3, 3, 1, 12))
    >>> grouped_conv(x, kernel, 6).shape
    (8, 26, 26, 12)
    """
    if groups == 1:
        return conv(x, kernel, strides, padding, dilation)
    _check_groups(x, kernel, groups)
    window = make_window("grouped_conv", x.shape[1:-1], kernel.shape[:-2], strides, padding, dilation)
    members = partial(_members, groups=groups, window=window)
    if kernel.shape[-2] > 1 or max(window.strides) == 1 or math.prod(window.taps) > 9:
        return members(x, kernel)
    # 9 ms a step against 21 with strides of 2; without strides, where the gradients are large, 45 against 23.
    return lax.platform_dependent(x, kernel, cpu=partial(_tap_sum, window=window), default=members)


def _check_groups(x: Array, kernel: Array, groups: int) -> None:
    if groups < 1 or kernel.shape[-2] * groups != x.shape[-1] or kernel.shape[-1] % groups:
        raise ValueError(
            f"grouped_conv: kernel is (*taps, channels // groups, filters) and groups divides both; got {groups} "
            f"groups, x {x.shape} and kernel {kernel.shape}"
        )


def _members(x: Array, kernel: Array, groups: int, window: Window) -> Array:
    """Each group by itself, as an ensemble: XLA's own grouped convolution on GPU and TPU, a loop on CPU."""
    x = jnp.moveaxis(x.reshape(*x.shape[:-1], groups, -1), -2, 0)
    kernel = jnp.moveaxis(kernel.reshape(*kernel.shape[:-1], groups, -1), -2, 0)
    y = jnp.moveaxis(forward_p.bind(*together(x, kernel), window=window, members=True), 0, -2)
    return y.reshape(*y.shape[:-2], -1)


def _tap_sum(x: Array, kernel: Array, window: Window) -> Array:
    """One multiply-add for each tap of the window, over all channels at once."""
    kernel = kernel.reshape(-1, *[1] * (x.ndim - 1), x.shape[-1], kernel.shape[-1] // x.shape[-1])
    y = sum(tap[..., None] * weight for tap, weight in zip(taps(x, window), kernel, strict=True))
    return y.reshape(*y.shape[:-2], -1)
