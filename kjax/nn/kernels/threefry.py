"""JAX's default random numbers, bit for bit, with kernels in C for CPU: for what programs do within.

XLA compiles the 20 rounds of Threefry anew for each key that is folded and each array that is drawn. First weights of
64 dense layers took 5.2 s and 240 MB to compile, with kernels 0.25 s and 30 MB; of 3 layers 0.56 s and 72 MB, and 0.15
s and 22 MB. In training steps, where few keys are folded, they gained nothing.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from kjax import native

from .either import make_either
from .primitive import Primitive

NAME, TAG = "threefry2x32", "fry_c"


def quick(key: Any) -> Any:
    """The same key, of which `jax.random` makes the same numbers by our kernels; one that is not of Threefry itself.

    It is for use within a program; `usual` turns what is left of it back.
    """
    usual_order = getattr(jax.config, "jax_threefry_partitionable", False)
    if not usual_order or not is_key(key) or key.dtype._impl.name != NAME:
        return key
    return jax.random.wrap_key_data(jax.random.key_data(key), impl=_ours())


def usual(tree: Any) -> Any:
    """A tree without such keys: JAX's own in their place."""

    def back(leaf: Any) -> Any:
        ours = is_key(leaf) and leaf.dtype._impl.tag == TAG
        return jax.random.wrap_key_data(jax.random.key_data(leaf), impl=NAME) if ours else leaf

    return jax.tree.map(back, tree)


def is_key(leaf: Any) -> bool:
    """Whether this is a typed key, or an array of them."""
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


@functools.cache
def _theirs() -> Any:
    return jax.eval_shape(lambda: jax.random.key(0, impl=NAME)).dtype._impl


@functools.cache
def _ours() -> Any:
    return _theirs()._replace(fold_in=_fold_in, split=_split, random_bits=_random_bits, tag=TAG)


def _fold_in(key: Array, data: Array) -> Array:
    return fold_in_p.bind(key, data)[0]


def _split(key: Array, shape: tuple[int, ...]) -> Array:
    return split_p.bind(key, shape=tuple(shape))[0]


def _random_bits(key: Array, bit_width: int, shape: tuple[int, ...]) -> Array:
    if bit_width != 32:
        return _theirs().random_bits(key, bit_width, shape)
    return words_p.bind(key, shape=tuple(shape))[0]


def make(name: str, plain: Any, fast: Any, takes: Any, shape_of: Any) -> Primitive:
    """A primitive of uint32; `shape_of` gives its result's shape from its static settings."""
    primitive = make_either(name, plain, fast, takes)
    primitive.def_abstract_eval(lambda key, *_, **static: [key.update(shape=shape_of(**static))])
    return primitive


def fold_in(key: Array, data: Array) -> tuple[Array]:
    return (_theirs().fold_in(key, data),)


def fold_in_native(key: Array, data: Array) -> Sequence[Array]:
    return native.call("fold_in", [key.shape], [], key, data, dtype=np.uint32)


def split(key: Array, *, shape: tuple[int, ...]) -> tuple[Array]:
    return (_theirs().split(key, shape),)


def split_native(key: Array, *, shape: tuple[int, ...]) -> Sequence[Array]:
    return native.call("split_key", [(*shape, 2)], [math.prod(shape)], key, dtype=np.uint32)


def words(key: Array, *, shape: tuple[int, ...]) -> tuple[Array]:
    return (_theirs().random_bits(key, 32, shape),)


def words_native(key: Array, *, shape: tuple[int, ...]) -> Sequence[Array]:
    return native.call("random_words", [shape], [math.prod(shape)], key, dtype=np.uint32)


def some(*_: Any, shape: tuple[int, ...]) -> bool:
    """Whether there is anything to be made."""
    return math.prod(shape) > 0


fold_in_p = make("threefry_fold_in", fold_in, fold_in_native, lambda *_: True, lambda: (2,))
split_p = make("threefry_split", split, split_native, some, lambda shape: (*shape, 2))
words_p = make("threefry_words", words, words_native, some, lambda shape: shape)
