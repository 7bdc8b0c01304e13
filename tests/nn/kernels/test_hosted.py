"""Rows of arrays that lie where NumPy put them: the same bits as of copies, wherever they begin."""

import importlib
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kjax
from kjax import feed, native
from kjax.nn import kernels

module = importlib.import_module("kjax.nn.kernels.hosted")
SHAPES = {"float32": (30, 97), "int16": (30, 7, 25), "uint8": (3, 500), "int32": (999,)}
ROWS = jnp.array([0, -1, 1, 2, 29, 998, 2**31 - 1, 0], jnp.int32)


@pytest.fixture(autouse=True)
def small_ones_too(monkeypatch):
    """Arrays are left where they are from 128 bytes on, and without a library too: by the plain rule."""
    monkeypatch.setattr(module, "LEAST", 2 * module.END)
    if native.library() is None:
        monkeypatch.setattr(module, "native", SimpleNamespace(library=lambda: True))


def array(dtype, shape, offset):
    """Random numbers that begin so many bytes behind a multiple of 64."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    data = np.random.default_rng(0).integers(0, 256, size + 128, np.uint8)
    start = -data.ctypes.data % 64 + offset
    return data[start : start + size].view(dtype).reshape(shape)


@pytest.mark.parametrize("offset", [0, 4, 16, 60])
@pytest.mark.parametrize(("dtype", "shape"), SHAPES.items(), ids=SHAPES)
def test_rows_are_those_of_the_array(dtype, shape, offset):
    x = array(dtype, shape, offset)
    h = kernels.hosted(x)
    assert isinstance(h, kernels.HostArray) and len(h) == len(x)
    assert h.body.unsafe_buffer_pointer() == x.ctypes.data + int(h.offset)  # nothing was copied
    pieces = h.body, h.head, h.tail, h.offset, ROWS
    for got in (jax.jit(lambda h: h.take(ROWS))(h), module.plain(*pieces, shape=shape, dtype=x.dtype)[0]):
        assert np.asarray(got).tobytes() == x[np.clip(ROWS, 0, len(x) - 1)].tobytes()


def test_one_program_for_all_alignments():
    run = jax.jit(lambda h: h.take(ROWS))
    run_all = [run(kernels.hosted(array("float32", (30, 97), offset))) for offset in (0, 4, 60)]
    assert len(run_all) == 3 and run._cache_size() == 1
    program = run.lower(kernels.hosted(array("float32", (30, 97), 8))).as_text()
    assert ("kjax_take_hosted_rows" in program) == (native.library() is not None)


OTHERS = {
    "strided": lambda: np.ones((99, 4), np.float32)[:, :2],
    "other byte order": lambda: np.ones(999, ">f4"),
    "bool": lambda: np.ones(999, bool),
    "wide": lambda: np.ones(999, np.float64),
    "of JAX": lambda: jnp.ones(999),
    "small": lambda: np.ones(9, np.float32),
}


@pytest.mark.parametrize("made", OTHERS.values(), ids=OTHERS)
def test_what_cannot_be_left_is_itself(made):
    x = made()
    assert kernels.hosted(x) is x


def test_without_kernels_arrays_are_copied(monkeypatch):
    monkeypatch.setattr(module, "native", SimpleNamespace(library=lambda: None))
    x = array("float32", (30, 97), 0)
    assert kernels.hosted(x) is x and isinstance(feed.place((x,))[0], jax.Array)


def fitted(x, y):
    model = kjax.Sequential([kjax.layers.Dense(8, "tanh", input_shape=x.shape[1:]), kjax.layers.Dense(1)])
    model.compile("adam", "mse", metrics=["mae"])
    history = model.fit(x, y, batch_size=16, epochs=2, verbose=0, validation_data=(x, y), check_finite=True).history
    return history, model.get_weights(), model.evaluate(x, y, verbose=0), model.compile_report()


def test_training_gives_the_same_bits(monkeypatch):
    x, y = array("float32", (150, 4), 4), array("uint8", (150, 1), 3)
    x = np.nan_to_num(x, posinf=0, neginf=0).clip(-1, 1)
    assert isinstance(feed.place((x, y))[0], kernels.HostArray)
    hosted = fitted(x, y)
    monkeypatch.setattr(module, "LEAST", 2**30)
    copied = fitted(x, y)
    assert hosted[0] == copied[0] and hosted[2] == copied[2]
    jax.tree.map(np.testing.assert_array_equal, hosted[1], copied[1])
    functions = [[one.function for one in run[3] if one.function != "init"] for run in (hosted, copied)]
    assert functions[0] == functions[1]  # init is kept, perhaps from another test
