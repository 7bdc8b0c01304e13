"""How the batches of an epoch reach the device: all data at once where it fits, else in chunks, one ahead."""

import contextlib
import importlib
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import numpy as np

from kjax.data import is_mapped, narrowed, power_of_two
from kjax.nn import kernels
from kjax.steps import is_hosted

CHUNK_BYTES = 64 * 2**20
"""The size of a chunk of data that does not stay on the device; three of them are in memory at a time."""
ROOMY_BYTES = 2**20
"""The size up to which an array gets room for more rows: to fill it takes 0.1 ms, to compile a loop anew a second."""


class Block(NamedTuple):
    """Data on the device, the rows of it that each step takes, int32 (steps, batch), -1 for padding; and which steps
    are to be run, `start` to `stop`."""

    data: Any
    rows: jax.Array
    start: int
    stop: int
    padded: bool


def place(data: Sequence[Any]) -> Sequence[Any]:
    """The data on the device, or as it is where it is to come in chunks: too large, or a memory-mapped file.

    Where the CPU is the device, large arrays of NumPy stay where they are, as `HostArray`. Small ones get room for more
    rows, which no step takes, so that data of another length seldom compiles anew.
    """
    arrays = jax.tree.leaves(data)
    size = sum(a.nbytes for a in arrays)
    if any(map(is_mapped, arrays)) or size > memory() // 2:
        return data
    return jax.device_put(jax.tree.map(lambda array: roomy(kernels.hosted(array)), data))


def roomy(array: Any, rows: int = 0) -> Any:
    """A small array of NumPy with zeros behind its rows, up to so many or a power of two; any other as it is.

    >>> roomy(np.arange(1, 4)).tolist()
    [1, 2, 3, 0]
    """
    if type(array) is not np.ndarray or array.nbytes >= ROOMY_BYTES:
        return array
    rows = rows or power_of_two(len(array))
    return array if rows <= len(array) else take(array, slice(None), rows)


def memory() -> int:
    """The bytes of memory of the device, or of the machine where that is the device."""
    stats = jax.local_devices()[0].memory_stats()
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"]
    names = ("SC_PAGE_SIZE", "SC_PHYS_PAGES")
    known = hasattr(os, "sysconf") and all(name in os.sysconf_names for name in names)
    return os.sysconf(names[0]) * os.sysconf(names[1]) if known else 2**62


def blocks(data: Sequence[Any], rows: Sequence[np.ndarray], first: int = 0) -> Generator[Block, None, None]:
    """Blocks of steps for data as `place` left it; `rows` as `batch_rows` makes them, of which `first` are done."""
    resident = all(isinstance(a, jax.Array) for a in jax.tree.leaves(data))
    make = whole if resident else chunks
    found = (block for own, done in undone(rows, first) for block in make(data, own, done))
    yield from found if resident else ahead(found)


def undone(rows: Sequence[np.ndarray], first: int) -> Iterator[tuple[np.ndarray, int]]:
    """The blocks that hold steps to be run, each with how many of its steps are done."""
    for block in rows:
        if first < len(block):
            yield block, first
        first = max(0, first - len(block))


def whole(data: Sequence[Any], rows: np.ndarray, done: int) -> Iterator[Block]:
    """All the steps over data that is on the device; as many as there is room for are one shape, so one compilation."""
    room = -(-len(jax.tree.leaves(data, is_leaf=is_hosted)[0]) // rows.shape[1])
    yield Block(data, jax.device_put(roomy(rows, room)), done, len(rows), bool((rows < 0).any()))


def chunks(data: Sequence[Any], rows: np.ndarray, done: int) -> Iterator[Block]:
    """The same steps, each chunk with its own part of the data. All chunks have one shape, so one compilation."""
    per_step = sum(a.nbytes // len(a) for a in jax.tree.leaves(data)) * rows.shape[1]
    steps = min(max(1, CHUNK_BYTES // max(1, per_step)), len(rows))
    padded = bool((rows < 0).any())
    for start in range(done // steps * steps, len(rows), steps):
        yield gather(data, rows[start : start + steps], steps, padded, max(0, done - start))


def gather(data: Sequence[Any], rows: np.ndarray, steps: int, padded: bool, done: int) -> Block:
    """The rows of a chunk, and where each step finds them in it."""
    real = rows[rows >= 0]
    own = np.full((steps, rows.shape[1]), -1, np.int32)
    own[: len(rows)][rows >= 0] = np.arange(len(real))
    arrays, own = jax.device_put((jax.tree.map(lambda a: take(a, real, own.size), tuple(data)), own))
    return Block(arrays, own, done, len(rows), padded)


def take(array: Any, rows: Any, size: int) -> np.ndarray:
    """Some rows of an array, with zeros behind them up to a number of rows."""
    taken = narrowed(np.asarray(array[rows]))
    return np.concatenate([taken, np.zeros((size - len(taken), *taken.shape[1:]), taken.dtype)])


def ahead(blocks: Iterator[Block]) -> Iterator[Block]:
    """The same blocks, the next one being fetched by a thread while the last is at work."""
    as_here = inherited()

    def fetched() -> Block | None:
        with as_here():
            return next(blocks, None)

    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(fetched)
        while (block := coming.result()) is not None:
            coming = pool.submit(fetched)
            yield block


def enable_x64(on: bool) -> contextlib.AbstractContextManager[Any]:
    """`jax.enable_x64`, which JAX before 0.8 has elsewhere."""
    if hasattr(jax, "enable_x64"):
        return jax.enable_x64(on)
    return importlib.import_module("jax.experimental").enable_x64(on)


def inherited() -> Callable[[], contextlib.AbstractContextManager[None]]:
    """What the caller's `with` blocks have set for JAX, as one for another thread, which begins without them."""
    device, wide = jax.config.jax_default_device, jax.config.jax_enable_x64  # type: ignore[attr-defined]

    @contextlib.contextmanager
    def as_there() -> Iterator[None]:
        with jax.default_device(device), enable_x64(wide):
            yield

    return as_there
