"""Data sets that know their batches by number, and the threads that ask for them."""

import threading
import time

import pytest

import kjax
from kjax.sequences import in_order


def test_the_base_says_what_is_missing():
    assert kjax.utils.Sequence is kjax.utils.PyDataset
    with pytest.raises(NotImplementedError, match="defines no __len__"):
        len(kjax.utils.PyDataset(workers=2))
    with pytest.raises(NotImplementedError, match="defines no __getitem__"):
        kjax.utils.PyDataset()[0]


def test_threads_keep_the_order_work_at_once_and_end():
    before, together = threading.active_count(), threading.Barrier(3, timeout=20)

    def function(i):
        together.wait()  # passes only when three are in here
        return i * i

    assert list(in_order(function, range(9), 3)) == [i * i for i in range(9)]
    found = in_order(lambda i: 1 // (3 - i), range(9), 2)
    assert [next(found) for _ in range(3)] == [0, 0, 1]
    with pytest.raises(ZeroDivisionError):
        next(found)
    unfinished = in_order(lambda i: i, range(9), 2)
    next(unfinished)
    unfinished.close()
    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() == before
