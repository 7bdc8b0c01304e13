"""Data that does not stay on the device arrives in chunks, and changes no number."""

import subprocess
import sys
import threading
import tracemalloc

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kjax
from kjax import data as arrays
from kjax import feed, reader
from kjax.layers import Dense


def fitted(x, y, weight=None, **options):
    model = kjax.Sequential([Dense(8, activation="tanh", input_shape=x.shape[1:]), Dense(1)])
    model.compile("adam", "mse", metrics=["mae"])
    options = {"batch_size": 16, "epochs": 2, "verbose": 0, "validation_data": (x, y), **options}
    history = model.fit(x, y, sample_weight=weight, **options)
    return history.history, model.get_weights(), model.evaluate(x, y, batch_size=16, verbose=0)


def data(n=150):
    rng = np.random.default_rng(0)
    return rng.random((n, 4), np.float32), rng.random((n, 1), np.float32), rng.random(n, np.float32)


@pytest.fixture
def small_memory(monkeypatch):
    monkeypatch.setattr(feed, "memory", lambda: 100)
    monkeypatch.setattr(feed, "CHUNK_BYTES", 16 * 4 * 6 * 3)  # three steps


@pytest.mark.exact
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n", [150, 160, 7])
def test_chunks_give_the_same_bits(n, weighted, small_memory, monkeypatch):
    x, y, weight = data(n)
    weight = weight if weighted else None
    assert not isinstance(feed.place((x, y))[0], jax.Array)
    in_chunks = fitted(x, y, weight)
    monkeypatch.undo()
    assert isinstance(feed.place((x, y))[0], jax.Array)
    at_once = fitted(x, y, weight)
    assert in_chunks[0] == at_once[0] and in_chunks[2] == at_once[2]
    jax.tree.map(np.testing.assert_array_equal, in_chunks[1], at_once[1])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_mapped_file_stays_a_file(tmp_path, dtype):
    x, y, _ = data()
    np.save(tmp_path / "x.npy", x.astype(dtype))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert feed.place((mapped[3:], y))[0].base is not None and feed.is_mapped(mapped[3:]) and not feed.is_mapped(x)
    assert fitted(mapped, y)[0] == fitted(x, y)[0]


def test_a_mapped_file_in_another_byte_order_is_refused(tmp_path):
    x, y, _ = data()
    np.save(tmp_path / "x.npy", x.astype(">f4"))
    with pytest.raises(TypeError, match=r"x is a memory-mapped file of >f4, .*write it anew with .astype\('float32'\)"):
        fitted(np.load(tmp_path / "x.npy", mmap_mode="r"), y)


def test_every_chunk_has_one_shape_and_all_rows_come_once(small_memory):
    x, y = np.arange(150.0, dtype=np.float32)[:, None], np.zeros((150, 1), np.float32)
    order = np.random.default_rng(1).permutation(150)
    rows = kjax.data.batch_rows(150, 16, order)
    blocks = list(feed.blocks((x, y), rows))
    assert len({(b.data[0].shape, b.rows.shape, b.padded) for b in blocks}) == 1 and len(blocks) == 2
    steps = [np.asarray(b.data[0])[r][r >= 0, 0] for b in blocks for r in np.asarray(b.rows)[b.start : b.stop]]
    np.testing.assert_array_equal(np.concatenate(steps), order)


@pytest.mark.parametrize("first", [0, 1, 3, 5, 9, 10])
@pytest.mark.parametrize("pad", [True, False])
@pytest.mark.parametrize("resident", [True, False])
def test_steps_that_are_done_are_left_out(resident, pad, first, monkeypatch):
    monkeypatch.setattr(feed, "CHUNK_BYTES", 16 * 8 * 3)
    x, y = np.arange(150.0, dtype=np.float32)[:, None], np.zeros((150, 1), np.float32)
    rows = kjax.data.batch_rows(150, 16, pad=pad)
    data = (jax.device_put(x), jax.device_put(y)) if resident else (x, y)
    blocks = list(feed.blocks(data, rows, first))
    steps = [np.asarray(b.data[0])[r][r >= 0, 0] for b in blocks for r in np.asarray(b.rows)[b.start : b.stop]]
    assert len(steps) == 10 - first
    np.testing.assert_array_equal(np.concatenate([np.zeros(0), *steps]), np.arange(first * 16, 150))


def test_an_error_in_the_thread_arrives(small_memory):
    def broken():
        yield 1
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        list(feed.ahead(broken()))


def read(batches):
    return reader.Reader(batches, 4, pad=True, even=True).blocks()


@pytest.mark.parametrize("through", [feed.ahead, read])
def test_threads_have_the_settings_of_their_caller(through):
    seen = []

    def batches():
        device = jax.config.jax_default_device
        seen.append((threading.current_thread(), device, kjax.data.narrowed(np.ones(1)).dtype, jnp.ones(1).dtype))
        yield [np.ones((4, 1))]

    with jax.default_device(jax.devices()[0]), jax.enable_x64(True):
        assert list(through(batches()))
    ((thread, *settings),) = seen
    assert thread is not threading.current_thread() and settings == [jax.devices()[0], np.float64, np.float64]


def trained(sizes, monkeypatch, room):
    """The weights and losses of fits on data of several lengths, and the functions that compiled for them."""
    monkeypatch.setattr(feed, "ROOMY_BYTES", room)
    x = np.random.default_rng(0).random((max(sizes), 5), np.float32)
    y = np.arange(max(sizes)) % 3
    first = Dense(sizes[0], input_shape=(5,))  # equal networks would share their programs
    model = kjax.Sequential([first, Dense(3, activation="softmax")])
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    logs = [model.fit(x[:n], y[:n], 10, verbose=0, validation_data=(x[:n], y[:n])).history for n in sizes]
    return model.get_weights(), logs, [one.function for one in model.compile_report()]


@pytest.mark.filterwarnings("ignore::kjax.RecompileWarning")
@pytest.mark.parametrize(("sizes", "programs"), [((70, 100, 120), 1), ((69, 98, 121), 1), ((60, 70), 2)])
def test_small_data_of_other_lengths_compiles_nothing_and_changes_no_bit(sizes, programs, monkeypatch):
    *roomy, compiled = trained(sizes, monkeypatch, feed.ROOMY_BYTES)
    assert compiled.count("train_rows") == compiled.count("eval_rows") == programs
    *exact, compiled = trained(sizes, monkeypatch, 0)
    assert compiled.count("train_rows") == len(sizes)
    jax.tree.map(np.testing.assert_array_equal, roomy, exact)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_stays_at_a_few_chunks(tmp_path):
    program = f"""
import re, numpy as np, kjax
from kjax.layers import Dense
x = np.lib.format.open_memmap({str(tmp_path / "x.npy")!r}, "w+", "float32", (100_000, 1000))
y = np.zeros((100_000, 1), "float32")
kjax.feed.CHUNK_BYTES = 8 * 2**20
model = kjax.Sequential([Dense(1, input_shape=(1000,))])
model.compile("sgd", "mse")
model.fit(x[:2000], y[:2000], batch_size=500, verbose=0)
own = lambda: int(re.search(r"RssAnon:\\s+(\\d+)", open("/proc/self/status").read())[1]) // 1024
class Most(kjax.callbacks.Callback):
    most = 0
    def on_train_batch_end(self, batch, logs=None):
        self.most = max(self.most, own())
before, most = own(), Most()
model.fit(x, y, batch_size=500, verbose=0, callbacks=[most])
print(most.most - before)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 100  # of 381 MB: a few chunks of 8 MB, and what the allocator keeps


def test_a_file_is_searched_for_nan_in_pieces():
    large = np.broadcast_to(np.float32(1), (1 << 14, 1000))  # as a file: it is nowhere in memory
    tracemalloc.start()
    arrays.check_finite(x=large)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < large.nbytes / 8
    x = np.zeros((5, 1 << 21), "float16")  # two rows a piece
    x[[3, 4], 7] = np.nan
    with pytest.raises(ValueError, match="x holds NaN or infinity in 2 of 5 examples, the first in row 3"):
        arrays.check_finite(x=x)
