"""Keys whose numbers our kernels make: JAX's to the last bit, in programs and outside."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kjax import Sequential, layers, native
from kjax.nn.kernels import is_key, quick, usual

SEEDS = [0, 5, 2**32 - 1]


def numbers(key):
    """Some of everything."""
    key, other = jax.random.split(jax.random.fold_in(key, jnp.int32(7)))
    keys = jax.random.split(other, (3, 2))
    drawn = [
        jax.random.normal(key, (1000,)),
        jax.random.uniform(key, (40_000,)),
        jax.random.truncated_normal(keys[2, 1], -2, 2, (5, 7)),
        jax.random.randint(key, (9,), 0, 100),
        jax.random.permutation(key, 20),
        jax.random.bits(key, (4,), "uint8"),
        jax.random.normal(key),
        jax.random.uniform(key, (0, 3)),
        jax.vmap(lambda key: jax.random.uniform(jax.random.fold_in(key, 1), 3))(keys[0]),
    ]
    return [*drawn, *map(jax.random.key_data, (key, other, keys))]


@pytest.mark.parametrize("seed", SEEDS)
def test_same_bits_as_jax(seed):
    run, key = jax.jit(lambda key: numbers(quick(key))), jax.random.key(seed)
    program = run.lower(key).as_text()
    for name in ("fold_in", "split_key", "random_words"):
        assert (f"@kjax_{name}_" in program) == (native.library() is not None)
    jax.tree.map(np.testing.assert_array_equal, run(key), jax.jit(numbers)(key))


def test_same_bits_outside_of_programs_and_in_64():
    with jax.enable_x64(True):
        key = jax.random.key(1)
        jax.tree.map(np.testing.assert_array_equal, numbers(quick(key)), numbers(key))


def test_such_keys_do_not_get_out():
    key = jax.random.key(0)
    tree = usual({"key": quick(key), "keys": [jax.random.split(quick(key))], "number": 1.0})
    assert tree["key"].dtype == tree["keys"][0].dtype == key.dtype and tree["number"] == 1.0
    model = Sequential([layers.Dense(2, input_shape=(3,)), layers.Dropout(0.5)], seed=1)
    assert model.state.key.dtype == key.dtype


@pytest.mark.parametrize("made", [lambda: jax.random.PRNGKey(0), lambda: jax.random.key(0, impl="rbg"), lambda: None])
def test_other_keys_stay_what_they_are(made):
    key = made()
    assert quick(key) is key and is_key(key) == (key is not None and key.ndim == 0)


def test_other_numbers_are_left_to_jax():
    with jax.threefry_partitionable(False):
        key = jax.random.key(0)
        assert quick(key) is key
