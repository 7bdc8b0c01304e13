"""Batch norm over all axes but the last, whose gradient is two sums over rows and one pass over the elements.

    y = scale * (x - mean) / sqrt(variance + epsilon) + offset

Its tangent is one map, linear in the tangents of x, scale and offset, and its gradient the transpose of that map. Both
are primitives here, so derivatives of every order and mode work, and both have a kernel in C where `kjax.native` is
usable: XLA's CPU backend sums over rows on one core, and reads x anew for each of four sums.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from kjax import native

from .standardise import standardise

LANES = 2048
"""Of a line of a few rows, whole vectors long, in `kjax/native/columns.h`."""


def batch_norm(
    x: Array, scale: Array | None, offset: Array | None, axes: tuple[int, ...], epsilon: float
) -> tuple[Array, Array, Array]:
    """The normalised x, scaled and shifted, the mean and the biased variance; these two have axes of one.

    Args:
        x: floats; in float32 or wider, or rounding shows.
        scale: in the shape of the axes that are not among `axes`; None for ones.
        offset: likewise; None for zeros.
        axes: what the mean goes over, none of them negative.
        epsilon: added to the variance.

    >>> import jax.numpy as jnp
    >>> y, mean, variance = batch_norm(jnp.array([[1.0], [3.0]]), jnp.array([2.0]), None, (0,), 0.0)
    >>> y.tolist(), mean.item(), variance.item()
    ([[-2.0], [2.0]], 2.0, 1.0)
    """
    shape = tuple(size for axis, size in enumerate(x.shape) if axis not in axes)
    scale = jnp.ones(shape, x.dtype) if scale is None else scale.astype(x.dtype)
    offset = jnp.zeros(shape, x.dtype) if offset is None else offset.astype(x.dtype)
    if axes != tuple(range(x.ndim - 1)) or not x.size:
        y, mean, variance = standardise(x, axes, epsilon)
        return y * jnp.expand_dims(scale, axes) + jnp.expand_dims(offset, axes), mean, variance
    y, near, rest, variance = normalise_p.bind(x, scale, offset, epsilon=epsilon)
    return y, jnp.expand_dims(near + rest, axes), jnp.expand_dims(variance, axes)


# --- What the three maps are, on any platform; all but x and g have one number for each channel ---


def normalise(x: Array, scale: Array, offset: Array, *, epsilon: float) -> tuple[Array, ...]:
    """The normalised x, the mean as one number near it and the rest, and the variance."""
    near = x[(0,) * (x.ndim - 1)]
    rest = _mean(x - _spread(near, x))
    away = _away(x, near, rest)
    variance = _mean(away * away)
    factor = jax.lax.rsqrt(variance + epsilon)
    return away * _spread(factor * scale, x) + _spread(offset, x), near, rest, variance


def push(
    along_x: Array,
    along_scale: Array,
    along_offset: Array,
    x: Array,
    near: Array,
    rest: Array,
    factor: Array,
    scale: Array,
) -> tuple[Array]:
    """The tangent of y, where `factor` is `1 / sqrt(variance + epsilon)`."""
    flat = _away(x, near, rest) * _spread(factor, x)
    gain = factor * scale
    shift, bend = along_offset - gain * _mean(along_x), along_scale - gain * _mean(along_x * flat)
    return (along_x * _spread(gain, x) + _spread(shift, x) + flat * _spread(bend, x),)


def pull(g: Array, x: Array, near: Array, rest: Array, factor: Array, scale: Array) -> tuple[Array, Array, Array]:
    """The transpose of `push`: the gradients of x, scale and offset."""
    flat = _away(x, near, rest) * _spread(factor, x)
    gain, count = factor * scale, math.prod(x.shape[:-1])
    along, plain = _total(g * flat), _total(g)
    moved = g * _spread(gain, x) - _spread(gain * plain / count, x) - flat * _spread(gain * along / count, x)
    return moved, along, plain


def _away(x: Array, near: Array, rest: Array) -> Array:
    return x - _spread(near, x) - _spread(rest, x)


def _spread(values: Array, x: Array) -> Array:
    return jnp.expand_dims(values, tuple(range(x.ndim - 1)))


def _total(x: Array) -> Array:
    return x.sum(tuple(range(x.ndim - 1)))


def _mean(x: Array) -> Array:
    return _total(x) / math.prod(x.shape[:-1])


# --- CPU ---


def normalise_native(x: Array, scale: Array, offset: Array, *, epsilon: float) -> list[Array]:
    sizes = math.prod(x.shape[:-1]), x.shape[-1]
    results = [x.shape, *[scale.shape] * 3]
    return native.call("batch_norm", results, sizes, x, scale, offset, jnp.asarray(epsilon, x.dtype))


def pull_native(g: Array, x: Array, *channels: Array) -> list[Array]:
    sizes = math.prod(x.shape[:-1]), x.shape[-1]
    return native.call("batch_norm_grad", [x.shape, *[channels[0].shape] * 2], sizes, g, x, *channels)


def takes(x: Any) -> bool:
    """Whether the kernels take an x of this shape and dtype: a line may not be too long."""
    return x.dtype == np.float32 and math.lcm(x.shape[-1], 16) <= LANES


# --- The primitives ---


def _make(name: str, plain: Callable, fast: Callable | None = None) -> Primitive:
    """A primitive of several results with a rule for any platform, and perhaps one for CPU."""
    primitive = Primitive(name)
    primitive.multiple_results = True
    compiled = jax.jit(primitive.bind, static_argnames=("epsilon",))

    @primitive.def_impl
    def eager(*operands: Array, **static: Any) -> list[Array]:
        with jax.disable_jit(False):
            return compiled(*operands, **static)

    @primitive.def_abstract_eval
    def shapes(*operands: Any, **static: Any) -> Any:
        return jax.make_jaxpr(partial(plain, **static))(*operands).out_avals

    def batch(operands: Any, places: Any, **static: Any) -> Any:
        results = jax.vmap(partial(plain, **static), places)(*operands)
        return results, (0,) * len(results)

    def lower(context: Any, *operands: Any, **static: Any) -> Any:
        rule = fast if fast and takes(context.avals_in[0]) and native.usable(context) else plain
        return mlir.lower_fun(rule, multiple_results=True)(context, *operands, **static)

    batching.primitive_batchers[primitive] = batch
    mlir.register_lowering(primitive, mlir.lower_fun(plain, multiple_results=True))
    mlir.register_lowering(primitive, lower, platform="cpu")
    return primitive


normalise_p = _make("batch_norm", normalise, normalise_native)
push_p = _make("batch_norm_tangent", push)
pull_p = _make("batch_norm_gradient", pull, pull_native)


def _normalise_jvp(primals: Any, tangents: Any, *, epsilon: float) -> Any:
    tangents = tuple(map(ad.instantiate_zeros, tangents))
    (x, scale, _), along_x = primals, tangents[0]
    y, near, rest, variance = normalise_p.bind(*primals, epsilon=epsilon)
    (along_y,) = push_p.bind(*tangents, x, near, rest, jax.lax.rsqrt(variance + epsilon), scale)
    along_variance = _mean(2 * _away(x, near, rest) * along_x)
    return (y, near, rest, variance), (along_y, ad.Zero(jax.typeof(near)), _mean(along_x), along_variance)


def _linear_jvp(primitive: Primitive, plain: Callable, linear: int, primals: Any, tangents: Any) -> Any:
    """Along the linear operands the primitive itself; along the others whatever the plain rule's tangent is."""
    if all(type(tangent) is ad.Zero for tangent in tangents[linear:]):
        along = map(ad.instantiate_zeros, tangents[:linear])
        return primitive.bind(*primals), primitive.bind(*along, *primals[linear:])
    return jax.jvp(plain, primals, tuple(map(ad.instantiate_zeros, tangents)))


def _push_transpose(cotangents: Any, *operands: Any) -> list[Any]:
    x, *channels = operands[3:]
    return [*pull_p.bind(ad.instantiate_zeros(cotangents[0]), x, *channels), *[None] * 5]


def _pull_transpose(cotangents: Any, g: Any, *fixed: Any) -> list[Any]:
    return [*push_p.bind(*map(ad.instantiate_zeros, cotangents), *fixed), *[None] * 5]


ad.primitive_jvps[normalise_p] = _normalise_jvp
ad.primitive_jvps[push_p] = partial(_linear_jvp, push_p, push, 3)
ad.primitive_jvps[pull_p] = partial(_linear_jvp, pull_p, pull, 1)
ad.primitive_transposes[push_p] = _push_transpose
ad.primitive_transposes[pull_p] = _pull_transpose
