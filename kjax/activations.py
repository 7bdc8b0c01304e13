"""Activation functions: pure functions of one array, by Keras's names.

`x` is a float array of any shape; the result has its dtype, and its shape unless said otherwise. Gradients to
second order are finite wherever the value is, and 0 at `relu`'s kink. NaN comes out as NaN. Everything but
`x` is a plain Python number.

>>> import jax.numpy as jnp
>>> get("relu") is relu, get(None) is linear
(True, True)
>>> get("relu")(jnp.array([-2.0, 3.0])).tolist()
[0.0, 3.0]
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from kjax.dtypes import at_least_float32, in_float32
from kjax.frozen import look_up

# Those that Keras 2 names.


def linear(x: Array) -> Array:
    """The identity, x."""
    return x


def relu(
    x: Array,
    negative_slope: float = 0.0,
    max_value: float | None = None,
    threshold: float = 0.0,
    *,
    alpha: float | None = None,
) -> Array:
    """Rectified linear unit: x above `threshold`, else `negative_slope` * (x - threshold); `max_value` at most.

    Args:
        negative_slope: slope up to the threshold.
        max_value: where the output saturates; None: nowhere.
        threshold: where the unit switches on.
        alpha: Keras 2's name of `negative_slope`.

    Raises:
        ValueError: `max_value` is negative.

    >>> relu(jnp.array([-2.0, 3.0, 9.0]), negative_slope=0.5, max_value=6.0).tolist()
    [-1.0, 3.0, 6.0]
    """
    if max_value is not None and max_value < 0:
        raise ValueError(f"relu: max_value must not be negative; got {max_value!r}")
    slope = negative_slope if alpha is None else alpha
    if slope == 0 and threshold == 0:
        y = jax.nn.relu(x)  # the form that compilers fuse into a matmul or convolution
    else:
        y = jnp.where(x <= threshold, slope * (x - threshold) if slope else 0.0, x)
    # This comparison, like that above, sends NaN to the branch that keeps it.
    return y if max_value is None else jnp.where(y >= max_value, max_value, y)


def sigmoid(x: Array) -> Array:
    """Logistic function, 1 / (1 + exp(-x))."""
    return jax.nn.sigmoid(x)


def hard_sigmoid(x: Array) -> Array:
    """Sigmoid in three straight lines, clip(0.2 x + 0.5, 0, 1).

    That is Keras 2's, the default of its recurrent layers. Keras 3 and PyTorch have clip(x / 6 + 0.5, 0, 1).

    >>> hard_sigmoid(jnp.array([-3.0, 0.0, 3.0])).tolist()
    [0.0, 0.5, 1.0]
    """
    return jnp.clip(0.2 * x + 0.5, 0.0, 1.0)


def tanh(x: Array) -> Array:
    """Hyperbolic tangent."""
    return jnp.tanh(x)


def exponential(x: Array) -> Array:
    """exp(x); infinite from 89 on in float32."""
    return jnp.exp(x)


def softmax(x: Array, axis: int | tuple[int, ...] = -1) -> Array:
    """Probabilities, exp(x) / sum(exp(x)) along `axis`; in float32 for narrower inputs, and then rounded.

    >>> softmax(jnp.array([[0.0, 0.0], [1e4, 0.0]])).tolist()
    [[0.5, 0.5], [1.0, 0.0]]
    """
    return in_float32(jax.nn.softmax, x, axis=axis)


def softplus(x: Array) -> Array:
    """Smooth relu, log(exp(x) + 1)."""
    return jax.nn.softplus(x)


def softsign(x: Array) -> Array:
    """x / (|x| + 1)."""
    return jax.nn.soft_sign(x)


def elu(x: Array, alpha: float = 1.0) -> Array:
    """Exponential linear unit: x above 0, `alpha` * (exp(x) - 1) below (Clevert et al. 2016).

    >>> elu(jnp.array([-1e4, 2.0]), alpha=0.5).tolist()
    [-0.5, 2.0]
    """
    return jax.nn.elu(x, alpha)


def selu(x: Array) -> Array:
    """Scaled elu, 1.0507 * elu(x, 1.6733): keeps mean 0 and variance 1 with `lecun_normal` weights and
    `AlphaDropout` (Klambauer et al. 2017, arXiv:1706.02515).

    >>> round(float(selu(jnp.array(-1e4))), 4)
    -1.7581
    """
    return jax.nn.selu(x)


# Those that came with Keras 3.


def leaky_relu(x: Array, negative_slope: float = 0.2) -> Array:
    """x above 0, `negative_slope` * x at and below.

    >>> leaky_relu(jnp.array([-2.0, 2.0]), 0.5).tolist()
    [-1.0, 2.0]
    """
    return relu(x, negative_slope)


def relu6(x: Array) -> Array:
    """min(max(x, 0), 6), as MobileNet uses it."""
    return relu(x, max_value=6.0)


def celu(x: Array, alpha: float = 1.0) -> Array:
    """elu with a slope of 1 at 0: x above 0, `alpha` * (exp(x / alpha) - 1) below (Barron 2017).

    Raises:
        ValueError: `alpha` is 0.

    >>> celu(jnp.array([-1e4, 2.0]), alpha=0.5).tolist()
    [-0.5, 2.0]
    """
    if alpha == 0:
        raise ValueError("celu: alpha must not be 0, it divides x; relu is the limit")
    return jnp.where(x > 0, x, alpha * jnp.expm1(jnp.where(x > 0, 0.0, x) / alpha))


def gelu(x: Array, approximate: bool = False) -> Array:
    """Gaussian error linear unit, x P(Z <= x) for a standard normal Z (Hendrycks & Gimpel 2016).

    Args:
        approximate: True for 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))), as BERT and GPT-2 have it.

    >>> gelu(jnp.array([-1e4, 0.0, 1e4])).tolist()
    [-0.0, 0.0, 10000.0]
    """
    # Beyond the bounds P is 0 or 1 to the last bit; within them no power of x overflows and makes NaN.
    if approximate:
        z = jnp.clip(x, -10.0, 10.0)
        return x * (0.5 * (1.0 + jnp.tanh(0.7978845608028654 * (z + 0.044715 * (z * z * z)))))
    return x * (0.5 * lax.erfc(jnp.clip(x, -40.0, 40.0) * -0.7071067811865476))


def silu(x: Array) -> Array:
    """x * sigmoid(x), also called swish (Ramachandran et al. 2017, arXiv:1710.05941)."""
    return jax.nn.silu(x)


def hard_silu(x: Array) -> Array:
    """x * relu6(x + 3) / 6, also called hard swish (Howard et al. 2019, arXiv:1905.02244).

    Its sigmoid is the paper's, whose slope is 1/6, not this module's `hard_sigmoid`.

    >>> hard_silu(jnp.array([-3.0, 0.0, 3.0])).tolist()
    [-0.0, 0.0, 3.0]
    """
    return x * (relu6(x + 3.0) / 6.0)


def mish(x: Array) -> Array:
    """x * tanh(softplus(x)) (Misra 2019, arXiv:1908.08681)."""
    return x * jnp.tanh(softplus(x))


def glu(x: Array, axis: int = -1) -> Array:
    """Gated linear unit, a * sigmoid(b), where a and b are the halves of x along `axis` (Dauphin et al. 2017,
    arXiv:1612.08083).

    Raises:
        ValueError: the axis has an odd length.

    >>> glu(jnp.array([3.0, 4.0, 0.0, 0.0])).tolist()
    [1.5, 2.0]
    """
    if x.shape[axis] % 2:
        raise ValueError(f"glu: axis {axis} is cut in two halves, its length must be even; got shape {x.shape}")
    a, b = jnp.split(x, 2, axis)
    return a * sigmoid(b)


def log_softmax(x: Array, axis: int | tuple[int, ...] = -1) -> Array:
    """log(softmax(x)) along `axis`, without underflow; in float32 for narrower inputs, and then rounded."""
    return in_float32(jax.nn.log_softmax, x, axis=axis)


def log_sigmoid(x: Array) -> Array:
    """log(sigmoid(x)), without underflow.

    >>> log_sigmoid(jnp.array([-1e4, 1e4])).tolist()
    [-10000.0, -0.0]
    """
    return -softplus(-x)


def hard_tanh(x: Array) -> Array:
    """clip(x, -1, 1)."""
    return jnp.clip(x, -1.0, 1.0)


def tanh_shrink(x: Array) -> Array:
    """x - tanh(x)."""
    return x - jnp.tanh(x)


def hard_shrink(x: Array, threshold: float = 0.5) -> Array:
    """x where |x| > `threshold`, else 0.

    >>> hard_shrink(jnp.array([-2.0, 0.5])).tolist()
    [-2.0, 0.0]
    """
    return jnp.where(jnp.abs(x) <= threshold, 0.0, x)


def soft_shrink(x: Array, threshold: float = 0.5) -> Array:
    """x moved towards 0 by `threshold`, and no further than 0.

    >>> soft_shrink(jnp.array([-2.0, 0.25])).tolist()
    [-1.5, 0.0]
    """
    return jnp.where(jnp.abs(x) <= threshold, 0.0, x - jnp.sign(x) * threshold)


def threshold(x: Array, threshold: float, default_value: float) -> Array:
    """x where x > `threshold`, else `default_value`.

    >>> threshold(jnp.array([0.5, 2.0]), 1.0, -7.0).tolist()
    [-7.0, 2.0]
    """
    return jnp.where(x <= threshold, default_value, x)


def squareplus(x: Array, b: float = 4.0) -> Array:
    """Algebraic softplus, (x + sqrt(x^2 + b)) / 2 (Barron 2021, arXiv:2112.11687); `b` = 0 gives relu.

    Raises:
        ValueError: `b` is negative.

    >>> squareplus(jnp.array([0.0, 1.5])).tolist()
    [1.0, 2.0]
    """
    if b < 0:
        raise ValueError(f"squareplus: b must not be negative; got {b!r}")
    if b == 0:
        return relu(x)
    root = jnp.sqrt(x * x + b)
    # Below 0 the two terms cancel; the same value as a quotient keeps its digits.
    return jnp.where(x > 0, 0.5 * (x + root), 0.5 * b / (root - jnp.where(x > 0, 0.0, x)))


def sparse_plus(x: Array) -> Array:
    """0 up to -1, (x + 1)^2 / 4 up to 1, x from there on.

    >>> sparse_plus(jnp.array([-2.0, 0.0, 3.0])).tolist()
    [0.0, 0.25, 3.0]
    """
    return jax.nn.sparse_plus(x)


def sparse_sigmoid(x: Array) -> Array:
    """clip((x + 1) / 2, 0, 1), the slope of `sparse_plus` (Blondel et al. 2019, arXiv:1901.02324).

    >>> sparse_sigmoid(jnp.array([-2.0, 0.0, 3.0])).tolist()
    [0.0, 0.5, 1.0]
    """
    return jnp.clip(0.5 * x + 0.5, 0.0, 1.0)


def sparsemax(x: Array, axis: int = -1) -> Array:
    """The probabilities nearest to x: max(x - tau, 0), with the sum 1 (Martins & Astudillo 2016).

    >>> sparsemax(jnp.array([1.0, 0.5, -1.0])).tolist()
    [0.75, 0.25, 0.0]
    """
    z = x - lax.stop_gradient(jnp.max(x, axis, keepdims=True))
    outside = lax.stop_gradient(z) < _least_in_support(lax.stop_gradient(z), axis)
    total = jnp.sum(jnp.where(outside, 0.0, z), axis, keepdims=True)
    tau = (total - 1.0) / jnp.sum(~outside, axis, keepdims=True).astype(x.dtype)
    return jnp.where(outside, 0.0, relu(z - tau))


def _least_in_support(z: Array, axis: int) -> Array:
    """The smallest of the values that `sparsemax` keeps above 0."""
    wide = at_least_float32(z.dtype)  # bfloat16 cannot count beyond 256
    down = jnp.sort(z, axis=axis, descending=True).astype(wide)
    rank = lax.broadcasted_iota(wide, z.shape, axis % z.ndim) + 1.0
    support = 1.0 + rank * down > jnp.cumsum(down, axis=axis)
    return jnp.min(jnp.where(support, down, jnp.inf), axis, keepdims=True).astype(z.dtype)


swish, hard_swish = silu, hard_silu

_ALL: tuple[Callable[..., Array], ...] = (
    *(linear, relu, sigmoid, hard_sigmoid, tanh, exponential, softmax, softplus, softsign, elu, selu),
    *(leaky_relu, relu6, celu, gelu, silu, hard_silu, mish, glu, log_softmax, log_sigmoid, hard_tanh),
    *(tanh_shrink, hard_shrink, soft_shrink, threshold, squareplus, sparse_plus, sparse_sigmoid, sparsemax),
)
NAMES: dict[str, Callable[..., Array]] = {f.__name__: f for f in _ALL}
NAMES |= {"swish": silu, "hard_swish": hard_silu}
"""Every name that `get` knows."""


def get(identifier: Any) -> Callable[..., Array]:
    """The activation that a name means; None means `linear`, and a function is returned as it is.

    Raises:
        ValueError: no activation has this name.
        TypeError: neither a name nor callable.

    >>> get("rely")
    Traceback (most recent call last):
    ...
    ValueError: unknown activation 'rely'. Did you mean 'relu'?
    """
    return linear if identifier is None else look_up(identifier, NAMES, "activation", "relu")
