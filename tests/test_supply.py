"""Where batches come from: every kind can go on from any step of any pass, with the batches that are due there."""

import itertools

import jax
import numpy as np
import pytest

from kjax import supply
from kjax.streams import is_stream


class Reiterable:
    """Another order in each pass, out of a state of its own."""

    def __init__(self):
        self.rng = np.random.default_rng(3)

    def __iter__(self):
        return iter(self.rng.permutation(7).tolist())


class WithEpochs:
    """An order that `set_epoch` decides, as in PyTorch's and Hugging Face's."""

    epoch = 0

    def __iter__(self):
        return iter(np.random.default_rng(self.epoch).permutation(7).tolist())

    def set_epoch(self, epoch):
        self.epoch = epoch


class Shuffled:
    """By number; puts its own items in another order after each epoch."""

    def __init__(self):
        self.items, self.rng, self.begun = np.arange(7), np.random.default_rng(4), 0

    def __len__(self):
        return 7

    def __getitem__(self, i):
        return int(self.items[i])

    def on_epoch_begin(self):
        self.begun += 1

    def on_epoch_end(self):
        self.items = self.rng.permutation(self.items)


class Begins(Shuffled):
    """Puts its items in another order before each epoch, too."""

    def on_epoch_begin(self):
        self.items = self.rng.permutation(self.items)


class Table:
    """What `datasets.Dataset` can do."""

    column_names = ("x",)

    def __len__(self):
        return 7

    def __getitem__(self, rows):
        return np.arange(7)[rows].tolist()

    def with_format(self, kind):
        return self

    def iter(self, batch_size):
        raise AssertionError("a table is asked for rows")


KINDS = {
    "function": lambda: lambda: iter(range(7)),
    "reiterable": Reiterable,
    "set_epoch": WithEpochs,
    "numbered": Shuffled,
    "numbered, another order as it begins": Begins,
    "table": Table,
    "generator": lambda: iter(range(1000)),
}


def passes(made, steps, starts):
    """What passes give, of each the number of passes before and its first step."""
    made.peek()
    keys = jax.random.split(jax.random.key(0), 9)
    return [list(made.batches(keys[epoch], epoch, first, steps)) for epoch, first in starts]


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("goes_on", [False, True])
@pytest.mark.parametrize("steps", [None, 3, 9])
@pytest.mark.parametrize("kind", KINDS)
def test_a_pass_can_be_resumed_at_any_step(kind, steps, goes_on, shuffle, workers):
    if kind == "generator" and steps is None:
        steps = 5

    def made():
        size = 2 if kind == "table" else None
        return supply.supply(KINDS[kind](), steps, shuffle, goes_on, workers, size)

    whole = passes(made(), steps, [(0, 0), (1, 0), (2, 0), (3, 0)])
    for epoch, first in [(0, 0), (0, 2), (1, 0), (1, 3), (2, 1), (3, 3)]:
        later = passes(made(), steps, [(epoch, first), *((e, 0) for e in range(epoch + 1, 4))])
        assert later == [whole[epoch][first:], *whole[epoch + 1 :]]


def test_numbered_batches_come_once_in_a_pass_and_in_another_order_each_time():
    data = Shuffled()
    data.on_epoch_end = lambda: None
    found = passes(supply.supply(data, None, True, True), None, [(0, 0), (1, 0)])
    assert [sorted(own) for own in found] == [list(range(7))] * 2 and found[0] != found[1]
    assert data.begun == 2


def test_a_table_is_shuffled_by_example():
    found = passes(supply.supply(Table(), None, True, True, 1, 3), None, [(0, 0), (1, 0)])
    assert [sorted(itertools.chain(*own)) for own in found] == [list(range(7))] * 2
    assert found[0] != found[1] and sorted(found[0][0]) != [0, 1, 2]
    assert list(map(len, found[0])) == [3, 3, 1]


class Plain:
    """By number, without hooks; all batches lie in the same memory."""

    def __init__(self):
        self.buffer, self.asked = np.zeros(1, int), []

    def __len__(self):
        return 7

    def __getitem__(self, i):
        self.asked.append(i)
        self.buffer[:] = i
        return self.buffer


def test_the_first_batch_is_made_once():
    data = Plain()
    made = supply.supply(data, None, False, True)
    made.peek()
    assert [int(raw[0]) for raw in made.batches(None, 0, 0, None)] == list(range(7)) == data.asked


def test_a_look_at_the_last_batch_may_overwrite_the_first():
    made = supply.supply(Plain(), None, False, True)
    made.peek(), made.last()
    assert [int(raw[0]) for raw in made.batches(None, 0, 0, None)] == list(range(7))


def test_a_pass_that_was_left_begins_once():
    data = Shuffled()
    made = supply.supply(data, None, False, True)
    next(made.batches(None, 0, 0, None))
    list(made.batches(None, 1, 0, None))
    assert data.begun == 2


class Loader:
    def __init__(self, drop_last, n, batch_size=4):
        self.dataset, self.drop_last, self.batch_size = range(n), drop_last, batch_size

    def __iter__(self):
        return iter(range(0, len(self.dataset), self.batch_size))

    def __len__(self):
        return -(-len(self.dataset) // self.batch_size)


class Spec:
    class shape(tuple):
        rank = 2

    def __init__(self, *shape):
        self.shape = Spec.shape(shape)


class Endless:
    """`tf.data` in what matters: an endless one has no length."""

    def __init__(self, *spec):
        self.element_spec = spec

    def __iter__(self):
        return itertools.count()

    def __len__(self):
        raise TypeError("The dataset is infinite.")


@pytest.mark.parametrize(
    ("loader", "even", "length"),
    [
        (Loader(True, 7), True, 2), (Loader(False, 8), True, 2), (Loader(False, 7), False, 2),
        (Endless(Spec(4, 3), Spec(4, 1)), True, None), (Endless(Spec(None, 3), Spec(None, 1)), False, None),
    ],
)  # fmt: skip
def test_what_a_loader_says_of_itself(loader, even, length):
    found = supply.supply(loader, None, False, True)
    assert (found.even, found.length) == (even, length)


@pytest.mark.parametrize("data", [[1], (1,), {"a": 1}, np.ones(2), "text", None, 3.0, range(3), {1}])
def test_what_holds_the_data_is_no_stream(data):
    assert not is_stream(data)


@pytest.mark.parametrize("kind", KINDS)
def test_what_gives_batches_is_one(kind):
    assert is_stream(KINDS[kind]())
