"""Strings as numbers of categories, on the host: hashed, or looked up in a vocabulary."""

import functools
import hashlib
import math
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from kjax.adapting import not_adapted
from kjax.frozen import Frozen, is_int, require_int
from kjax.vocabulary import OTHER_NAMES, Vocabulary, check_output


class BeforeTheModel(Frozen):
    """Base of what looks like a layer, but works on the host."""

    instead_of_a_layer: ClassVar[str] = "strings become numbers before the model: model.fit(vectorize(texts), y)"


class StringHashing(BeforeTheModel):
    """Spreads strings over `num_bins` bins, always in the same way.

    Args:
        num_bins: how many bins there are.
        mask_value: a string that has bin 0 for itself.
        salt: an integer or two of them, for another hash.
        output_mode: "int", "one_hot", "multi_hot" or "count"; see `kjax.nn.CategoryEncoding`.
        sparse: only False.

    The hash is BLAKE2b of 8 bytes, little-endian, of the string in UTF-8, modulo the bins: the same in every run and
    on every machine, but not Keras's FarmHash. `kjax.nn.Hashing` is for integers, on the device.

    >>> StringHashing(100)(["a", "b", "a"]).tolist()
    [28, 68, 28]
    """

    num_bins: int
    mask_value: str | None = None
    salt: Any = None
    output_mode: str = "int"
    sparse: bool = False

    def convert(self, name: str, value: Any) -> Any:
        return OTHER_NAMES.get(value, value) if name == "output_mode" else super().convert(name, value)

    def validate(self) -> None:
        require_int(self.num_bins, "num_bins", "StringHashing")
        check_output(self, ("int", "one_hot", "multi_hot", "count"))
        salt_bytes(self.salt, "StringHashing")

    def __call__(self, inputs: Any) -> np.ndarray:
        """The bin of each string: an array of the inputs' shape, or vectors."""
        tokens = strings(inputs, "StringHashing")
        masks, salt = self.mask_value is not None and self.num_bins > 1, salt_bytes(self.salt, "StringHashing")

        def bin_of(token: str) -> int:
            return 0 if masks and token == self.mask_value else masks + bucket(token, self.num_bins - masks, salt)

        return encode(each(bin_of, tokens), self.output_mode, self.num_bins)


class StringLookup(Vocabulary, BeforeTheModel):
    """The number of each string in a vocabulary.

    Args:
        max_tokens: the most numbers that there may be, those for masks and unknown strings included.
        num_oov_indices: how many numbers unknown strings share, by the hash of `StringHashing`; with 0 they are errors.
        mask_token: a string that means nothing: number 0 in mode "int", left out of vectors.
        oov_token: what unknown numbers become where `invert`.
        vocabulary: the strings in order, or the path of a text file with one on each line.
        idf_weights: a weight for each string of the vocabulary, in mode "tf_idf".
        invert: whether to turn numbers into strings instead.
        output_mode: "int", "one_hot", "multi_hot", "count", or "tf_idf" for counts times weights.
        pad_to_max_tokens: whether vectors have `max_tokens` cells, however small the vocabulary is.
        sparse: only False.
        encoding: of inputs that are bytes.
        name: for people.
        salt: an integer or two of them, for another hash.

    `lookup = lookup.adapt(data)` gives a new one with the vocabulary of the data.

    >>> lookup = StringLookup().adapt([["a", "c", "d"], ["d", "z", "b"]])
    >>> lookup.get_vocabulary()
    ['[UNK]', 'd', 'z', 'c', 'b', 'a']
    >>> lookup([["a", "d", "?"]]).tolist()
    [[5, 1, 0]]
    """

    max_tokens: int | None = None
    num_oov_indices: int = 1
    mask_token: str | None = None
    oov_token: str = "[UNK]"
    vocabulary: Any = None
    idf_weights: Any = None
    invert: bool = False
    output_mode: str = "int"
    pad_to_max_tokens: bool = False
    sparse: bool = False
    encoding: str = "utf-8"
    name: str | None = None
    salt: Any = None

    def read(self, value: Any) -> str:
        if not isinstance(value, str | bytes):
            raise TypeError(f"StringLookup: tokens are strings; got {value!r}")
        return value.decode(self.encoding) if isinstance(value, bytes) else str(value)

    def validate(self) -> None:
        super().validate()
        salt_bytes(self.salt, "StringLookup")

    def __call__(self, inputs: Any) -> np.ndarray:
        """The number of each string (or, inverted, the string of each number), or vectors."""
        if self.vocabulary is None:
            raise ValueError(not_adapted(self, "vocabulary"))
        if self.invert:
            known = self.get_vocabulary()
            return each(lambda i: known[i] if 0 <= i < len(known) else self.oov_token, np.asarray(inputs), object)
        return self.encode(each(self.number, strings(inputs, "StringLookup", self.encoding)))

    def encode(self, index: np.ndarray) -> np.ndarray:
        """Numbers as `output_mode` wants them."""
        y = encode(index, self.output_mode, self.depth)
        return (y * self.weights_of_tokens).astype(np.float32) if self.output_mode == "tf_idf" else y

    def number(self, token: str) -> int:
        """A string's number, -1 for one to leave out."""
        if token == self.mask_token:
            return self.first_unknown - 1
        found = self._numbers.get(token)
        if found is None and not self.num_oov_indices:
            raise ValueError(f"{token!r} is not in the vocabulary; StringLookup(num_oov_indices=1) has a number for it")
        return self.first_unknown + self._bucket(token) if found is None else found

    def _bucket(self, token: str) -> int:
        n = self.num_oov_indices
        return 0 if n == 1 else bucket(token, n, salt_bytes(self.salt, "StringLookup"))

    @functools.cached_property
    def _numbers(self) -> dict[str, int]:
        return {token: i for i, token in enumerate(self.tokens, len(self.special))}


def strings(inputs: Any, owner: str, encoding: str = "utf-8") -> np.ndarray:
    """An array of Python's strings.

    Raises:
        TypeError: anything else.
    """
    array = np.asarray(inputs, object)
    if not all(isinstance(item, str | bytes) for item in array.flat):
        raise TypeError(f"{owner} takes strings, an array or a list of them, before the model; got {inputs!r:.80}")
    return each(lambda item: item.decode(encoding) if isinstance(item, bytes) else str(item), array, object)


def each(function: Callable, array: np.ndarray, dtype: Any = np.int32) -> np.ndarray:
    """The function's value for each cell."""
    found = np.empty(array.size, dtype)
    found[:] = [function(item) for item in array.ravel().tolist()]
    return found.reshape(array.shape)


def encode(index: np.ndarray, mode: str, depth: int) -> np.ndarray:
    """Numbers (-1 for none) as an output mode wants them; the vectors are those of `kjax.nn.CategoryEncoding`."""
    if mode == "int":
        return index
    if mode == "one_hot":
        index = index[..., 0] if index.ndim > 1 and index.shape[-1] == 1 else index
        return (index[..., None] == np.arange(depth)).astype(np.float32)
    shape = index.shape if index.ndim > 1 else (index.size, 1)
    rows = math.prod(shape[:-1])
    counts = np.zeros((rows, depth + 1), np.float32)  # the last cell takes the -1
    np.add.at(counts, (np.arange(rows)[:, None], index.reshape(rows, shape[-1])), 1)
    counts = counts[:, :-1].reshape(*shape[:-1], depth)
    return np.minimum(counts, 1) if mode == "multi_hot" else counts


def bucket(token: str, bins: int, salt: bytes) -> int:
    """A bin in 0 … bins - 1 for a string; see `StringHashing`."""
    return int.from_bytes(hashlib.blake2b(token.encode(), digest_size=8, salt=salt).digest(), "little") % bins


def salt_bytes(salt: Any, owner: str) -> bytes:
    """BLAKE2b's salt of 16 bytes: an integer twice, or two of them."""
    both = (0, 0) if salt is None else (salt, salt) if is_int(salt) else salt
    if not (isinstance(both, tuple) and len(both) == 2 and all(map(is_int, both))):
        raise ValueError(f"{owner}: salt is an integer or two of them; got {salt!r}")
    return b"".join((half % 2**64).to_bytes(8, "little") for half in both)
