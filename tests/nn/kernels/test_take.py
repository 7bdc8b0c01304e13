"""Rows taken natively and in XLA: the same bits, in every dtype and mode."""

import doctest
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from kjax import native
from kjax.nn.kernels import take_rows

module = importlib.import_module("kjax.nn.kernels.take")
DTYPES = ["float32", "float64", "bfloat16", "float16", "int32", "int8", "uint8", "bool", "complex64"]


def compiled(array, rows):
    run = jax.jit(lambda *a: take_rows(*a))
    return run(array, rows), "kjax_take_rows" in run.lower(array, rows).as_text()


@pytest.mark.parametrize("dtype", DTYPES)
def test_same_bits_in_every_dtype(dtype):
    with jax.enable_x64(True):
        array = jnp.asarray(np.random.default_rng(0).integers(0, 9, (7, 3, 5)), dtype)
        rows = jnp.array([3, -1, 6, 3, 0, 7, -(2**31), 2**31 - 1], jnp.int32)
        got, natively = compiled(array, rows)
    assert natively == (native.library() is not None) and got.dtype == array.dtype
    np.testing.assert_array_equal(got, np.asarray(array)[[3, 0, 6, 3, 0, 6, 0, 6]])


@pytest.mark.parametrize(("n", "width", "count"), [(1, 1, 1), (300, 784, 129), (5, 40_000, 3), (9, 1, 1000)])
def test_all_parts_are_copied(n, width, count):
    rng = np.random.default_rng(0)
    array, rows = rng.random((n, width), np.float32), rng.integers(0, n, count, np.int32)
    np.testing.assert_array_equal(compiled(array, rows)[0], array[rows])
    np.testing.assert_array_equal(compiled(array[:, 0], rows)[0], array[rows, 0])


UNKNOWN = {
    "no columns": lambda: (np.ones((3, 0), np.float32), [1]),
    "no rows": lambda: (np.ones((3, 2), np.float32), []),
    "half bytes": lambda: (jnp.ones(3, jnp.int4), [1]),
    "keys": lambda: (jax.random.split(jax.random.key(0), 3), [1]),
}


@pytest.mark.parametrize("made", UNKNOWN.values(), ids=UNKNOWN)
def test_what_the_kernel_does_not_know_is_left_to_xla(made):
    array, rows = made()
    got, natively = compiled(array, jnp.array(rows, jnp.int32))
    assert not natively and got.shape == (len(rows), *array.shape[1:]) and got.dtype == jnp.asarray(array).dtype


def test_every_mode_and_order():
    with jax.enable_x64(True):
        x, rows = jnp.asarray(np.random.default_rng(0).standard_normal((4, 2))), jnp.array([3, 0, 3], jnp.int32)
        check_grads(lambda x: jnp.sin(take_rows(x, rows)) * take_rows(x * x, rows), (x,), order=2)
        both = jnp.stack([rows, rows + 1])
        np.testing.assert_array_equal(jax.vmap(take_rows, (None, 0))(x, both), x[both.clip(0, 3)])
        np.testing.assert_array_equal(jax.vmap(take_rows, (1, None))(x, rows), x.T[:, rows])


def test_examples_in_the_docstrings():
    result = doctest.testmod(module)
    assert result.attempted and not result.failed
