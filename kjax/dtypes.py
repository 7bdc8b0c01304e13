"""Questions about types that several modules ask."""

import functools
from typing import Any

import jax
import jax.numpy as jnp


def at_least_float32(dtype: Any) -> Any:
    """The type to accumulate in: float32 for what is narrower, else the type itself.

    >>> at_least_float32("bfloat16"), at_least_float32("float64")
    (dtype('float32'), dtype('float64'))
    """
    return jnp.dtype(dtype) if jnp.finfo(dtype).bits > 32 else jnp.dtype("float32")


def promoted(*dtypes: Any) -> Any:
    """The type that arrays of these types become together, by JAX's rules and whatever its settings forbid.

    >>> promoted("int32", "bfloat16", "float16")
    dtype('float32')
    """
    with jax.numpy_dtype_promotion("standard"):
        return functools.reduce(jnp.promote_types, map(jnp.dtype, dtypes))
