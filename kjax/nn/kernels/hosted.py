"""NumPy arrays whose rows a compiled loop on CPU takes where they lie.

JAX copies an array to the "device" even where that is the CPU, unless it begins at a multiple of 64 bytes, which those
of NumPy seldom do. Here JAX gets all of it but up to 64 bytes at either end, which it does not copy, and these ends.

An MLP on 147 MB of data: `fit` of one epoch on 2 cores (AVX-512) spends 80 to 600 ms of 1.1 s less, and 147 MB.
"""

import dataclasses
import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from kjax import native

from .either import make_either
from .take import take_rows

END = 64
"""The bytes of which XLA wants a multiple."""
LEAST = 2**20
"""The bytes from which it is worth while."""


@partial(
    jax.tree_util.register_dataclass, data_fields=["body", "head", "tail", "offset"], meta_fields=["shape", "dtype"]
)
@dataclasses.dataclass(frozen=True)
class HostArray:
    """An array of this shape and dtype on the host; an alignment of another process makes no other program.

    Args:
        body: its bytes from `offset` on, all but `END` of them, where they lie.
        head, tail: its first and last `END` bytes.
    """

    body: Array
    head: Array
    tail: Array
    offset: Array
    shape: tuple[int, ...]
    dtype: np.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def take(self, rows: Array) -> Array:
        """What `take_rows` gives."""
        pieces = self.body, self.head, self.tail, self.offset
        return hosted_p.bind(*pieces, rows, shape=self.shape, dtype=self.dtype)[0]


def hosted(array: Any) -> Any:
    """The array for `HostArray.take` if it is one of NumPy's that would be copied and can be left, else itself."""
    fits = type(array) is np.ndarray and array.flags.c_contiguous and array.nbytes >= LEAST
    if not fits or not known(array.dtype) or native.library() is None:
        return array
    data = array.reshape(-1).view(np.uint8)
    offset = -data.ctypes.data % END
    head, tail, start = jax.device_put((data[:END].copy(), data[-END:].copy(), np.int32(offset)))
    if next(iter(start.devices())).platform != "cpu":
        return array
    body = jax.device_put(data[offset : len(data) - END + offset])
    return HostArray(body, head, tail, start, array.shape, array.dtype)


def known(dtype: Any) -> bool:
    """Whether JAX has this dtype, and it is one that can be made of bytes."""
    return dtype.kind in "iuf" and dtype.isnative and jax.dtypes.canonicalize_dtype(dtype) == dtype


def whole(body: Array, head: Array, tail: Array, offset: Array, shape: tuple[int, ...], dtype: Any) -> Array:
    """The array that lies in pieces."""
    data = jnp.concatenate([head, body])
    data = lax.dynamic_update_slice(data, body, (offset,))
    data = lax.dynamic_update_slice(lax.dynamic_update_slice(data, head, (0,)), tail, (len(data) - END,))
    return lax.bitcast_convert_type(data.reshape(*shape, *[dtype.itemsize][: dtype.itemsize > 1]), dtype)


def plain(
    body: Array, head: Array, tail: Array, offset: Array, rows: Array, *, shape: tuple[int, ...], dtype: Any
) -> tuple[Array]:
    return (take_rows(whole(body, head, tail, offset, shape, dtype), rows),)


def copied(*operands: Array, shape: tuple[int, ...], dtype: Any) -> Sequence[Array]:
    rows, size = len(operands[-1]), math.prod(shape[1:]) * dtype.itemsize
    return native.call("take_hosted_rows", [(rows, *shape[1:])], [rows, size, shape[0]], *operands, dtype=dtype)


def takes(*operands: Any, shape: tuple[int, ...], dtype: Any) -> bool:
    """Whether the kernel takes operands of these shapes and dtypes."""
    return operands[-1].dtype == np.int32 and operands[-1].size > 0


hosted_p = make_either("take_hosted_rows", plain, copied, takes)
