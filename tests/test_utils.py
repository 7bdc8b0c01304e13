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
def test_kept_pages_are_touched_once():
    program = """
import resource, sys, kjax
kept = kjax.utils.keep_pages() if sys.argv[1] == "keep" else None
import jax, jax.numpy as jnp
run = jax.jit(lambda x: jax.lax.optimization_barrier(x * 2).sum())  # a temporary of 40 MB
x = jax.block_until_ready(jnp.ones(10_000_000))
def faults():
    jax.block_until_ready(run(x))
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
faults(), faults()
before = faults()
for _ in range(5): after = faults()
print(after - before, kept)
"""
    plain, kept = (
        subprocess.run([sys.executable, "-c", program, how], capture_output=True, text=True, check=True).stdout.split()
        for how in ("leave", "keep")
    )
    assert plain[1] == "None" and (kept[1] == "False" or int(kept[0]) < int(plain[0]) / 4)
