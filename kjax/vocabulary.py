"""What lookups share, on the device and on the host: which token has which number, and how to learn that."""

import collections
import functools
import math
import pathlib
from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np

from kjax.adapting import batches, refuse_adapting
from kjax.frozen import Frozen, require_int, suggest

OUTPUT_MODES = ("int", "one_hot", "multi_hot", "count", "tf_idf")
OTHER_NAMES = {"binary": "multi_hot", "tf-idf": "tf_idf"}


class Vocabulary(Frozen):
    """Base of lookups: the mask token (in mode "int") has number 0, then come those of unknown tokens, then the rest.

    A subclass has Keras's fields and `read(value)`, which makes a token of a value.
    """

    modes: ClassVar[tuple[str, ...]] = OUTPUT_MODES
    files: ClassVar[tuple[str, ...]] = ("vocabulary",)
    """Fields that may name a file, which is read at once; a saved model may not make its reader do so."""

    def read(self, value: Any) -> Any:
        """A value of a vocabulary or its file as a token."""
        raise NotImplementedError

    def documents(self, batch: np.ndarray) -> list[list]:
        """The tokens of each row of a batch; one axis is one row."""
        rows = np.atleast_2d(batch)
        return [[self.read(token) for token in row] for row in rows.reshape(math.prod(rows.shape[:-1]), rows.shape[-1])]

    def adapt(self: Any, data: Any, steps: int | None = None) -> Any:
        """A new lookup with the vocabulary of data: the most frequent tokens first, among equals the last in order.

        In mode "tf_idf" the weights are `log(1 + documents / (1 + documents with the token))`, and each row of the
        data is a document.

        Args:
            data: an array or a list, or an iterable of batches.
            steps: how many batches to look at; None for all.
        """
        if self.vocabulary is not None:
            refuse_adapting(self, "vocabulary")
        return self.learn(document for batch in batches(data, steps) for document in self.documents(batch))

    def learn(self: Any, documents: Iterable[list]) -> Any:
        """A new lookup with the vocabulary of documents, lists of tokens."""
        counts: collections.Counter = collections.Counter()
        containing: collections.Counter = collections.Counter()
        n = 0
        for document in documents:
            counts.update(document)
            containing.update(set(document))
            n += 1
        found = sorted(counts.keys() - {self.mask_token, self.oov_token}, key=lambda t: (counts[t], t), reverse=True)
        found = found[: self.max_tokens and self.max_tokens - len(self.special)]
        if not found:
            raise ValueError(f"{type(self).__name__}: adapt was given no tokens")
        weights = [math.log(1 + n / (1 + containing[token])) for token in found]
        return self.replace(vocabulary=found, idf_weights=weights if self.output_mode == "tf_idf" else None)

    def get_vocabulary(self: Any, include_special_tokens: bool = True) -> list:
        """The tokens by their numbers, those for masks and unknown ones included or not."""
        return [*(self.special if include_special_tokens else ()), *self.tokens]

    def vocabulary_size(self) -> int:
        """How many numbers there are."""
        return len(self.get_vocabulary())

    @property
    def depth(self: Any) -> int:
        """The length of an encoding."""
        return self.max_tokens if self.pad_to_max_tokens else self.vocabulary_size()

    @property
    def first_unknown(self: Any) -> int:
        """The number of the first unknown token."""
        return int(self.mask_token is not None and self.output_mode == "int")

    @property
    def special(self: Any) -> tuple:
        """The tokens before those of the vocabulary."""
        return (self.mask_token,) * self.first_unknown + (self.oov_token,) * self.num_oov_indices

    @functools.cached_property
    def tokens(self: Any) -> tuple:
        """The vocabulary without special tokens, which may stand before it."""
        given, n = self.vocabulary or (), len(self.special)
        return given[n:] if n and given[:n] == self.special else given

    @property
    def weights_of_tokens(self: Any) -> np.ndarray:
        """The weights of mode "tf_idf", for each number; unknown tokens have the mean of the others."""
        given = np.asarray(self.idf_weights)
        front = len(self.special) - (len(given) - len(self.tokens))
        weights = np.concatenate([np.full(front, given.mean()), given])
        return np.pad(weights, (0, self.depth - len(weights)))

    def convert(self, name: str, value: Any) -> Any:
        if name == "vocabulary" and value is not None:
            lines = pathlib.Path(value).read_text("utf-8").splitlines() if isinstance(value, str) else value
            return tuple(self.read(token) for token in lines)
        if name == "idf_weights" and value is not None:
            return tuple(float(weight) for weight in value)
        if name == "output_mode":
            return OTHER_NAMES.get(value, value)
        return super().convert(name, value)

    def validate(self: Any) -> None:
        owner = type(self).__name__
        require_int(self.num_oov_indices, "num_oov_indices", owner, least=0)
        check_output(self, self.modes)
        if self.max_tokens is not None:
            require_int(self.max_tokens, "max_tokens", owner, least=2)
        if self.pad_to_max_tokens and self.max_tokens is None:
            raise ValueError(f"{owner}: pad_to_max_tokens=True needs max_tokens")
        if self.invert and self.output_mode != "int":
            raise ValueError(f"{owner}: invert=True gives tokens, so output_mode is 'int'; got {self.output_mode!r}")
        if (self.idf_weights is not None) != (self.output_mode == "tf_idf" and self.vocabulary is not None):
            raise ValueError(f"{owner}: idf_weights go with a vocabulary and output_mode='tf_idf', and only with them")
        if self.vocabulary is not None:
            self._check_vocabulary(owner)

    def _check_vocabulary(self: Any, owner: str) -> None:
        tokens = self.tokens
        twice = [token for token, times in collections.Counter(tokens).items() if times > 1]
        if twice or not tokens:
            raise ValueError(f"{owner}: vocabulary must hold tokens, each once; {twice[:5]} occur again")
        reserved = {self.mask_token} | ({self.oov_token} if self.invert else set())
        if reserved & set(tokens):
            raise ValueError(
                f"{owner}: vocabulary holds {sorted(reserved & set(tokens))}; leave mask and unknown tokens out, "
                f"or put all of them first: {list(self.special)}"
            )
        if self.max_tokens is not None and self.vocabulary_size() > self.max_tokens:
            raise ValueError(f"{owner}: {self.vocabulary_size()} tokens exceed max_tokens={self.max_tokens}")
        if self.idf_weights is not None and len(self.idf_weights) != len(self.vocabulary):
            raise ValueError(f"{owner}: {len(self.vocabulary)} tokens, but {len(self.idf_weights)} idf_weights")


def check_output(owner: Any, modes: tuple[str, ...]) -> None:
    """Refuses an unknown output mode, and sparse outputs."""
    name = type(owner).__name__
    if owner.output_mode not in modes:
        raise ValueError(f"{name}: unknown output_mode {owner.output_mode!r}.{suggest(str(owner.output_mode), modes)}")
    if owner.sparse:
        raise ValueError(f"{name}: sparse=True: outputs are dense arrays here; leave it out")
