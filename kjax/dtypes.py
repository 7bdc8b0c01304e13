"""Questions about types that several modules ask."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from kjax.frozen import suggest

MIXED = {"mixed_bfloat16": "bfloat16", "mixed_float16": "float16"}
"""What a layer computes in whose `dtype` is such a policy; its params are float32."""


def name_of(dtype: Any) -> str:
    """The name of a dtype, or of a policy in `MIXED`.

    Raises:
        TypeError: it is neither.
    """
    if isinstance(dtype, str) and dtype in MIXED:
        return dtype
    try:
        return jnp.dtype(dtype).name
    except TypeError:
        known = [*MIXED, "bfloat16", "float16", "float32", "float64"]
        raise TypeError(f"unknown dtype {dtype!r}.{suggest(str(dtype), known)}") from None


def at_least_float32(dtype: Any) -> Any:
    """The type to accumulate in: float32 for what is narrower, else the type itself.

    >>> at_least_float32("bfloat16"), at_least_float32("float64")
    (dtype('float32'), dtype('float64'))
    """
    return jnp.dtype(dtype) if jnp.finfo(dtype).bits > 32 else jnp.dtype("float32")


def is_float(a: Any) -> bool:
    """Whether this is an array of floating-point numbers."""
    return jnp.issubdtype(a.dtype, jnp.floating)


def floats_as(dtype: Any, tree: Any) -> Any:
    """A tree of arrays with its floats in another dtype; what else there is stays.

    >>> jax.tree.map(lambda a: a.dtype.name, floats_as("bfloat16", {"n": jnp.zeros(2, int), "w": jnp.zeros(2)}))
    {'n': 'int32', 'w': 'bfloat16'}
    """
    return jax.tree.map(lambda a: a.astype(dtype) if is_float(a) else a, tree)


def widened(tree: Any) -> Any:
    """A tree of arrays with those floats in float32 that were narrower."""
    return jax.tree.map(lambda a: a.astype(at_least_float32(a.dtype)) if is_float(a) else a, tree)


def in_float32(function: Callable, x: Any, **options: Any) -> Any:
    """`function` of an array, computed in float32 for narrower floats and then rounded to their dtype."""
    x = jnp.asarray(x)
    narrow = is_float(x) and jnp.finfo(x.dtype).bits < 32
    return function(x.astype(jnp.float32), **options).astype(x.dtype) if narrow else function(x, **options)


def promoted(*dtypes: Any) -> Any:
    """The type that arrays of these types become together, by JAX's rules and whatever its settings forbid.

    >>> promoted("int32", "bfloat16", "float16")
    dtype('float32')
    """
    with jax.numpy_dtype_promotion("standard"):
        return functools.reduce(jnp.promote_types, map(jnp.dtype, dtypes))
