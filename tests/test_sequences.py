"""Data sets that know their batches by number, and the threads that ask for them."""

import threading
import time

import numpy as np
import pytest

import kjax
from kjax.sequences import in_order


def ended(before):
    """Whether there are soon no more threads than before."""
    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    return threading.active_count() == before


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
    assert ended(before)


class Misshapen(kjax.utils.Sequence):
    """One batch has another shape; two threads ask."""

    def __init__(self):
        super().__init__(workers=2)

    def __len__(self):
        return 40

    def __getitem__(self, i):
        return np.ones((2, 4 if i == 4 else 3), "float32"), np.ones((2, 1), "float32")


@pytest.mark.parametrize("method", ["fit", "predict"])
def test_no_thread_lives_as_long_as_an_error(method):
    before = threading.active_count()
    model = kjax.Sequential([kjax.layers.Dense(1, input_shape=(3,))])
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="of the data: x has examples") as kept:
        getattr(model, method)(Misshapen(), verbose=0)
    assert kept.value.__traceback__ and ended(before)
