"""A convolution with its bias and relu: on one CPU, in float32, a single pass over the output.

    y = relu(conv(x, kernel) + bias)

XLA passes over a convolution's output once more, for it cannot join anything to a kernel in C.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.interpreters import ad

from . import conv_native
from .bias import spread
from .conv import Padding, Setting, check_operands, forward_p, make_window
from .either import make_either
from .primitive import Window, together


def conv_relu(
    x: Array, kernel: Array, bias: Array, strides: Setting = 1, padding: Padding = "valid", dilation: Setting = 1
) -> Array:
    """`relu(conv(x, kernel, …) + bias)`; arguments, result and errors are those of `conv`, with one bias for a filter.

    >>> import jax.numpy as jnp
    >>> x, kernel, bias = jnp.ones((1, 3, 1)), jnp.ones((2, 1, 2)), jnp.array([1.0, -3.0])
    >>> conv_relu(x, kernel, bias).tolist()
    [[[3.0, 0.0], [3.0, 0.0]]]
    """
    check_operands("conv_relu", x, kernel)
    window = make_window("conv_relu", x.shape[1:-1], kernel.shape[:-2], strides, padding, dilation)
    return conv_relu_p.bind(*together(x, kernel, bias), window=window)[0]


def plain(x: Array, kernel: Array, bias: Array, *, window: Window) -> tuple[Array]:
    y = forward_p.bind(x, kernel, window=window, members=False)
    return (jax.nn.relu(y + spread(bias, y.shape)),)


def native(x: Array, kernel: Array, bias: Array, *, window: Window) -> tuple[Array]:
    return (conv_native.forward_relu(x, kernel, bias, window),)


def takes(x: Any, kernel: Any, bias: Any, *, window: Window) -> bool:
    float32 = {a.dtype for a in (x, kernel, bias)} == {np.dtype(np.float32)}
    return float32 and conv_native.takes_relu(x.shape, kernel.shape, window)


conv_relu_p = make_either("conv_relu", plain, native, takes)


def _jvp(primals: Any, tangents: Any, *, window: Window) -> Any:
    (y,) = conv_relu_p.bind(*primals, window=window)
    (x, kernel, _), (along_x, along_kernel, along_bias) = primals, tangents
    parts = []
    if type(along_x) is not ad.Zero:
        parts.append(forward_p.bind(along_x, kernel, window=window, members=False))
    if type(along_kernel) is not ad.Zero:
        parts.append(forward_p.bind(x, along_kernel, window=window, members=False))
    if type(along_bias) is not ad.Zero:
        parts.append(spread(along_bias, y.shape))
    # As `jax.nn.relu` has it: at the kink the derivative is 0.
    return [y], [jnp.where(y > 0, sum(parts[1:], parts[0]), jnp.zeros_like(y))]


ad.primitive_jvps[conv_relu_p] = _jvp
