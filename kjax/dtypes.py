"""The one question about float types that several modules ask."""

from typing import Any

import jax.numpy as jnp


def at_least_float32(dtype: Any) -> Any:
    """The type to accumulate in: float32 for what is narrower, else the type itself.

    >>> at_least_float32("bfloat16"), at_least_float32("float64")
    (dtype('float32'), dtype('float64'))
    """
    return jnp.dtype(dtype) if jnp.finfo(dtype).bits > 32 else jnp.dtype("float32")
