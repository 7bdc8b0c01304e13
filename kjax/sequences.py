"""Data sets that know their batches by number: what Keras 2 calls a `Sequence` and Keras 3 a `PyDataset`."""

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from typing import Any


class PyDataset:
    """Base of data sets that give batch `i` when asked for it: subclass it with `__len__` and `__getitem__`.

    `fit` asks for the batches in an order of its own for each epoch (`shuffle=False`: as they are numbered), and
    calls `on_epoch_begin` and `on_epoch_end` around each. A run that is resumed asks for just the batches that are
    left. The base is not needed: any object with the two methods will do.

    Args:
        workers: how many threads ask for batches; with more than one, `__getitem__` runs several times at once.
        use_multiprocessing, max_queue_size: of Keras; threads do the work, and how far they read ahead is bounded
            by memory.

    >>> import numpy as np, kjax
    >>> class Squares(PyDataset):
    ...     def __len__(self):
    ...         return 4
    ...     def __getitem__(self, i):
    ...         x = np.arange(8.0)[:, None] + 8 * i
    ...         return x, x**2
    >>> model = kjax.Sequential([kjax.layers.Dense(1, input_shape=(1,))])
    >>> model.compile("adam", "mse")
    >>> len(model.fit(Squares(), epochs=2, verbose=0).epoch)
    2
    """

    def __init__(self, workers: int = 1, use_multiprocessing: bool = False, max_queue_size: int = 10):
        self.workers, self.use_multiprocessing, self.max_queue_size = workers, use_multiprocessing, max_queue_size

    def __getitem__(self, index: int) -> Any:
        """Batch `index`: `(x, y)` or `(x, y, sample_weight)`."""
        raise NotImplementedError(f"{type(self).__name__} defines no __getitem__(self, index), which gives a batch")

    def __len__(self) -> int:
        """The number of batches."""
        raise NotImplementedError(f"{type(self).__name__} defines no __len__(self), the number of batches")

    def __iter__(self) -> Iterator[Any]:
        """The batches in order."""
        return (self[i] for i in range(len(self)))

    def on_epoch_begin(self) -> None:
        """Called before an epoch's first batch is asked for."""

    def on_epoch_end(self) -> None:
        """Called after an epoch's last batch was given; the place to shuffle the examples anew."""


Sequence = PyDataset
"""The name of Keras 2."""


def in_order(function: Callable[[Any], Any], items: Iterable[Any], workers: int) -> Iterator[Any]:
    """`map(function, items)` by several threads, at most twice as many items ahead; none of them outlives the end.

    The threads are daemons: a function that never returns does not keep the process from ending.
    """
    jobs: queue.SimpleQueue = queue.SimpleQueue()
    coming: deque[Future] = deque()
    threads = [threading.Thread(target=work, args=(function, jobs), daemon=True) for _ in range(workers)]
    for thread in threads:
        thread.start()
    try:
        for item in items:
            coming.append(Future())
            jobs.put((coming[-1], item))
            if len(coming) == 2 * workers:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()
    finally:
        for future in coming:
            future.cancel()
        for _ in threads:
            jobs.put(None)


def work(function: Callable[[Any], Any], jobs: queue.SimpleQueue) -> None:
    """What each of the threads does until it gets None."""
    while (job := jobs.get()) is not None:
        future, item = job
        if future.set_running_or_notify_cancel():
            try:
                future.set_result(function(item))
            except BaseException as error:
                future.set_exception(error)
