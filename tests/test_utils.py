"""Keras's helpers against Keras's."""

import subprocess
import sys

import keras
import numpy as np
import pytest

from kjax.utils import normalize, to_categorical


@pytest.mark.parametrize("y", [[0, 2, 1], [[0], [3]], [[0, 1], [2, 2]], np.array([1, 0], "uint8"), 2, [1.0, 0.0]])
@pytest.mark.parametrize("num_classes", [None, 5])
def test_to_categorical_is_keras(y, num_classes):
    wanted = keras.utils.to_categorical(np.asarray(y), num_classes)
    got = to_categorical(y, num_classes)
    np.testing.assert_array_equal(got, wanted)
    assert (
        got.shape == wanted.shape
        and got.dtype == np.float32
        and to_categorical(y, num_classes, "int8").dtype == np.int8
    )


@pytest.mark.parametrize("y", [[-1, 0], [0, 5], [0.5]])
def test_to_categorical_refuses(y):
    with pytest.raises(ValueError, match="to_categorical: y holds"):
        to_categorical(y, 5)


@pytest.mark.parametrize("options", [{}, {"axis": 2}, {"axis": 1, "order": 1}])
def test_normalize_is_keras(options):
    x = np.random.default_rng(0).standard_normal((4, 3, 2))
    x[0] = 0
    np.testing.assert_allclose(
        normalize(x, **options), keras.utils.normalize(x, **options), rtol=1e-6
    )  # Keras: float32


@pytest.mark.skipif(sys.platform != "linux", reason="a setting of glibc")
def test_kept_memory_comes_from_the_heap():
    """A block of 64 MB is mapped apart and handed back at once, or lies in the heap and stays there: glibc tells."""
    program = """
import ctypes, sys, kjax
kept = kjax.utils.keep_pages() if sys.argv[1] == "keep" else None
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()
class Counts(ctypes.Structure):  # malloc.h, mallinfo
    _fields_ = [(name, ctypes.c_int) for name in names]
libc.mallinfo.restype = Counts
before = libc.mallinfo()
block = libc.malloc(64 * 2**20)
mapped = libc.mallinfo().hblkhd - before.hblkhd
libc.free(block)
print(kept, mapped >> 20, libc.mallinfo().arena - before.arena >> 20)
"""
    plain, kept = (
        subprocess.run([sys.executable, "-c", program, how], capture_output=True, text=True, check=True).stdout.split()
        for how in ("leave", "keep")
    )
    assert plain == ["None", "64", "0"] and kept[:2] == ["True", "0"] and int(kept[2]) >= 64
