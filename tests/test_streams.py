"""Batches that come from anywhere train as arrays do: same numbers, nothing lost, nothing left running."""

import itertools
import os
import signal
import subprocess
import sys
import threading
import time

import jax
import numpy as np
import pytest

import kjax
from kjax import reader, train
from kjax.layers import BatchNormalization, Dense, Dropout


def data(n=150, seed=0):
    rng = np.random.default_rng(seed)
    return rng.random((n, 4), np.float32), rng.random((n, 1), np.float32), rng.random(n, np.float32)


def batches(x, y, size=16, weight=None):
    for i in range(0, len(x), size):
        yield (x[i : i + size], y[i : i + size], *([] if weight is None else [weight[i : i + size]]))


class Numbered(kjax.utils.Sequence):
    """The same batches by number; counts what it is asked for."""

    def __init__(self, x, y, size=16):
        super().__init__()
        self.x, self.y, self.size, self.asked, self.ended = x, y, size, [], 0

    def __len__(self):
        return -(-len(self.x) // self.size)

    def __getitem__(self, i):
        self.asked.append(i)
        return tuple(a[i * self.size : (i + 1) * self.size] for a in (self.x, self.y))

    def on_epoch_end(self):
        self.ended += 1


class Loader:
    """An iterable with another order in each pass, as PyTorch's: decided by a state of its own."""

    def __init__(self, x, y, size=16):
        self.x, self.y, self.size, self.rng = x, y, size, np.random.default_rng(5)

    def __iter__(self):
        order = self.rng.permutation(len(self.x))
        return batches(self.x[order], self.y[order], self.size)


def model(loss="mse", **options):
    made = kjax.Sequential(
        [Dense(8, activation="tanh", input_shape=(4,)), BatchNormalization(), Dropout(0.2), Dense(1)]
    )
    made.compile("adam", loss, metrics=["mae"], **options)
    return made


def assert_same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a.get_weights(), b.get_weights())


@pytest.fixture(autouse=True)
def nothing_is_left_running():
    before = set(threading.enumerate())
    yield
    deadline = time.monotonic() + 5
    while (left := set(threading.enumerate()) - before) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not left


# The same numbers as arrays.

STREAMS = {
    "a function": lambda x, y: lambda: batches(x, y),
    "a list's iterator": lambda x, y: iter(list(batches(x, y))),
    "numbered": lambda x, y: Numbered(x, y),
}


@pytest.mark.exact
@pytest.mark.parametrize("kind", STREAMS)
def test_a_stream_gives_the_bits_of_arrays(kind):
    x, y, _ = data(150)
    ours, theirs = model(), model()
    options = {"epochs": 1 if kind == "a list's iterator" else 2, "verbose": 0, "shuffle": False}
    a = ours.fit(STREAMS[kind](x, y), validation_data=lambda: batches(x, y), **options).history
    b = theirs.fit(x, y, batch_size=16, validation_data=(x, y), **options).history
    assert a == b
    assert_same(ours, theirs)
    assert ours.evaluate(STREAMS[kind](x, y), verbose=0) == theirs.evaluate(x, y, 16, 0)
    np.testing.assert_array_equal(ours.predict(STREAMS[kind](x, y)), theirs.predict(x, 16))


@pytest.mark.exact
@pytest.mark.parametrize("kind", ["an endless generator", "numbered"])
def test_full_batches_give_the_bits_of_arrays(kind):
    x, y, _ = data(160)
    ours, theirs = model(), model()
    stream = Numbered(x, y) if kind == "numbered" else (b for _ in itertools.count() for b in batches(x, y))
    a = ours.fit(stream, steps_per_epoch=10, epochs=2, verbose=0, shuffle=False).history
    b = theirs.fit(x, y, batch_size=16, epochs=2, verbose=0, shuffle=False).history
    assert a == b
    assert_same(ours, theirs)


def test_weights_in_a_stream_and_of_classes_multiply():
    x, _, weight = data(40)
    labels = np.arange(40) % 3
    made = kjax.Sequential([Dense(3, activation="softmax", input_shape=(4,))])
    made.compile(kjax.optim.SGD(0.0), "sparse_categorical_crossentropy")
    value = -np.log(made.predict(x)[np.arange(40), labels])
    classes = np.array([1.0, 5.0, 0.5])[labels]
    stream = lambda: batches(x, labels, 16, weight)  # noqa: E731
    options = {"verbose": 0, "class_weight": {1: 5.0, 2: 0.5}, "validation_data": stream}
    history = made.fit(stream, **options).history
    # The divisor is the number of examples, 40, and not the sum of the weights.
    np.testing.assert_allclose(history["loss"][0], (value * weight * classes).sum() / 40, rtol=1e-6)
    np.testing.assert_allclose(history["val_loss"][0], (value * weight).sum() / 40, rtol=1e-6)
    arrays = made.fit(x, labels, sample_weight=weight, verbose=0, validation_data=(x, labels, weight)).history
    np.testing.assert_allclose(arrays["val_loss"][0], (value * weight).sum() / 40, rtol=1e-6)


def test_batches_of_a_graph_come_as_dicts_by_name():
    a, b = kjax.Input(shape=(4,), name="a"), kjax.Input(shape=(1,), name="b")
    made = kjax.Model([a, b], {"p": Dense(1)(a), "q": Dense(1)(b)})
    made.compile("sgd", {"p": "mse", "q": "mae"})
    x, y, _ = data(40)
    flat = lambda: ({"a": u, "b": v, "p": v, "q": v} for u, v in batches(x, y))  # noqa: E731
    nested = lambda: (({"a": u, "b": v}, {"p": v, "q": v}) for u, v in batches(x, y))  # noqa: E731
    assert made.evaluate(flat, verbose=0) == made.evaluate(nested, verbose=0)
    np.testing.assert_array_equal(made.predict(flat)["p"], made.predict(nested)["p"])
    options = {"verbose": 0, "return_dict": True}
    once = made.evaluate(nested, **options)
    weighted = lambda: ((u, v, {"q": np.full(len(v["q"]), 3.0)}) for u, v in nested())  # noqa: E731
    np.testing.assert_allclose(made.evaluate(weighted, **options)["q_loss"], 3 * once["q_loss"], rtol=1e-6)
    assert made.evaluate(weighted, **options)["p_loss"] == once["p_loss"]


def test_a_loss_that_needs_the_whole_batch_sees_just_the_batch():
    x, y, _ = data(70)
    whole = lambda a, b: ((a - b) ** 2).mean()  # noqa: E731
    ours, theirs = model(whole), model(whole)
    assert ours.fit(lambda: batches(x, y), verbose=0).history == (
        theirs.fit(x, y, batch_size=16, shuffle=False, verbose=0).history
    )
    assert_same(ours, theirs)


# How many steps there are.


def seen_by(steps, epochs, stream):
    """The first feature of each batch that a model is trained on, by epoch."""
    made = kjax.Sequential([Dense(1, input_shape=(1,))])
    made.compile("sgd", "mse")
    found = []
    original = made.compiled.train_rows

    def train_rows(state, totals, data, rows, start, stop, padded):
        found.extend(np.asarray(data[0])[np.asarray(rows)[int(start) : int(stop), 0], 0].astype(int).tolist())
        return original(state, totals, data, rows, start, stop, padded=padded)

    made.compiled.train_rows = train_rows
    done = made.fit(stream, steps_per_epoch=steps, epochs=epochs, verbose=0, shuffle=False)
    return found, len(done.epoch)


def ones(numbers):
    """A batch of two examples for each number."""
    return ((np.full((2, 1), i, "float32"), np.zeros((2, 1), "float32")) for i in numbers)


class Five(kjax.utils.PyDataset):
    def __len__(self):
        return 5

    def __getitem__(self, i):
        return next(ones([i]))


@pytest.mark.parametrize("stream", [lambda: ones(range(5)), Five()], ids=["again", "numbered"])
@pytest.mark.parametrize(
    ("steps", "wanted"), [(None, [0, 1, 2, 3, 4] * 3), (3, [0, 1, 2, 3, 4, 0, 1, 2, 3]), (7, [0, 1, 2, 3, 4] * 4 + [0])]
)
def test_epochs_of_a_number_of_steps_go_on(stream, steps, wanted):
    assert seen_by(steps, 3, stream) == (wanted, 3)


def test_a_generator_goes_on_from_epoch_to_epoch():
    assert seen_by(3, 3, ones(itertools.count())) == (list(range(9)), 3)
    assert seen_by(None, 1, ones(range(5))) == (list(range(5)), 1)


def test_data_that_ends_too_early_is_trained_on_and_said():
    with pytest.warns(UserWarning, match="x ended after 2 of 3 steps"):
        assert seen_by(3, 4, ones(range(5))) == (list(range(5)), 2)
    made = model()
    x, y, _ = data(48)
    with pytest.warns(UserWarning, match=r"validation_data ended after 3 of 5 steps \(validation_steps=5\)"):
        made.fit(x, y, verbose=0, validation_data=lambda: batches(x, y), validation_steps=5)
    with pytest.warns(UserWarning, match="ended after 3 of 4 steps"):
        made.evaluate(batches(x, y), steps=4, verbose=0)


def test_an_epoch_without_any_data_is_an_error_that_names_the_fix():
    with pytest.raises(ValueError, match=r"no batch left for pass 2.*fit\(batches\) instead of fit\(batches\(\)\)"):
        seen_by(5, 2, ones(range(5)))


def test_validation_of_some_steps_begins_from_the_start_and_not_each_epoch():
    x, y, _ = data(70)
    made = model()
    options = {"verbose": 0, "batch_size": 16, "epochs": 5, "validation_data": (x, y), "validation_steps": 2}
    history = made.fit(x, y, validation_freq=np.int64(2), **options).history
    assert len(history["val_loss"]) == 2
    history = made.fit(x, y, validation_freq=[1, 5], validation_batch_size=8, **options).history
    assert len(history["val_loss"]) == 2
    assert history["val_loss"][-1] == made.evaluate(x[:16], y[:16], 8, 0)[0]
    split = {"verbose": 0, "validation_split": 0.5, "validation_steps": 2, "validation_batch_size": 8}
    assert made.fit(x, y, **split).history["val_loss"][-1] == made.evaluate(x[35:51], y[35:51], 8, 0)[0]
    streamed = made.evaluate(lambda: batches(x, y, 8), steps=2, verbose=0)
    np.testing.assert_allclose(streamed, made.evaluate(x[:16], y[:16], 8, 0), rtol=1e-6)


def test_arrays_take_steps_too():
    x, y = np.arange(10.0)[:, None], np.zeros((10, 1))
    source = kjax.sources.ArraySource((x, y), 2, False, 3)
    rows = [np.asarray(b.rows)[b.start : b.stop].ravel().tolist() for e in range(3) for b in source.blocks(None, e)]
    assert rows == [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 0, 1], [2, 3, 4, 5, 6, 7]]
    assert model().predict(np.ones((10, 4)), batch_size=2, steps=3).shape == (6, 1)


# On the way to the device.


@pytest.fixture
def traces(monkeypatch):
    counts = {"train_rows": 0, "eval_rows": 0}
    for name in counts:
        original = getattr(train.Trainer, name)

        def counted(*args, name=name, method=original, **kwargs):
            counts[name] += 1
            return method(*args, **kwargs)

        counted.__name__ = name
        monkeypatch.setattr(train.Trainer, name, counted)
    return counts


def test_nothing_compiles_again_from_block_to_block(traces, monkeypatch):
    monkeypatch.setattr(reader, "BLOCK_BYTES", 16 * 4 * 5 * 4)  # four steps
    x, y, _ = data(150)
    made = kjax.Sequential([Dense(3, input_shape=(4,)), Dense(1, name="of_this_test")])
    made.compile("sgd", "mse")
    made.fit(lambda: batches(x, y), epochs=3, verbose=0, validation_data=lambda: batches(x, y))
    assert traces == {"train_rows": 1, "eval_rows": 1}


def test_arrays_that_the_generator_fills_again_are_copied():
    x, y, _ = data(160)

    def generator():
        own_x, own_y = np.empty((16, 4), np.float32), np.empty((16, 1), np.float32)
        for u, v in batches(x, y):
            own_x[:], own_y[:] = u, v
            yield own_x, own_y
            own_x[:] = own_y[:] = np.nan

    assert model().fit(generator, verbose=0).history == model().fit(lambda: batches(x, y), verbose=0).history


class Counted(kjax.callbacks.Callback):
    """How many batches were trained on; calls a function after some number of them."""

    between_steps = False

    def __init__(self, at=None, act=None):
        self.count, self.at, self.act = 0, at, act

    def on_train_batch_end(self, batch, logs=None):
        self.count += 1
        if self.count == self.at:
            self.act(self)


def test_a_slow_generator_delays_no_step():
    x, y, _ = data(16)
    trained = threading.Event()
    counted = Counted(3, lambda self: trained.set())

    def generator():
        for i in range(6):
            # The last three are given once the first three have been trained on: they did not wait for more.
            assert i < 3 or trained.wait(20)
            yield x, y

    model().fit(generator, verbose=0, callbacks=[counted])
    assert counted.count == 6


# What goes wrong.


def broken(at, error):
    x, y, _ = data(16)
    for i in range(10):
        if i == at:
            raise error
        yield x, y


@pytest.mark.parametrize("error", [OSError("the disk is gone"), KeyError("name"), SystemExit(3)], ids=repr)
@pytest.mark.parametrize("at", [0, 7])
def test_an_error_of_the_generator_arrives_as_itself(at, error):
    counted = Counted()
    with pytest.raises(type(error)) as caught:
        model().fit(broken(at, error), verbose=0, callbacks=[counted])
    assert caught.value is error and counted.count == at
    if isinstance(error, Exception):
        said = "the first batch" if at == 0 else f"batch {at} "
        assert any(said in note for note in error.__notes__)
    assert any(frame.name == "broken" for frame in caught.traceback)


X, Y, _ = data(16)
WRONG = {
    "other features": ((X[:, :3], Y), "batch 2 of the data: x has examples of shape (3,), but the network takes (4,)"),
    "other lengths": ((X, Y[:3]), "batch 2 of the data: different numbers of examples: x has 16, y has 3"),
    "weights at once": ((X, Y, np.ones(16)), "batch 2 of the data: it is (x, y, sample_weight), but the first batch was (x, y)"),
    "another dtype": (((X * 9).astype("uint8"), Y * 1j), "batch 2 of the data: y holds complex numbers"),
    "no targets": ((X,), "batch 2 of the data: y is None"),
    "an array": (X, "batch 2 of the data: a batch is (x, y) or (x, y, sample_weight); got ndarray"),
    "four parts": ((X, Y, Y, Y), "got tuple of 4"),
    "nothing": (None, "got NoneType"),
    "empty": ((X[:0], Y[:0]), "batch 2 of the data: x is empty"),
    "NaN": ((X * np.nan, Y), "batch 2 of the data: x holds NaN or infinity in 16 of 16 examples"),
}  # fmt: skip


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_batch_is_named_by_its_number(kind):
    batch, message = WRONG[kind]
    counted = Counted()
    with pytest.raises((ValueError, TypeError)) as caught:
        model().fit(iter([(X, Y), (X, Y), batch]), verbose=0, callbacks=[counted], check_finite=True)
    assert message in str(caught.value) and counted.count == 2


def test_whole_numbers_first_and_fractions_later_are_refused_and_not_cut():
    made = kjax.Sequential([Dense(1, input_shape=(4,))])
    made.compile("sgd", "mse")
    with pytest.raises(TypeError, match="batch 1 of the data: it holds float32, but the first batch held int32"):
        made.fit(iter([(X.astype("int32"), Y), (X, Y)]), verbose=0)
    made.fit(iter([(X, Y), (X.astype("int32"), Y.astype("float64"))]), verbose=0)


# Nothing hangs (the fixture looks for threads).


def endless():
    while True:
        yield X, Y


def test_stopping_leaves_no_thread():
    counted = Counted(3, lambda self: setattr(self.model, "stop_training", True))
    model().fit(endless(), verbose=0, callbacks=[counted])

    def fail(self):
        raise RuntimeError("of the callback")

    with pytest.raises(RuntimeError, match="of the callback"):
        model().fit(endless(), verbose=0, callbacks=[Counted(3, fail)], validation_data=endless(), validation_steps=2)


def test_ctrl_c_ends_a_run_whose_data_lets_wait(capsys):
    go_on = threading.Event()

    def generator():
        yield X, Y
        os.kill(os.getpid(), signal.SIGINT)
        go_on.wait(20)
        yield X, Y

    began = time.monotonic()
    model().fit(generator(), verbose=0)
    assert time.monotonic() - began < 15 and "Interrupted in epoch 1" in capsys.readouterr().err
    go_on.set()


def test_a_generator_that_blocks_for_ever_does_not_keep_the_process():
    program = """
import os, signal, threading, numpy as np, kjax
def generator():
    yield np.ones((2, 3)), np.ones((2, 1))
    os.kill(os.getpid(), signal.SIGINT)
    threading.Event().wait()
model = kjax.Sequential([kjax.layers.Dense(1, input_shape=(3,))])
model.compile("sgd", "mse")
model.fit(generator(), verbose=0)
print("the end")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "the end\n"


def test_weights_per_time_step_come_in_batches():
    made = kjax.Sequential([Dense(1, input_shape=(3, 2))])
    made.compile(kjax.optim.SGD(0.0), "mse", sample_weight_mode="temporal")
    rng = np.random.default_rng(0)
    x, y, weight = (rng.random(shape, np.float32) for shape in ((5, 3, 2), (5, 3, 1), (5, 3)))
    value = (made.predict(x) - y)[..., 0] ** 2
    got = made.evaluate(lambda: batches(x, y, 2, weight), verbose=0)
    np.testing.assert_allclose(got, (value * weight).sum() / 15, rtol=1e-6)


def test_the_older_names_take_generators():
    made = model()
    history = made.fit_generator(endless(), 3, 2, verbose=0, max_queue_size=4, workers=2, use_multiprocessing=True)
    assert len(history.epoch) == 2 and int(made.state.step) == 6
    assert made.evaluate_generator(endless(), 2) == made.evaluate(X, Y, verbose=0)
    assert made.predict_generator(endless(), steps=2).shape == (32, 1)
