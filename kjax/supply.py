"""Where the batches of a stream come from: by number, from the start as often as asked for, or once and never again.

Each kind can give the steps of any pass from any step on, so that a run that is resumed sees the batches that it
would have seen: a data set that is asked by number leaves out what is done, an iterator is read past it.
"""

import itertools
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any, Protocol

import jax
import numpy as np

from kjax.data import generator
from kjax.sequences import in_order

NOTHING: Any = object()
"""What `peek` gives where there is no batch at all."""


class Supply(Protocol):
    """Batches, as the user's objects give them.

    `length` is the number of batches in a pass, None where nobody knows. `even` says whether all have one size,
    None where a look at the `last` one tells.
    """

    @property
    def once(self) -> bool: ...

    @property
    def length(self) -> int | None: ...

    @property
    def even(self) -> bool | None: ...

    def peek(self) -> Any:
        """The first batch, which is not lost, or `NOTHING`."""
        ...

    def last(self) -> Any:
        """The last batch of a pass, where `even` is None."""
        ...

    def batches(self, key: Any, epoch: int, first: int, steps: int | None) -> Generator[Any, None, None]:
        """The batches of a pass of so many steps (None: all there are) after `epoch` others, from step `first` on."""
        ...


class Once:
    """An iterator. A pass goes on where the one before ended."""

    once, length = True, None

    def __init__(self, iterator: Iterator[Any], even: bool | None):
        self._iterator, self._taken = iterator, 0
        self.even = bool(even)

    def peek(self) -> Any:
        return self._peeked("_iterator")

    def _peeked(self, name: str) -> Any:
        iterator = getattr(self, name)
        found = next(iterator, NOTHING)
        setattr(self, name, itertools.chain([] if found is NOTHING else [found], iterator))
        return found

    def last(self) -> Any:
        raise NotImplementedError

    def batches(self, key: Any, epoch: int, first: int, steps: int | None) -> Generator[Any, None, None]:
        if epoch and steps is None:
            return
        done = epoch * (steps or 0) + first - self._taken
        for _ in itertools.islice(self._iterator, max(0, done)):
            self._taken += 1
        for raw in itertools.islice(self._iterator, None if steps is None else steps - first):
            self._taken += 1
            yield raw


class Again:
    """What can be iterated over again and again. Each pass begins from the start.

    Where a run is resumed, the passes that were made are read again and dropped, for what is random in them may go
    on from pass to pass; unless there is a `set_epoch(epoch)`, as PyTorch's and Hugging Face's data sets have it.
    """

    once = False

    def __init__(self, start: Callable[[], Iterator[Any]], length: int | None, even: bool, set_epoch: Any = None):
        self._start, self._set_epoch, self._passes = start, set_epoch, 0
        self._begun: Iterator[Any] | None = None
        self.length, self.even = length, even

    def peek(self) -> Any:
        begun = self._begin(0)
        found = next(begun, NOTHING)
        self._begun = itertools.chain([] if found is NOTHING else [found], begun)
        return found

    def last(self) -> Any:
        raise NotImplementedError

    def _begin(self, epoch: int) -> Iterator[Any]:
        """The next pass, or the one that `peek` began."""
        begun, self._begun = self._begun, None
        if begun is not None and (epoch == 0 or not self._set_epoch):
            return begun
        if self._set_epoch:
            self._set_epoch(epoch)
        return self._start()

    def batches(self, key: Any, epoch: int, first: int, steps: int | None) -> Generator[Any, None, None]:
        while self._passes < epoch and not self._set_epoch:
            drop(self._begin(self._passes), steps)
            self._passes += 1
        self._passes = epoch + 1
        begun = self._begin(epoch)
        drop(begun, first)
        yield from itertools.islice(begun, None if steps is None else steps - first)

    def endless(self) -> Once:
        """One pass after the other, in one."""

        def passes() -> Iterator[Any]:
            for epoch in itertools.count():
                found = NOTHING
                for found in self._begin(epoch):
                    yield found
                if found is NOTHING:
                    return

        return Once(passes(), self.even)


class Numbered:
    """A data set with `__len__` and `__getitem__`: batch `i` when it is asked for.

    Args:
        data: the data set.
        shuffle: whether each pass asks in an order of its own.
        goes_on: whether a pass of fewer steps than there are batches begins where the one before ended.
        workers: how many threads ask.
    """

    once = False
    even: bool | None = None

    def __init__(self, data: Any, shuffle: bool = False, goes_on: bool = False, workers: int = 1):
        self.data, self.goes_on, self.workers = data, goes_on, workers
        self.length: int | None = len(data)
        self.shuffle = bool(shuffle) and len(data) < 2**31  # an endless one says that it has sys.maxsize
        self._seen: dict[int, Any] = {}
        self._begun, self._ended = 0, 0

    def peek(self) -> Any:
        return self._seen.setdefault(0, self.data[0]) if len(self.data) else NOTHING

    def last(self) -> Any:
        number = len(self.data) - 1
        if not 0 < number < 2**31:
            return self._seen[0]
        self._seen = {}  # it may fill the same arrays again
        return self.data[number]

    def batches(self, key: Any, epoch: int, first: int, steps: int | None) -> Generator[Any, None, None]:
        while self._ended < epoch:
            self._begin()
            self._end()
        seen, self._seen = self._seen if epoch == 0 and not hasattr(self.data, "on_epoch_begin") else {}, {}
        self._begin()
        numbers = self.numbers(key, epoch, steps)[first:]
        get = (lambda i: seen.pop(i) if i in seen else self.data[i]) if seen else self.data.__getitem__
        yield from map(get, numbers) if self.workers == 1 else in_order(get, numbers, self.workers)
        self._end()

    def numbers(self, key: Any, epoch: int, steps: int | None) -> Any:
        """Which batches a pass takes, in order."""
        n = len(self.data)
        steps = n if steps is None else steps
        if not self.shuffle:
            start = epoch * steps % n if self.goes_on else 0
            return range(start, start + steps) if start + steps <= n else [(start + i) % n for i in range(steps)]
        random = generator(key)
        return np.concatenate([random.permutation(n) for _ in range(-(-steps // n))])[:steps].tolist()

    def _begin(self) -> None:
        if self._begun == self._ended:  # else a pass was left before its end
            self._begun += 1
            call(self.data, "on_epoch_begin")

    def _end(self) -> None:
        self._ended += 1
        call(self.data, "on_epoch_end")


class Examples(Numbered):
    """A table that gives many examples at a time, as Hugging Face's do: `table[3:7]`, `table[[5, 1, 8]]`.

    Args:
        table: the examples.
        size: how many make a batch.
        shuffle: whether each pass draws another order of the examples.
        goes_on: as in `Numbered`.
    """

    def __init__(self, table: Any, size: int, shuffle: bool = False, goes_on: bool = False):
        super().__init__(range(-(-len(table) // size)), False, goes_on)
        self.table, self.size, self.mixes = table, size, bool(shuffle)
        self.even = len(table) % size == 0

    def peek(self) -> Any:
        return self.table[: self.size] if len(self.table) else NOTHING

    def batches(self, key: Any, epoch: int, first: int, steps: int | None) -> Generator[Any, None, None]:
        order: Any = range(len(self.table))
        if self.mixes:
            order = generator(key).permutation(len(self.table))
        for i in self.numbers(key, epoch, steps)[first:]:
            yield self.table[order[i * self.size : (i + 1) * self.size]]


def drop(iterator: Iterator[Any], count: int | None) -> None:
    """Reads so many items (None: all) and forgets them."""
    for _ in itertools.islice(iterator, count):
        pass


def call(data: Any, hook: str) -> None:
    """Calls a method of the data set, if it has it."""
    function = getattr(data, hook, None)
    if function is not None:
        function()


def supply(
    data: Any, steps: int | None, shuffle: Any, goes_on: bool, workers: int = 1, batch_size: int | None = None
) -> Supply:
    """The batches of anything that `is_stream`.

    Args:
        data: an iterator, an iterable, a data set with numbered batches, or a function that makes one of the first.
        steps: the number of steps in a pass, or None for all.
        shuffle: whether to ask for numbered batches in another order in each pass.
        goes_on: whether passes of a given number of steps go on where the one before ended.
        workers: threads that ask for numbered batches.
        batch_size: for tables of examples, 32 by default.

    Raises:
        ValueError: a batch size for what comes in batches.
    """
    if is_table(data):
        return table(data.with_format("numpy"), batch_size or 32, steps, shuffle, goes_on)
    if batch_size is not None:
        raise ValueError("batch_size is for arrays; a generator or loader makes its batches itself: leave it out")
    if hasattr(data, "__getitem__") and hasattr(data, "__len__"):
        return Numbered(data, shuffle, goes_on, max(workers, getattr(data, "workers", 1) or 1))
    if hasattr(data, "__next__"):
        return Once(iter(data), steps is not None)
    again = Again(lambda: iter(data()), None, False) if not hasattr(data, "__iter__") else iterable(data)
    return again.endless() if steps is not None and goes_on else again


def is_table(data: Any) -> bool:
    """Whether this is one of Hugging Face's data sets, whose items are examples and not batches."""
    return hasattr(data, "column_names") and hasattr(data, "with_format") and callable(getattr(data, "iter", None))


def table(data: Any, size: int, steps: int | None, shuffle: Any, goes_on: bool) -> Supply:
    """Batches of a data set of examples; one that can only be read in order gives them in its order."""
    if hasattr(data, "__len__"):
        return Examples(data, size, shuffle, goes_on)
    again = Again(lambda: data.iter(size), None, False, getattr(data, "set_epoch", None))
    return again.endless() if steps is not None and goes_on else again


def iterable(data: Iterable[Any]) -> Again:
    """Batches of a loader."""
    target = data if hasattr(data, "set_epoch") else getattr(data, "sampler", None)
    return Again(lambda: iter(data), length(data), is_even(data), getattr(target, "set_epoch", None))


def length(data: Any) -> int | None:
    """The number of batches, if the loader knows it: TensorFlow's raise, or count -1 or less, where they do not."""
    try:
        found = len(data)
    except (TypeError, NotImplementedError):
        return None
    return found if 0 <= found < 2**31 else None


def is_even(data: Any) -> bool:
    """Whether all batches of a loader are known to have one size, as PyTorch's and TensorFlow's can say."""
    spec = getattr(data, "element_spec", None)
    if spec is not None:
        return all(s.shape.rank and s.shape[0] is not None for s in jax.tree.leaves(spec) if hasattr(s, "shape"))
    if getattr(data, "drop_last", None):
        return True
    size, examples = getattr(data, "batch_size", None), length(getattr(data, "dataset", None))
    return bool(size and examples and hasattr(data, "drop_last") and examples % size == 0)
