"""Data that comes in batches: generators, data sets with numbered batches, loaders of other libraries."""

import contextlib
import itertools
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from kjax.data import rows, spec
from kjax.feed import Block
from kjax.reader import Reader
from kjax.supply import NOTHING, Supply, is_table

ARRAYS = (Sequence, dict, set, frozenset)
"""What holds the data itself: lists and their like, a column of a Hugging Face data set among them."""


def is_stream(data: Any) -> bool:
    """Whether this gives batches, rather than being the examples: no array, frame, list or dict of them."""
    if isinstance(data, np.ndarray):
        return False  # asked at every call of `predict`
    if is_table(data):
        return True
    if isinstance(data, ARRAYS) or any(hasattr(data, name) for name in ("shape", "__array__", "to_numpy", "dtype")):
        return False
    numbered = hasattr(data, "__getitem__") and hasattr(data, "__len__")
    return numbered or hasattr(data, "__iter__") or hasattr(data, "__next__") or callable(data)


class StreamSource:
    """Batches that a thread reads ahead, as a `Source`.

    The first batch is read at once, and is not lost: it says what batches look like, and builds the model.

    Args:
        supply: the batches as the user's objects give them.
        prepare: makes a checked batch of one, `(x, y)` or `(x, y, sample_weight)`.
        name: what messages call the data.
        steps: how many batches make a pass; None for all.
        steps_name: what `fit` calls that number.

    Raises:
        ValueError: there is no batch at all.
    """

    samples: int | None = None

    def __init__(
        self, supply: Supply, prepare: Callable[[Any], Any], name: str = "x", steps: int | None = None,
        steps_name: str = "steps_per_epoch",
    ):  # fmt: skip
        self._supply, self._prepare, self._wanted, self._names = supply, prepare, steps, (name, steps_name)
        self._label = "the data" if name == "x" else name
        raw = noted(supply.peek, f"the first batch of {self._label}")
        if raw is NOTHING:
            used = ": it is empty, or was used up before; make it anew" if supply.once else ": it is empty"
            raise ValueError(f"{name} gives no batch{used}")
        first = said(prepare, raw, f"the first batch of {self._label}")
        self.size = rows(first)
        self.batch = jax.tree.map(lambda array: spec(array, self.size), first)
        self.steps = supply.length if steps is None else steps
        self.even = self._is_even()
        self.ended = False
        self._reader: Reader | None = None

    def _is_even(self) -> bool:
        if self._supply.even is not None:
            return self._supply.even
        what = f"the last batch of {self._label}"
        last = rows(self._fitting(noted(self._supply.last, what), what))
        if self._wanted is None and self.steps is not None:
            self.samples = (self.steps - 1) * self.size + last
        return last == self.size

    def blocks(self, key: Any = None, epoch: int = 0, first: int = 0, pad: bool = True) -> Generator[Block, None, None]:
        raws = self._supply.batches(key, epoch, first, self._wanted)
        done = first
        self._reader = Reader(self._checked(raws, first), self.size, pad, self.even)
        with contextlib.closing(self._reader) as reader:
            for block in reader.blocks():
                yield block
                done += block.stop
        self._finish(done, epoch)

    def close(self) -> None:
        """Ends the thread."""
        if self._reader is not None:
            self._reader.close()

    def _checked(self, raws: Generator[Any, None, None], first: int) -> Generator[Any, None, None]:
        """The batches, ready to be copied; errors say which one they are about."""
        with contextlib.closing(raws):  # else its threads would live as long as an error's traceback
            for raw, what in numbered(raws, first, self._label):
                yield self._fitting(raw, what)

    def _fitting(self, raw: Any, what: str) -> Any:
        return said(lambda raw: jax.tree.map(like, *same_tree(self._prepare(raw), self.batch)), raw, what)

    def _finish(self, done: int, epoch: int) -> None:
        """What there is to say where a pass has ended."""
        name, steps_name = self._names
        if done == 0:
            raise ValueError(
                f"{name} had no batch left for pass {epoch + 1}: let it give enough for all of them, or give the "
                "function that makes the generator, fit(batches) instead of fit(batches())"
            )
        if self._wanted is None:
            self.steps = done
        elif done < self._wanted:
            self.ended = True
            so = ", so training ends with this epoch" if steps_name == "steps_per_epoch" else ""
            warnings.warn(
                f"{name} ended after {done} of {self._wanted} steps ({steps_name}={self._wanted}){so}: let it give "
                "more batches, or ask for fewer steps",
                stacklevel=2,
            )


def numbered(raws: Iterator[Any], first: int, label: str = "the data") -> Iterator[tuple[Any, str]]:
    """The batches, each with what messages call it."""
    for number in itertools.count(first):
        what = f"batch {number} of {label}"
        raw = noted(lambda: next(raws, NOTHING), what)
        if raw is NOTHING:
            return
        yield raw, what


def noted(get: Callable[[], Any], what: str) -> Any:
    """What a function of the user's gives; its errors arrive as they are, with a note that says which batch it was."""
    try:
        return get()
    except Exception as error:
        error.add_note(f"Raised where {what} was asked for (batches count from 0 in each epoch).")
        raise


def said(prepare: Callable[[Any], Any], raw: Any, what: str) -> Any:
    """A checked batch; what is wrong with it is said together with its number."""
    try:
        return prepare(raw)
    except (ValueError, TypeError) as error:
        if type(error) not in (ValueError, TypeError):
            raise
        raise type(error)(f"{what}: {error}") from None


def same_tree(batch: Any, spec: Any) -> tuple[Any, Any]:
    """Both, if they have one structure.

    Raises:
        ValueError: weights, inputs or outputs that the first batch had and this one lacks, or the other way.
    """
    own: Any = jax.tree.structure(batch)
    if own != jax.tree.structure(spec):
        parts = ("x, y", "x, y, sample_weight")
        got, wanted = (parts[len(tree) - 2] for tree in (batch, spec))
        raise ValueError(f"it is ({got}), but the first batch was ({wanted}) or had other parts; make all alike")
    return batch, spec


def like(array: Any, spec: Any) -> np.ndarray:
    """The array with the dtype of the first batch's.

    Raises:
        TypeError: that cannot hold it.
    """
    array = np.asarray(array)
    wanted = np.dtype(spec.dtype)
    holds = np.can_cast(array.dtype, wanted, "safe") or (array.dtype.kind in "biu" and wanted.kind == "f")
    if array.dtype != wanted and not (holds or array.dtype.name == "float64"):
        raise TypeError(f"it holds {array.dtype.name}, but the first batch held {wanted.name}; give all one dtype")
    return array.astype(wanted, copy=False)
