"""Batches on their way to the device: a thread reads them ahead and joins them to blocks of many steps."""

import threading
import time
from collections.abc import Callable, Generator, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from kjax.feed import Block, inherited

BLOCK_BYTES, BLOCK_STEPS = 16 * 2**20, 64
"""What a block holds at most; three of them are in memory at a time."""
PATIENCE = 0.02
"""How many seconds batches wait for others to join them, so that a slow generator delays nothing."""
FAREWELL = 1.0
"""How many seconds a thread is waited for that is in the user's code when all is over."""

IDLE = Block(None, None, 0, 0, False)  # type: ignore[arg-type]
"""No steps: the data lets wait."""


class Kind(NamedTuple):
    """What makes batches fit into one block: tree, shapes of an example and dtypes; rows of a step; whether some are
    padding."""

    structure: Any
    leaves: tuple[tuple[tuple[int, ...], Any], ...]
    size: int
    masked: bool


class Room:
    """A block that is being filled."""

    def __init__(self, kind: Kind):
        per_step = kind.size * sum(np.dtype(dtype).itemsize * int(np.prod(shape)) for shape, dtype in kind.leaves)
        self.steps = max(1, min(BLOCK_STEPS, BLOCK_BYTES // max(1, per_step)))
        self.kind, self.count = kind, 0
        self.arrays = [np.zeros((self.steps * kind.size, *shape), dtype) for shape, dtype in kind.leaves]
        self.rows = np.full((self.steps, kind.size), -1, np.int32)

    def add(self, leaves: list[Any], n: int) -> None:
        """Copies a batch of `n` rows, for the user may fill the same arrays again."""
        at = self.count * self.kind.size
        for room, array in zip(self.arrays, leaves, strict=True):
            room[at : at + n] = array
        self.rows[self.count, :n] = np.arange(at, at + n)
        self.count += 1

    def block(self) -> Block:
        """What there is, on the device."""
        arrays, rows = jax.device_put((self.arrays, self.rows))
        return Block(jax.tree.unflatten(self.kind.structure, arrays), rows, 0, self.count, self.kind.masked)


class Reader:
    """Blocks of steps from batches that a thread reads.

    A block is handed over when it is full, or when its first batch has waited long enough and the loop has nothing
    to do. All blocks of a kind have one shape, however full they are, so that nothing is compiled again. How the
    steps fall into blocks depends on the clock, but no number does.

    Args:
        batches: checked ones, trees of arrays.
        size: examples in a full batch. Smaller ones are filled up to it, larger ones to a multiple by a power of two.
        pad: whether they may be filled up.
        even: whether all are full, as far as is known. Full ones are then run without a mask, even beside others.
    """

    def __init__(self, batches: Generator[Any, None, None], size: int, pad: bool, even: bool):
        self._size, self._pad, self._even = size, pad, even
        self._room: Room | None = None
        self._ready: Block | None = None
        self._error: BaseException | None = None
        self._done = self._closed = False
        self._handed = time.monotonic()
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._read, args=(batches, inherited()), daemon=True, name="kjax reader")
        self._thread.start()

    def blocks(self) -> Iterator[Block]:
        """The blocks, `IDLE` ones where the data lets wait; then the error of the thread, if there was one."""
        while True:
            with self._changed:
                block = self._next()
            if block is None:
                return
            yield block

    def close(self) -> None:
        """Ends the thread; one that is held up in the user's code ends as soon as that returns."""
        with self._changed:
            before, self._closed = self._closed, True
            self._room = self._ready = None
            self._changed.notify_all()
        self._thread.join(0 if before else FAREWELL)

    def _next(self) -> Block | None:
        self._changed.wait_for(lambda: self._ready or self._done, PATIENCE)
        if self._ready:
            return self._handed_over()
        if self._room and (self._done or self._waited()):
            self._move()
            return self._handed_over()
        if self._error:
            error, self._error = self._error, None
            raise error
        return None if self._done else IDLE

    def _handed_over(self) -> Block | None:
        block, self._ready, self._handed = self._ready, None, time.monotonic()
        self._changed.notify_all()
        return block

    def _waited(self) -> bool:
        return time.monotonic() - self._handed > PATIENCE

    def _move(self) -> None:
        """What has been read goes to the device."""
        if self._room:
            self._ready, self._room = self._room.block(), None
            self._changed.notify_all()

    # In the thread.

    def _read(self, batches: Generator[Any, None, None], as_there: Callable) -> None:
        try:
            with as_there():
                for batch in batches:
                    self._take(batch)
                    if self._closed:
                        break
                batches.close()
        except BaseException as error:
            self._error = error
        finally:
            with self._changed:
                self._done = True
                self._changed.notify_all()

    def _take(self, batch: Any) -> None:
        leaves, structure = jax.tree.flatten(batch)
        n = len(leaves[0])
        kind = self._kind(leaves, structure, n)
        with self._changed:
            if self._room and self._room.kind != kind:
                self._move_when_free()
            if self._closed:
                return
            self._room = self._room or Room(kind)
            self._room.add(leaves, n)
            if self._room.count == self._room.steps:
                self._move_when_free()
            elif not self._ready and self._waited():
                self._move()

    def _move_when_free(self) -> None:
        self._changed.wait_for(lambda: self._closed or not self._ready)
        if not self._closed:
            self._move()

    def _kind(self, leaves: list[Any], structure: Any, n: int) -> Kind:
        size = self._size if n <= self._size else self._size << (-(-n // self._size) - 1).bit_length()
        size = size if self._pad else n
        shapes = tuple((a.shape[1:], a.dtype) for a in leaves)
        return Kind(structure, shapes, size, self._pad and (not self._even or n < size))
