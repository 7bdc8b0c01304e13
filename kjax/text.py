"""Text as integers, on the host: strings are no arrays of the device, so these are called before the model.

    vectorize = text.TextVectorization(output_sequence_length=20).adapt(sentences)
    model.fit(vectorize(sentences), labels)

They are frozen like layers: `adapt` gives a new one. What they return are NumPy arrays: int32, or float32 for vectors.
"""

import functools
import string
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from kjax.adapting import batches, not_adapted, refuse_adapting
from kjax.frozen import is_int, require_int, suggest
from kjax.strings import BeforeTheModel, each, strings
from kjax.strings import StringHashing as StringHashing
from kjax.strings import StringLookup as StringLookup
from kjax.vocabulary import OUTPUT_MODES, check_output

STRIP = str.maketrans("", "", string.punctuation)
STANDARDIZE: dict[str, Callable[[str], str]] = {
    "lower_and_strip_punctuation": lambda text: text.lower().translate(STRIP),
    "lower": str.lower,
    "strip_punctuation": lambda text: text.translate(STRIP),
}
SPLIT: dict[str, Callable[[str], list[str]]] = {"whitespace": str.split, "character": list}


class TextVectorization(BeforeTheModel):
    """Texts as rows of integers, or as vectors: standardised, split into tokens, looked up.

    Args:
        max_tokens: the most numbers that there may be, those for padding and unknown tokens included.
        standardize: "lower_and_strip_punctuation", "lower", "strip_punctuation", None, or a function of an array of
            strings.
        split: "whitespace", "character", None for inputs that are tokens already, or a function of a list of strings
            that gives a list of lists.
        ngrams: n for all groups of 1 … n neighbouring tokens too, or a tuple of the n wanted.
        output_mode: "int" for a number per token (0 for padding, 1 for unknown ones), "multi_hot", "count" or "tf_idf"
            for a vector per text.
        output_sequence_length: how many numbers each text has, in mode "int"; None for as many as the longest.
        pad_to_max_tokens: whether vectors have `max_tokens` cells, however small the vocabulary is.
        vocabulary: the tokens in order, or the path of a text file with one on each line.
        idf_weights: a weight for each token of the vocabulary, in mode "tf_idf".
        sparse, ragged: only False.
        encoding: of inputs that are bytes.
        name: for people.

    `vectorize = vectorize.adapt(texts)` gives a new one with the vocabulary of the texts; one without a vocabulary
    refuses to be called. Letters of all alphabets become lower case (Keras's lower only ASCII).

    Shapes: (batch,) or (batch, 1) of strings -> (batch, time) int32, or (batch, tokens) float32.

    >>> vectorize = TextVectorization().adapt(["The cat sat.", "The dog!"])
    >>> vectorize.get_vocabulary()
    ['', '[UNK]', 'the', 'sat', 'dog', 'cat']
    >>> vectorize(["The dog sat", "a cat"]).tolist()
    [[2, 4, 3], [1, 5, 0]]
    """

    max_tokens: int | None = None
    standardize: Any = "lower_and_strip_punctuation"
    split: Any = "whitespace"
    ngrams: Any = None
    output_mode: str = "int"
    output_sequence_length: int | None = None
    pad_to_max_tokens: bool = False
    vocabulary: Any = None
    idf_weights: Any = None
    sparse: bool = False
    ragged: bool = False
    encoding: str = "utf-8"
    name: str | None = None

    def convert(self, name: str, value: Any) -> Any:
        if name in ("vocabulary", "idf_weights", "output_mode"):
            return StringLookup(encoding=self.encoding).convert(name, value)
        return tuple(range(1, value + 1)) if name == "ngrams" and is_int(value) else super().convert(name, value)

    def validate(self) -> None:
        for name, known in (("standardize", STANDARDIZE), ("split", SPLIT)):
            value = getattr(self, name)
            if not (value is None or callable(value) or value in known):
                raise ValueError(f"TextVectorization: unknown {name} {value!r}.{suggest(str(value), known)}")
        if self.ngrams is not None and not (
            isinstance(self.ngrams, tuple) and self.ngrams and all(is_int(n) and n > 0 for n in self.ngrams)
        ):
            raise ValueError(f"TextVectorization: ngrams is an integer or several, from 1 on; got {self.ngrams!r}")
        if self.output_sequence_length is not None:
            require_int(self.output_sequence_length, "output_sequence_length", "TextVectorization")
            if self.output_mode != "int":
                raise ValueError("TextVectorization: output_sequence_length is for output_mode='int'; leave it out")
        if self.ragged:
            raise ValueError("TextVectorization: ragged=True: rows are padded with 0 here; leave it out")
        check_output(self, OUTPUT_MODES)
        _ = self.lookup

    def adapt(self, data: Any, steps: int | None = None) -> "TextVectorization":
        """A new one with the vocabulary of texts: the most frequent tokens first, among equals the last in order.

        Args:
            data: an array or a list of texts, or an iterable of batches of them.
            steps: how many batches to look at; None for all.
        """
        if self.vocabulary is not None:
            refuse_adapting(self, "vocabulary")
        learnt = self.lookup.learn(tokens for batch in batches(data, steps) for tokens in self.tokens(batch))
        return self.replace(vocabulary=learnt.vocabulary, idf_weights=learnt.idf_weights)

    def __call__(self, inputs: Any) -> np.ndarray:
        """The numbers of each text's tokens, or a vector per text; a single string gives a single row."""
        if self.vocabulary is None:
            raise ValueError(not_adapted(self, "vocabulary"))
        rows = [[self.lookup.number(token) for token in tokens] for tokens in self.tokens(inputs)]
        if self.output_mode == "int":
            length = self.output_sequence_length or max(map(len, rows), default=0)
            y = padded(rows, length, 0)
        else:
            y = self.lookup.encode(padded(rows, max(map(len, rows), default=0), -1))
        return y[0] if isinstance(inputs, str | bytes) else y

    def tokens(self, inputs: Any) -> list[list[str]]:
        """The tokens of each text."""
        texts = strings(inputs, "TextVectorization", self.encoding)
        if callable(self.standardize):
            texts = strings(self.standardize(texts.astype(str)), "TextVectorization")
        elif self.standardize is not None:
            texts = each(STANDARDIZE[self.standardize], texts, object)
        if self.split is None:
            found: Iterable[Sequence[str]] = texts.reshape(len(texts), -1).tolist() if texts.ndim else [[texts.item()]]
        else:
            found = self._split(texts)
        return [grams(list(tokens), self.ngrams) for tokens in found]

    def get_vocabulary(self, include_special_tokens: bool = True) -> list[str]:
        """The tokens by their numbers, those for padding and unknown ones included or not."""
        return self.lookup.get_vocabulary(include_special_tokens)

    def vocabulary_size(self) -> int:
        """How many numbers there are."""
        return self.lookup.vocabulary_size()

    @functools.cached_property
    def lookup(self) -> StringLookup:
        """The lookup of tokens."""
        return StringLookup(
            max_tokens=self.max_tokens,
            mask_token="",
            vocabulary=self.vocabulary,
            idf_weights=self.idf_weights,
            output_mode=self.output_mode,
            pad_to_max_tokens=self.pad_to_max_tokens,
            sparse=self.sparse,
            encoding=self.encoding,
        )

    def _split(self, texts: np.ndarray) -> Iterable[Sequence[str]]:
        if texts.ndim > 1 and texts.shape[1:] != (1,):
            raise ValueError(
                f"TextVectorization takes texts of shape (batch,) or (batch, 1), got {texts.shape}; "
                "for tokens: split=None"
            )
        flat = texts.ravel().tolist()
        return self.split(flat) if callable(self.split) else map(SPLIT[self.split], flat)


def padded(rows: list[list[int]], length: int, value: int) -> np.ndarray:
    """Rows of one length, the rest cut off or filled with a value.

    >>> padded([[1, 2, 3], [4]], 2, 0).tolist()
    [[1, 2], [4, 0]]
    """
    found = np.full((len(rows), length), value, np.int32)
    for row, numbers in zip(found, rows, strict=True):
        row[: len(numbers)] = numbers[:length]
    return found


def grams(tokens: list[str], lengths: Sequence[int] | None) -> list[str]:
    """Neighbouring tokens joined by a space, for each of the lengths; None leaves the tokens as they are.

    >>> grams(["a", "b", "c"], (1, 2))
    ['a', 'b', 'c', 'a b', 'b c']
    """
    if lengths is None:
        return tokens
    return [" ".join(tokens[i : i + n]) for n in lengths for i in range(len(tokens) - n + 1)]
