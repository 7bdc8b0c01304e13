"""Layers that turn integers and ranges of numbers into numbers of categories, and those into vectors."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from kjax.adapting import batches, not_adapted, refuse_adapting
from kjax.dtypes import at_least_float32
from kjax.frozen import is_int, require_int
from kjax.nn.errors import LayerError
from kjax.nn.layer import Layer, Params, State
from kjax.vocabulary import OTHER_NAMES, Vocabulary, check_output


class Categorical(Layer):
    """Base of the layers whose output is the number of a category, or a vector with a cell for each category.

    `output_mode` says which: "int" for the numbers; "one_hot" for a vector each, (…) -> (…, categories), where a last
    axis of size 1 goes away; "multi_hot" for one vector over the last axis that tells which occur, and "count" for how
    often: (…, n) -> (…, categories), also (batch,) -> (batch, categories). A number that is no category's is in none.

    Numbers are int32 unless `dtype` is another integer type; vectors have `dtype`, or the input's float type.
    """

    takes_integers = True
    modes: ClassVar[tuple[str, ...]] = ("int", "one_hot", "multi_hot", "count")

    def convert(self, name: str, value: Any) -> Any:
        return OTHER_NAMES.get(value, value) if name == "output_mode" else super().convert(name, value)

    def validate(self) -> None:
        check_output(self, self.modes)

    def encode(self, index: jax.Array, depth: int, x: Any, weights: Any = None) -> jax.Array:
        """Numbers of categories (-1 for none) as `output_mode` wants them; `x` is the input."""
        mode: str = self.output_mode  # type: ignore[attr-defined]
        own = self.compute_dtype
        if mode == "int":
            return index.astype(own if own and jnp.issubdtype(own, jnp.integer) else jnp.int32)
        dtype = own or (x.dtype if jnp.issubdtype(x.dtype, jnp.floating) else jnp.float32)
        if mode == "one_hot":
            index = index[..., 0] if index.ndim > 1 and index.shape[-1] == 1 else index
            return jax.nn.one_hot(index, depth, dtype=dtype)
        return tally(index, depth, weights, most=1 if mode == "multi_hot" else None).astype(dtype)

    def _dtype(self, x: Any, running: bool = True) -> Any:
        return jax.dtypes.canonicalize_dtype(x.dtype)  # `dtype` is that of the output


class CategoryEncoding(Categorical):
    """Numbers of categories as vectors.

    Args:
        num_tokens: how many categories there are; inputs lie in 0 … num_tokens - 1.
        output_mode: "multi_hot", "one_hot" or "count".
        sparse: only False.

    Counts may have weights: the input is then a tuple `(numbers, weights)`, of one shape (Keras's `count_weights=`).

    >>> CategoryEncoding(4, "count").apply({}, {}, jnp.array([[0, 1, 1]]))[0].tolist()
    [[1.0, 2.0, 0.0, 0.0]]
    >>> weighted = (jnp.array([[0, 1, 1]]), jnp.array([[0.5, 1.0, 2.0]]))
    >>> CategoryEncoding(4, "count").apply({}, {}, weighted)[0].tolist()
    [[0.5, 3.0, 0.0, 0.0]]
    """

    num_tokens: int | None = None
    output_mode: str = "multi_hot"
    sparse: bool = False

    modes = ("multi_hot", "one_hot", "count")

    def validate(self) -> None:
        super().validate()
        require_int(self.num_tokens, "num_tokens", "CategoryEncoding")

    def check_input(self, x: Any) -> None:
        if not isinstance(x, tuple | list):
            return
        if self.output_mode != "count" or len(x) != 2:
            self.refuse("takes numbers, or in mode 'count' a tuple (numbers, weights)", x[0])
        if x[0].shape != x[1].shape:
            self.refuse(f"takes weights of the numbers' shape {tuple(x[0].shape)}", x[1])

    def call(self, params: Params, state: State, x: Any, training: bool, key: Any) -> tuple[Any, State]:
        index, weights = x if isinstance(x, tuple | list) else (x, None)
        like = index if weights is None else weights
        return self.encode(as_integers(index), self.num_tokens or 0, like, weights), state


class Discretization(Categorical):
    """The number of the range that each number lies in.

    Args:
        bin_boundaries: where a range ends and the next begins, rising: `[0, 1]` makes (-∞, 0), [0, 1) and [1, ∞).
        num_bins: how many ranges `adapt` is to make, instead.
        epsilon: how inexact Keras's quantiles may be; those here are exact.
        output_mode: "int", "one_hot", "multi_hot" or "count".
        sparse: only False.

    `layer = layer.adapt(x)` gives a new layer whose ranges hold equally many numbers of x, as near as may be.

    >>> layer = Discretization(num_bins=2).adapt([1.0, 2.0, 3.0, 4.0])
    >>> layer
    Discretization(bin_boundaries=(2.0,))
    >>> layer.apply({}, {}, jnp.array([[1.5, 2.0, 7.0]]))[0].tolist()
    [[0, 1, 1]]
    """

    bin_boundaries: Any = None
    num_bins: int | None = None
    epsilon: float = 0.01
    output_mode: str = "int"
    sparse: bool = False

    def convert(self, name: str, value: Any) -> Any:
        if name == "bin_boundaries" and value is not None:
            return tuple(float(boundary) for boundary in value)
        return super().convert(name, value)

    def validate(self) -> None:
        super().validate()
        if (self.bin_boundaries is None) == (self.num_bins is None):
            raise ValueError("Discretization: give either bin_boundaries or num_bins")
        if self.num_bins is not None:
            require_int(self.num_bins, "num_bins", "Discretization")
        elif list(self.bin_boundaries) != sorted(self.bin_boundaries):
            raise ValueError(f"Discretization: bin_boundaries must rise; got {self.bin_boundaries}")

    def adapt(self, data: Any, steps: int | None = None) -> "Discretization":
        """This layer with the quantiles of data for boundaries: an array, or an iterable of batches."""
        if self.num_bins is None:
            refuse_adapting(self, "bin_boundaries")
        found = np.concatenate([np.zeros(0), *(batch.astype(np.float64).ravel() for batch in batches(data, steps))])
        if not found.size:
            raise ValueError("Discretization: adapt was given no data")
        shares = np.arange(1, self.num_bins) / self.num_bins
        boundaries = np.quantile(found, shares, method="interpolated_inverted_cdf")
        return self.replace(bin_boundaries=boundaries, num_bins=None)

    def check_input(self, x: Any) -> None:
        if self.bin_boundaries is None:
            raise LayerError(not_adapted(self, "bin_boundaries"))

    def call(self, params: Params, state: State, x: Any, training: bool, key: Any) -> tuple[Any, State]:
        wide = x.astype(at_least_float32(x.dtype) if jnp.issubdtype(x.dtype, jnp.floating) else jnp.float32)
        index = jnp.searchsorted(jnp.asarray(self.bin_boundaries, wide.dtype), wide, side="right")
        return self.encode(index, len(self.bin_boundaries) + 1, x), state


class Hashing(Categorical):
    """Spreads integers over `num_bins` bins, always in the same way.

    Args:
        num_bins: how many bins there are.
        mask_value: an integer that has bin 0 for itself.
        salt: an integer or two of them, for another hash.
        output_mode: "int", "one_hot", "multi_hot" or "count".
        sparse: only False.

    The hash is MurmurHash3's 32-bit finalizer, of the lower 32 bits and then of that and the upper ones, modulo the
    bins. It is the same in every run, on every device and for int32 and int64, but not Keras's, which hashes text by
    FarmHash. For strings see `kjax.text.StringHashing`.

    >>> Hashing(3).apply({}, {}, jnp.array([[1, 2, 3, 1]]))[0].tolist()
    [[2, 1, 0, 2]]
    """

    num_bins: int
    mask_value: int | None = None
    salt: Any = None
    output_mode: str = "int"
    sparse: bool = False

    def validate(self) -> None:
        super().validate()
        require_int(self.num_bins, "num_bins", "Hashing")
        check_salt(self)
        if not (self.mask_value is None or is_int(self.mask_value)):
            raise ValueError(
                f"Hashing: mask_value is an integer; got {self.mask_value!r}. Strings are hashed before the model: "
                "kjax.text.StringHashing"
            )

    def call(self, params: Params, state: State, x: Any, training: bool, key: Any) -> tuple[Any, State]:
        values, masks = as_integers(x), self.mask_value is not None and self.num_bins > 1
        index = hashed(values, self.num_bins - masks, self.salt)
        if masks:
            index = jnp.where(values == self.mask_value, 0, index + 1)
        return self.encode(index, self.num_bins, x), state


class IntegerLookup(Vocabulary, Categorical):
    """The number of each integer in a vocabulary.

    Args:
        max_tokens: the most numbers that there may be, those for masks and unknown integers included.
        num_oov_indices: how many numbers unknown integers share. With 0 they have none: -1, and no cell in vectors
            (Keras raises, which a compiled step cannot).
        mask_token: an integer that means nothing: number 0 in mode "int", left out of vectors.
        oov_token: what unknown numbers become where `invert`.
        vocabulary: the integers in order, or the path of a file with one on each line.
        vocabulary_dtype: only "int64".
        idf_weights: a weight for each integer of the vocabulary, in mode "tf_idf".
        invert: whether to turn numbers into integers instead.
        output_mode: "int", "one_hot", "multi_hot", "count", or "tf_idf" for counts times weights.
        sparse: only False.
        pad_to_max_tokens: whether vectors have `max_tokens` cells, however small the vocabulary is.
        oov_method: which of several numbers an unknown integer has: "floormod" (integer modulo them) or "hash" (that of
            `Hashing`, with `salt`).
        salt: an integer or two of them, for "hash".

    `layer = layer.adapt(x)` gives a new layer with the vocabulary of x; a layer without one refuses to be built.

    >>> layer = IntegerLookup(vocabulary=[12, 36, 1138])
    >>> layer.apply({}, {}, jnp.array([[12, 1138, 7]]))[0].tolist()
    [[1, 3, 0]]
    """

    max_tokens: int | None = None
    num_oov_indices: int = 1
    mask_token: int | None = None
    oov_token: int = -1
    vocabulary: Any = None
    vocabulary_dtype: str = "int64"
    idf_weights: Any = None
    invert: bool = False
    output_mode: str = "int"
    sparse: bool = False
    pad_to_max_tokens: bool = False
    oov_method: str = "floormod"
    salt: Any = None

    def read(self, value: Any) -> int:
        if not (is_int(value) or isinstance(value, str)):
            raise TypeError(f"IntegerLookup: tokens are integers; got {value!r}")
        return int(value)

    def validate(self) -> None:
        super().validate()
        check_salt(self)
        if self.vocabulary_dtype != "int64":
            raise ValueError(f"IntegerLookup: vocabulary_dtype is 'int64'; got {self.vocabulary_dtype!r}")
        if self.oov_method not in ("floormod", "hash") or (self.salt is not None and self.oov_method != "hash"):
            raise ValueError(
                f"IntegerLookup: oov_method is 'floormod', or 'hash', which takes a salt; got {self.oov_method!r}"
            )

    def check_input(self, x: Any) -> None:
        if self.vocabulary is None:
            raise LayerError(not_adapted(self, "vocabulary"))

    def call(self, params: Params, state: State, x: Any, training: bool, key: Any) -> tuple[Any, State]:
        values = as_integers(x)
        if self.invert:
            table = self._constant(self.get_vocabulary(), values)
            known = (values >= 0) & (values < len(table))
            found = table[jnp.clip(values, 0, len(table) - 1)]
            return self.encode(jnp.where(known, found, self.oov_token), 0, x), state
        y = self.encode(self._numbers(values), self.depth, x)
        if self.output_mode == "tf_idf":
            y = y * jnp.asarray(np.array(self.weights_of_tokens, ndmin=y.ndim), y.dtype)
        return y, state

    def _numbers(self, x: jax.Array) -> jax.Array:
        order = np.argsort(self.tokens)
        tokens = self._constant(np.asarray(self.tokens)[order].tolist(), x)
        at = jnp.minimum(jnp.searchsorted(tokens, x), len(order) - 1)
        number = jnp.asarray(order, jnp.int32)[at] + len(self.special)
        number = jnp.where(tokens[at] == x, number, self._unknown(x))
        return number if self.mask_token is None else jnp.where(x == self.mask_token, self.first_unknown - 1, number)

    def _unknown(self, x: jax.Array) -> jax.Array:
        n = self.num_oov_indices
        if n == 0:
            return jnp.full(x.shape, -1, jnp.int32)
        bins = hashed(x, n, self.salt) if self.oov_method == "hash" else (x % n).astype(jnp.int32)
        return bins + self.first_unknown

    def _constant(self, values: list[int], x: jax.Array) -> jax.Array:
        limits = jnp.iinfo(x.dtype)
        if not limits.min <= min(values) <= max(values) <= limits.max:
            raise LayerError(f"IntegerLookup: the vocabulary has integers outside of {x.dtype}, its input's type")
        return jnp.asarray(values, x.dtype)


def as_integers(x: jax.Array) -> jax.Array:
    """Whole numbers of 32 bits or more; fractions are cut off."""
    return x if jnp.issubdtype(x.dtype, jnp.integer) and x.dtype.itemsize >= 4 else x.astype(jnp.int32)


def tally(index: jax.Array, depth: int, weights: Any = None, most: int | None = None) -> jax.Array:
    """How often each of `depth` numbers occurs along the last axis (at most `most` times), or the sum of its weights.

    >>> tally(jnp.array([[0, 2, 2, -1, 9]]), 3).tolist()
    [[1.0, 0.0, 2.0]]
    """
    shape = index.shape if index.ndim > 1 else (*index.shape, 1)
    flat = index.reshape(-1, shape[-1])
    rows = jnp.arange(len(flat))[:, None]
    dtype = jnp.float32 if weights is None else at_least_float32(weights.dtype)
    weights = jnp.ones(flat.shape, dtype) if weights is None else weights.reshape(flat.shape).astype(dtype)
    # A negative index would count from the end.
    cells = jnp.zeros((len(flat), depth), dtype).at[rows, jnp.where(flat < 0, depth, flat)]
    return (cells.max(weights, mode="drop") if most else cells.add(weights, mode="drop")).reshape(*shape[:-1], depth)


def hashed(x: jax.Array, bins: int, salt: Any = None) -> jax.Array:
    """A bin in 0 … bins - 1 for each integer; see `Hashing`."""
    first, second = (np.uint32(s % 2**32) for s in ((salt, salt) if is_int(salt) else salt or (0, 0)))
    upper = (x >> min(8 * x.dtype.itemsize - 1, 32)).astype(jnp.uint32)
    return (mixed(mixed(x.astype(jnp.uint32) ^ first) ^ upper ^ second) % np.uint32(bins)).astype(jnp.int32)


def mixed(h: jax.Array) -> jax.Array:
    """MurmurHash3's finalizer: every bit of uint32 changes half of the others."""
    h = (h ^ (h >> 16)) * np.uint32(0x85EBCA6B)
    h = (h ^ (h >> 13)) * np.uint32(0xC2B2AE35)
    return h ^ (h >> 16)


def check_salt(layer: Any) -> None:
    """Refuses a salt that is none."""
    salt = layer.salt
    if not (salt is None or is_int(salt) or (isinstance(salt, tuple) and len(salt) == 2 and all(map(is_int, salt)))):
        raise ValueError(f"{type(layer).__name__}: salt is an integer or two of them; got {salt!r}")
