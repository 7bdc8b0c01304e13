"""Text on the host: what Keras documents, and plain Python for the rest."""

import collections
import pickle
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kjax import Sequential, layers, nn, optim, text

VOCABULARY = ["a", "b", "c", "d"]


def test_string_lookup_does_what_keras_documents():
    data = [["a", "c", "d"], ["d", "z", "b"]]
    assert text.StringLookup(vocabulary=VOCABULARY)(data).tolist() == [[1, 3, 4], [4, 0, 2]]
    learnt = text.StringLookup().adapt(data)
    assert learnt.get_vocabulary() == ["[UNK]", "d", "z", "c", "b", "a"]
    assert learnt(data).tolist() == [[5, 3, 1], [1, 2, 4]]
    one_hot = text.StringLookup(vocabulary=VOCABULARY, output_mode="one_hot")
    assert one_hot(["a", "b", "c", "d", "z"]).tolist() == np.eye(5)[[1, 2, 3, 4, 0]].tolist()
    words = [["a", "c", "d", "d"], ["d", "z", "b", "z"]]
    multi_hot = text.StringLookup(vocabulary=VOCABULARY, output_mode="multi_hot")
    assert multi_hot(words).tolist() == [[0, 1, 0, 1, 1], [1, 0, 1, 0, 1]]
    count = text.StringLookup(vocabulary=VOCABULARY, output_mode="count")
    assert count(words).tolist() == [[0, 1, 0, 1, 2], [2, 0, 1, 0, 1]]
    tf_idf = text.StringLookup(vocabulary=VOCABULARY, output_mode="tf_idf", idf_weights=[0.25, 0.75, 0.6, 0.4])
    np.testing.assert_allclose(tf_idf(words), [[0, 0.25, 0, 0.6, 0.8], [1, 0, 0.75, 0, 0.4]], rtol=1e-6)
    back = text.StringLookup(vocabulary=VOCABULARY, invert=True)
    assert back([[1, 3, 4], [4, 0, 9]]).tolist() == [["a", "c", "d"], ["d", "[UNK]", "[UNK]"]]


def test_vectorization_does_what_keras_documents():
    words = ["earth", "wind", "and", "fire"]
    vectorize = text.TextVectorization(5000, output_sequence_length=4, vocabulary=words)
    assert vectorize(["earth wind and fire", "fire and earth"]).tolist() == [[2, 3, 4, 5], [5, 4, 2, 0]]
    assert vectorize.get_vocabulary() == ["", "[UNK]", *words]
    foo = text.TextVectorization(max_tokens=5000, output_sequence_length=4).adapt(["foo", "bar", "baz"])
    assert foo(["foo qux bar", "qux baz"]).tolist() == [[2, 1, 4, 0], [1, 3, 0, 0]]


def in_python(texts, vocabulary, ngrams, mode, length):
    """Lower case, no punctuation, words, groups of words, numbers: as the docstring says, by other means."""
    rows = []
    for one in texts:
        words = re.sub(r"[^\w\s]|_", "", one.lower()).split()
        tokens = [
            " ".join(words[i:j])
            for n in range(1, (ngrams or 1) + 1)
            for i, j in zip(range(len(words)), range(n, len(words) + 1), strict=False)
        ]
        first = 2 if mode == "int" else 1
        rows.append([vocabulary.index(t) + first if t in vocabulary else first - 1 for t in tokens])
    if mode == "int":
        length = length or max(map(len, rows))
        return [(row + [0] * length)[:length] for row in rows]
    counts = [collections.Counter(row) for row in rows]
    return [[min(c[i], 1 if mode == "multi_hot" else 99) for i in range(len(vocabulary) + 1)] for c in counts]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.lists(st.text("abC .!-_", max_size=20), min_size=1, max_size=4), st.sampled_from([None, 1, 2, 3]),
    st.sampled_from(["int", "multi_hot", "count"]), st.sampled_from([None, 1, 5]),
)  # fmt: skip
def test_vectorization_is_what_plain_python_makes_of_it(texts, ngrams, mode, length):
    vocabulary = ["a", "b", "ab", "a b", "b a c", "c"]
    vectorize = text.TextVectorization(
        ngrams=ngrams, output_mode=mode, output_sequence_length=length if mode == "int" else None, vocabulary=vocabulary
    )
    y = vectorize(texts)
    assert y.tolist() == in_python(texts, vocabulary, ngrams, mode, length)
    assert y.dtype == (np.int32 if mode == "int" else np.float32)
    np.testing.assert_array_equal(vectorize(np.array(texts)[:, None]), y)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.lists(st.lists(st.sampled_from("abcde"), min_size=1, max_size=6), min_size=1, max_size=5), st.integers(3, 8))
def test_learning_counts(documents, most):
    texts = [" ".join(words) for words in documents]
    vectorize = text.TextVectorization(most, output_mode="tf_idf").adapt(texts)
    counts = collections.Counter(word for words in documents for word in words)
    expected = sorted(sorted(counts, reverse=True), key=counts.get, reverse=True)[: most - 1]
    assert vectorize.get_vocabulary() == ["[UNK]", *expected]
    weights = [np.log(1 + len(texts) / (1 + sum(word in words for words in documents))) for word in expected]
    np.testing.assert_allclose(vectorize.idf_weights, weights)
    assert vectorize == text.TextVectorization(most, output_mode="tf_idf").adapt([one] for one in texts)
    rows = [[words.count(word) for word in expected] for words in documents]
    np.testing.assert_allclose(vectorize(texts)[:, 1:], np.array(rows) * weights, rtol=1e-6)


def test_ways_to_prepare_and_split():
    options = dict(vocabulary=["A", "b", "a"])  # noqa: C408
    assert text.TextVectorization(standardize=None, **options)("A b!").tolist() == [2, 1]
    assert text.TextVectorization(standardize="strip_punctuation", **options)(["A b!"]).tolist() == [[2, 3]]
    assert text.TextVectorization(standardize="lower", **options)(["A b!"]).tolist() == [[4, 1]]
    assert text.TextVectorization(split="character", **options)(["Ab"]).tolist() == [[4, 3]]
    assert text.TextVectorization(split=None, **options)([["a", "b"]]).tolist() == [[4, 3]]
    assert text.TextVectorization(standardize=np.char.upper, split=by_dash, **options)(["a-b"]).tolist() == [[2, 1]]
    assert text.TextVectorization(**options)([b"b", b"b"]).tolist() == [[3], [3]]
    assert text.TextVectorization(output_mode="count", **options)(["", "!"]).tolist() == [[0.0] * 4] * 2
    assert text.TextVectorization(ngrams=(2,), vocabulary=["a b"])(["a b a"]).tolist() == [[2, 1]]


def by_dash(texts):
    return [one.split("-") for one in texts]


def test_masks_unknown_strings_and_hashes():
    lookup = text.StringLookup(vocabulary=["a"], mask_token="", num_oov_indices=3)
    found = lookup([["", "a", "x", "y", "z", "w", "v"]])[0]
    assert found[:2].tolist() == [0, 4] and set(found[2:].tolist()) <= {1, 2, 3} and len(set(found[2:].tolist())) > 1
    assert text.StringLookup(vocabulary=["", "[UNK]", "a"], mask_token="")(["a", ""]).tolist() == [2, 0]
    dropped = text.StringLookup(vocabulary=["a"], mask_token="", output_mode="count")
    assert dropped([["", "a", "x"]]).tolist() == [[1.0, 1.0]]
    words = [str(i) for i in range(3000)]
    bins = text.StringHashing(4, mask_value="17")(words)
    assert bins[17] == 0 and (bins == 0).sum() == 1
    counts = np.bincount(bins)[1:]
    assert (abs(counts - 1000) < 4 * np.sqrt(3000 * 2 / 9)).all(), counts  # four standard deviations
    assert (text.StringHashing(4, salt=1)(words) != text.StringHashing(4)(words)).mean() > 0.7
    assert text.StringHashing(3, output_mode="count")([["a", "a"]]).sum() == 2


def test_they_are_frozen_and_travel():
    vectorize = layers.TextVectorization().adapt(["a b"])
    vectorize(["a"])
    copy = pickle.loads(pickle.dumps(vectorize))
    assert copy == vectorize and hash(copy) == hash(vectorize) and copy(["b a"]).tolist() == [[2, 3]]
    assert layers.StringLookup is text.StringLookup


def test_a_model_of_text():
    texts, labels = ["good film", "bad film", "good plot", "bad plot"] * 8, np.array([1, 0, 1, 0] * 8, "float32")
    vectorize = text.TextVectorization(output_mode="multi_hot").adapt(texts)
    model = Sequential([nn.Dense(1, "sigmoid")])
    model.compile(optim.SGD(1.0), "binary_crossentropy")
    model.fit(vectorize(texts), labels, epochs=30, verbose=0)
    good, bad = model.predict(vectorize(["good", "bad"])).ravel()
    assert good > 0.5 > bad


@pytest.mark.parametrize("name", ["a\nb\n", "a\nb"])
def test_a_vocabulary_comes_from_a_file(tmp_path, name):
    (tmp_path / "words.txt").write_text(name)
    assert text.TextVectorization(vocabulary=str(tmp_path / "words.txt"))(["b a"]).tolist() == [[3, 2]]
