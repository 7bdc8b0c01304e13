"""Data layers: what they learn from data, their options against Keras and plain Python, and their place in a model."""

import collections

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import keras_allowed
from hypothesis import given, settings
from hypothesis import strategies as st
from rows.preprocess import hashed_bins, mix32

from kjax import Sequential, nn
from kjax.nn import image
from kjax.vocabulary import OUTPUT_MODES

RNG = np.random.default_rng(0)


def run(layer, x):
    return np.asarray(layer.apply({}, {}, jnp.asarray(x))[0])


@pytest.mark.parametrize("axis", [-1, (1, 3), None])
def test_normalization_learns_what_kerass_does(axis):
    import keras

    x = RNG.normal(3, 2, (20, 2, 3, 4)).astype("float32")
    theirs = keras.layers.Normalization(axis)
    with keras_allowed():
        theirs.adapt(x)
        expected = theirs(x)
    layer = nn.Normalization(axis).adapt(x)
    np.testing.assert_allclose(run(layer, x), expected, rtol=1e-5, atol=1e-5)  # Keras sums in float32
    pieces = nn.Normalization(axis).adapt(iter([x[:3], x[3:4], x[4:]]))
    np.testing.assert_allclose(pieces.variance, layer.variance, rtol=1e-12)
    np.testing.assert_allclose(pieces.mean, layer.mean, rtol=1e-12)
    np.testing.assert_allclose(run(layer.replace(invert=True), run(layer, x)), x, rtol=1e-5, atol=1e-5)


def test_batches_are_counted():
    x = np.arange(6.0).reshape(6, 1)
    assert nn.Normalization().adapt((x[i : i + 2] for i in range(0, 6, 2)), steps=2).mean == (1.5,)


def test_a_model_begins_with_its_statistics():
    x = RNG.normal(100, 20, (32, 3)).astype("float32")
    model = Sequential([nn.Normalization().adapt(x), nn.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(x, x.sum(1, keepdims=True) / 100, epochs=1, verbose=0)
    assert len(model.get_weights()) == 2
    kernel, bias = model.get_weights()
    y = ((x - x.mean(0)) / x.std(0)) @ kernel + bias
    np.testing.assert_allclose(model.predict(x), y, rtol=1e-4, atol=1e-5)


@settings(max_examples=5, deadline=None, derandomize=True)
@given(
    st.tuples(st.integers(1, 6), st.integers(1, 6)), st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.sampled_from(image.METHODS), st.sampled_from(["crop", "pad", None]), st.booleans(),
)  # fmt: skip
def test_resizing_is_kerass(size, target, interpolation, aspect, antialias):
    import keras

    options = {"interpolation": interpolation, "antialias": antialias, "fill_value": 0.3}
    options |= {f"{aspect}_to_aspect_ratio": True} if aspect else {}
    x = RNG.random((1, *size, 2)).astype("float32")
    with keras_allowed():
        theirs = keras.layers.Resizing(*target, **options)(x)
    np.testing.assert_allclose(run(nn.Resizing(*target, **options), x), theirs, rtol=1e-5, atol=1e-5)


def test_a_crop_of_a_small_picture_is_kerass():
    import keras

    x = RNG.random((1, 4, 9, 2)).astype("float32")
    with keras_allowed():
        theirs = keras.layers.CenterCrop(5, 3)(x)
    np.testing.assert_allclose(run(nn.CenterCrop(5, 3), x), theirs, rtol=1e-5, atol=1e-6)


def test_integers_come_out_as_floats():
    pixels = np.array([[[[0], [255]]]], np.uint8)
    assert run(nn.Rescaling(1 / 255), pixels).ravel().tolist() == [0.0, 1.0]
    assert run(nn.Resizing(1, 1), pixels).ravel().tolist() == [127.5]


@pytest.mark.parametrize("bins", [2, 4, 5])
def test_ranges_are_learnt_as_keras_learns_them(bins):
    from keras.src.layers.preprocessing.discretization import get_bin_boundaries, summarize

    x = RNG.normal(size=(20, 3))
    layer = nn.Discretization(num_bins=bins).adapt(x)
    expected = get_bin_boundaries(summarize(x, 0.01), bins)
    np.testing.assert_allclose(layer.bin_boundaries, expected, rtol=1e-6)
    assert layer == nn.Discretization(num_bins=bins).adapt(iter([x[:7], x[7:]]))
    index = run(layer, x.astype("float32"))
    assert index.dtype == np.int32
    np.testing.assert_array_equal(index, np.digitize(x, layer.bin_boundaries))


def tallied(index, mode, depth):
    """Encodings in plain Python."""
    counts = [collections.Counter(row) for row in index]
    return np.array([[min(c[i], 1) if mode == "multi_hot" else c[i] for i in range(depth)] for c in counts], "float32")


@settings(max_examples=8, deadline=None, derandomize=True)
@given(
    st.lists(st.integers(-40, 40), min_size=6, max_size=6),
    st.lists(st.integers(-9, 40), unique=True, min_size=1, max_size=5),
    st.integers(0, 3),
    st.sampled_from([None, -20, 0]),
    st.sampled_from(OUTPUT_MODES),
)
def test_integer_lookup_is_a_dict(given_, vocabulary, unknown, mask, mode):
    tokens = [token for token in vocabulary if token != mask] or [77]
    weights = tuple(1.0 + i for i in range(len(tokens))) if mode == "tf_idf" else None
    layer = nn.IntegerLookup(None, unknown, mask, vocabulary=tokens, output_mode=mode, idf_weights=weights)
    masks = int(mask is not None and mode == "int")
    table = {token: i + masks + unknown for i, token in enumerate(tokens)}
    x = np.array(given_, np.int32).reshape(2, 3)

    def number(value):
        return masks - 1 if value == mask else table.get(value, value % unknown + masks if unknown else -1)

    numbers = [list(map(number, row)) for row in x.tolist()]
    depth = len(tokens) + masks + unknown
    expected = np.array(numbers)
    if mode == "one_hot":
        expected = (expected[..., None] == np.arange(depth)).astype("float32")
    elif mode != "int":
        expected = tallied(numbers, mode, depth)
    if mode == "tf_idf":
        expected = expected * ([np.mean(weights)] * unknown + list(weights))
    np.testing.assert_allclose(run(layer, x), expected, rtol=1e-6)
    assert layer.vocabulary_size() == depth


def test_integer_lookup_does_what_keras_documents():
    data = np.array([[12, 1138, 42], [42, 1000, 36]])
    assert run(nn.IntegerLookup(vocabulary=[12, 36, 1138, 42]), data).tolist() == [[1, 3, 4], [4, 0, 2]]
    learnt = nn.IntegerLookup().adapt(data)
    assert learnt.get_vocabulary() == [-1, 42, 1138, 1000, 36, 12]
    assert run(learnt, data).tolist() == [[5, 2, 1], [1, 3, 4]]
    assert nn.IntegerLookup(3).adapt(data).get_vocabulary(include_special_tokens=False) == [42, 1138]
    two = nn.IntegerLookup(vocabulary=[12, 36, 1138, 42], num_oov_indices=2)
    assert run(two, np.array([[12, 1138, 42], [37, 1000, 36]])).tolist() == [[2, 4, 5], [1, 0, 3]]
    tf_idf = nn.IntegerLookup(
        vocabulary=[-1, 12, 36, 1138, 42], idf_weights=[0.9, 0.25, 0.75, 0.6, 0.4], output_mode="tf_idf"
    )
    expected = [[0, 0.25, 0, 0.6, 0.8], [1.8, 0, 0.75, 0, 0.4]]
    np.testing.assert_allclose(run(tf_idf, np.array([[12, 1138, 42, 42], [42, 7, 36, 7]])), expected, rtol=1e-6)
    back = nn.IntegerLookup(vocabulary=[12, 36, 1138, 42], invert=True)
    assert run(back, np.array([[1, 3, 4], [4, 0, 2], [-1, 5, 99]])).tolist() == [[12, 1138, 42], [42, -1, 36], [-1] * 3]
    weights = nn.IntegerLookup(output_mode="tf_idf").adapt(np.array([[1, 1, 2], [1, 3, 3]])).idf_weights
    np.testing.assert_allclose(weights, np.log([1 + 2 / 3, 1 + 2 / 2, 1 + 2 / 2]))


def test_a_vocabulary_comes_from_a_file(tmp_path):
    (tmp_path / "vocabulary.txt").write_text("5\n7\n")
    assert nn.IntegerLookup(vocabulary=str(tmp_path / "vocabulary.txt")).vocabulary == (5, 7)


def test_vectors_may_be_wider_than_the_vocabulary():
    layer = nn.IntegerLookup(5, vocabulary=[3, 4], output_mode="tf_idf", idf_weights=[2.0, 4.0], pad_to_max_tokens=True)
    assert run(layer, [[3, 9]]).tolist() == [[3.0, 2.0, 0.0, 0.0, 0.0]]


@pytest.mark.parametrize("mode", ["one_hot", "multi_hot", "count"])
def test_encodings_are_what_plain_python_makes_of_them(mode):
    x = RNG.integers(-2, 6, (3, 2, 4))
    y = run(nn.CategoryEncoding(5, mode), x)
    flat = x.reshape(6, 4)
    expected = (flat[..., None] == np.arange(5)) if mode == "one_hot" else tallied(flat.tolist(), mode, 5)
    np.testing.assert_array_equal(y.reshape(expected.shape), expected)
    np.testing.assert_array_equal(
        run(nn.CategoryEncoding(5, mode), x[:, 0, 0]), run(nn.CategoryEncoding(5, mode), x[:, 0, :1])
    )


def test_counts_have_weights_and_derivatives():
    import keras

    x, weights = RNG.integers(0, 5, (3, 4)), RNG.random((3, 4)).astype("float32")
    layer = nn.CategoryEncoding(5, "count")
    with keras_allowed():
        theirs = keras.layers.CategoryEncoding(5, "count")(x, count_weights=weights)
    np.testing.assert_allclose(layer.apply({}, {}, (x, weights))[0], theirs, rtol=1e-6)
    slope = jax.grad(lambda w: (layer.apply({}, {}, (x, w))[0][:, 2]).sum())(jnp.asarray(weights))
    np.testing.assert_array_equal(slope, (x == 2).astype("float32"))


def test_a_hash_is_the_same_everywhere():
    x = np.array([[0, 1, -1, 2**31 - 1, -(2**31), 123456789]])
    expected = hashed_bins(x, 1000)
    np.testing.assert_array_equal(run(nn.Hashing(1000), x.astype(np.int32)), expected)
    with jax.enable_x64(True):
        np.testing.assert_array_equal(run(nn.Hashing(1000), x), expected)
        big = np.array([[2**40, -(2**50)]])
        np.testing.assert_array_equal(run(nn.Hashing(1000, salt=7), big), hashed_bins(big, 1000, (7, 7)))
    # MurmurHash3 of nothing with seed 1 is its finalizer of 1, a published test vector.
    assert mix32(1) == 0x514E28B7
    assert expected.tolist() == [[0, 951, 689, 257, 341, 181]]


def test_hashes_fill_their_bins_and_spare_the_masks():
    x = np.arange(3000)[None]
    y = run(nn.Hashing(4, mask_value=17), x)
    assert y[0, 17] == 0 and (y == 0).sum() == 1
    counts = np.bincount(y[0])[1:]
    assert (abs(counts - 1000) < 4 * np.sqrt(3000 * 2 / 9)).all(), counts  # four standard deviations
    assert (run(nn.Hashing(4, salt=1), x) != run(nn.Hashing(4), x)).mean() > 0.7
    lookup = nn.IntegerLookup(vocabulary=[0], num_oov_indices=4, oov_method="hash", salt=3)
    np.testing.assert_array_equal(run(lookup, x)[:, 1:], hashed_bins(x[:, 1:], 4, (3, 3)))
