"""Rows of `kjax.nn.preprocess`, `kjax.nn.augment`, `kjax.nn.mix` and `kjax.nn.categories`."""

import jax
import jax.numpy as jnp
import numpy as np
from case import Case

from kjax import nn, text

PICTURES = (3, 4, 5, 2)
MEAN, VARIANCE = (0.5, -1.0, 2.0), (4.0, 0.25, 0.0)


def same(x):
    return x


def mix32(h):
    h ^= h >> 16
    h = h * 0x85EBCA6B % 2**32
    h ^= h >> 13
    h = h * 0xC2B2AE35 % 2**32
    return h ^ h >> 16


def hashed_bins(x, bins, salt=(0, 0)):
    """The hash as its docstring says it, in Python's own integers."""
    halves = [(v % 2**32, v % 2**64 >> 32) for v in x.ravel().tolist()]
    return np.reshape([mix32(mix32(low ^ salt[0]) ^ high ^ salt[1]) % bins for low, high in halves], x.shape)


def hot(index, depth):
    return (index[..., None] == np.arange(depth)).any(-2)


def idf(x):
    counts = (x[..., None] == np.array([3, 0, 5])).sum(1)
    return np.column_stack([(x.shape[1] - counts.sum(1)) * 1.5, counts * [0.5, 1.0, 3.0]])


ROWS = [
    Case(nn.Rescaling((0.5, 2.0, 3.0), offset=-1), (2, 4, 3), lambda k: k.Rescaling([0.5, 2.0, 3.0], offset=-1)),
    Case(nn.Normalization((1, -1), mean=MEAN, variance=VARIANCE, invert=True), (4, 2, 3),
         lambda k: k.Normalization((1, -1), mean=MEAN, variance=VARIANCE, invert=True)),
    Case(nn.Resizing(4, 2, "lanczos3", pad_to_aspect_ratio=True, fill_value=0.5, antialias=True, data_format="channels_first"), (2, 3, 5, 6),
         lambda k: k.Resizing(4, 2, "lanczos3", pad_to_aspect_ratio=True, fill_value=0.5, antialias=True, data_format="channels_first")),
    Case(nn.CenterCrop(3, 4), (2, 6, 7, 2), lambda k: k.CenterCrop(3, 4)),
    Case(nn.CategoryEncoding(7, "count"), (4, 5), lambda k: k.CategoryEncoding(7, "count"), integers=7),
    Case(nn.Discretization((-0.5, 0.0, 1.0), output_mode="one_hot"), (4, 3), lambda k: k.Discretization((-0.5, 0.0, 1.0), output_mode="one_hot")),
    Case(nn.Hashing(3, salt=(1, 2), output_mode="multi_hot"), (4, 2), formula=lambda x: hot(hashed_bins(x, 3, (1, 2)), 3), integers=9),
    Case(nn.IntegerLookup(vocabulary=(3, 0, 5), output_mode="tf_idf", idf_weights=(0.5, 1.0, 3.0)), (4, 5),
         formula=idf, integers=9),
    # Layers that draw: what they are in inference. tests/nn/test_augment.py has what they are in training.
    Case(nn.RandomFlip(seed=3), PICTURES, formula=same),
    Case(nn.RandomCrop(3, 4), PICTURES, lambda k: k.Resizing(3, 4, crop_to_aspect_ratio=True)),
    Case(nn.RandomRotation(0.1, "constant", data_format="channels_first"), PICTURES, formula=same),
    Case(nn.RandomZoom((0.1, 0.3), 0.2, "wrap", "nearest"), PICTURES, formula=same),
    Case(nn.RandomTranslation(0.2, (-0.1, 0.3), "nearest"), PICTURES, formula=same),
    Case(nn.RandomContrast(0.3, (-2, 2)), PICTURES, formula=same),
    Case(nn.RandomBrightness(0.3, (-2, 2)), PICTURES, formula=same),
    Case(nn.MixUp(0.4), PICTURES, formula=same),
    Case(nn.CutMix((0.2, 0.8), data_format="channels_first"), PICTURES, formula=same),
]  # fmt: skip


def init(layer, shape):
    return layer.init(jax.random.key(0), jnp.ones(shape))


def mixed(layer, *shapes):
    return layer.apply({}, {}, tuple(map(jnp.ones, shapes)))


DATA = np.ones((3, 2))
MISTAKES = {
    "a normalization that saw nothing": (lambda: init(nn.Normalization(), (2, 3)), ["Normalization() has no mean and variance", "layer = layer.adapt(x)"]),
    "adapting twice": (lambda: nn.Normalization().adapt(DATA).adapt(DATA), ["has its mean and variance already", "without mean and variance"]),
    "adapting to nothing": (lambda: nn.Normalization().adapt(iter([])), ["Normalization: adapt was given no data"]),
    "a mean alone": (lambda: nn.Normalization(mean=0.0), ["mean and variance go together"]),
    "a mean of text": (lambda: nn.Normalization(mean="a", variance=1.0), ["Normalization: mean is a number", "'a'"]),
    "a negative variance": (lambda: nn.Normalization(mean=0.0, variance=-1.0), ["variance must be at least 0"]),
    "a mean of too many axes": (lambda: nn.Normalization(mean=DATA, variance=DATA), ["mean has 2 axes", "axis=-1"]),
    "an axis of text": (lambda: nn.Normalization("last"), ["Normalization: axis", "'last'"]),
    "statistics of the batch axis": (lambda: init(nn.Normalization(0, mean=0.0, variance=1.0), (2, 3)), ["axis=0, which is the batch axis", "axis=None"]),
    "statistics of other features": (lambda: init(nn.Normalization(mean=[0.0, 1.0], variance=[1.0, 1.0]), (2, 3)), ["(2,)", "(3,)"]),
    "a scale of another shape": (lambda: init(nn.Rescaling([1.0, 2.0]), (2, 3)), ["scale of shape (2,)", "(2, 3)"]),
    "a resizing to nothing": (lambda: nn.Resizing(0, 3), ["Resizing: height", "got 0"]),
    "an unknown interpolation": (lambda: nn.Resizing(2, 3, "bilinaer"), ["Resizing: unknown interpolation", "Did you mean 'bilinear'?"]),
    "cropping and padding": (lambda: nn.Resizing(2, 3, crop_to_aspect_ratio=True, pad_to_aspect_ratio=True), ["exclude each other"]),
    "padding by reflection": (lambda: nn.Resizing(2, 3, fill_mode="reflect"), ["fill_mode is 'constant'", "'reflect'"]),
    "a crop of a fraction": (lambda: nn.CenterCrop(2, 1.5), ["CenterCrop: width", "1.5"]),
    "an unknown flip": (lambda: nn.RandomFlip("sideways"), ["RandomFlip: unknown mode 'sideways'", "horizontal"]),
    "an unknown fill": (lambda: nn.RandomRotation(0.1, "reflct"), ["RandomRotation: unknown fill_mode", "Did you mean 'reflect'?"]),
    "a rotation in degrees": (lambda: nn.RandomRotation(36), ["RandomRotation: factor", "[-1, 1]", "36"]),
    "a range of three": (lambda: nn.RandomZoom((0.1, 0.2, 0.3)), ["RandomZoom: height_factor", "(0.1, 0.2, 0.3)"]),
    "a zoom to nothing": (lambda: nn.RandomZoom((-1, 0)), ["RandomZoom", "leaves nothing"]),
    "a translation of text": (lambda: nn.RandomTranslation("up", 0.1), ["RandomTranslation: height_factor", "'up'"]),
    "a negative contrast": (lambda: nn.RandomContrast(-0.1), ["RandomContrast: factor", "[0, 1]", "-0.1"]),
    "a value range upside down": (lambda: nn.RandomBrightness(0.1, (1, 0)), ["RandomBrightness: value_range", "(1, 0)"]),
    "a fractional seed": (lambda: nn.RandomFlip(seed=1.5), ["RandomFlip: seed", "1.5"]),
    "a flip without a key": (lambda: nn.RandomFlip().apply({}, {}, jnp.ones((1, 2, 2, 1)), training=True), ["RandomFlip()", "key=jax.random.key(0)"]),
    "a mix of weight zero": (lambda: nn.MixUp(0.0), ["MixUp: alpha"]),
    "a mix of class numbers": (lambda: mixed(nn.MixUp(), (2, 3, 3, 1), (2,)), ["MixUp", "a vector of labels per image", "(2,)", "to_categorical"]),
    "labels of other rows": (lambda: mixed(nn.MixUp(), (2, 3, 3, 1), (3, 4)), ["MixUp", "a vector of labels per image", "(3, 4)"]),
    "a cut of vectors": (lambda: mixed(nn.CutMix(), (2, 3), (2, 4)), ["CutMix", "rank 4", "(2, 3)"]),
    "a cut of three": (lambda: mixed(nn.CutMix(), (2, 3, 3, 1), (2, 4), (2,)), ["CutMix", "(images, labels)"]),
    "an encoding of no size": (lambda: nn.CategoryEncoding(), ["CategoryEncoding: num_tokens", "None"]),
    "an encoding in numbers": (lambda: nn.CategoryEncoding(3, "int"), ["unknown output_mode 'int'", "multi_hot"]),
    "a sparse encoding": (lambda: nn.CategoryEncoding(3, sparse=True), ["CategoryEncoding: sparse=True", "leave it out"]),
    "weights of one-hot vectors": (lambda: mixed(nn.CategoryEncoding(3, "one_hot"), (2, 3), (2, 3)), ["in mode 'count' a tuple (numbers, weights)"]),
    "weights of another shape": (lambda: mixed(nn.CategoryEncoding(3, "count"), (2, 3), (2, 4)), ["weights of the numbers' shape (2, 3)", "(2, 4)"]),
    "ranges that saw nothing": (lambda: init(nn.Discretization(num_bins=3), (2, 3)), ["Discretization(num_bins=3) has no bin_boundaries", "layer = layer.adapt(x)"]),
    "ranges given and to be learnt": (lambda: nn.Discretization([0.0], 3), ["either bin_boundaries or num_bins"]),
    "ranges that fall": (lambda: nn.Discretization([1.0, 0.0]), ["bin_boundaries must rise", "(1.0, 0.0)"]),
    "adapting given ranges": (lambda: nn.Discretization([1.0]).adapt(DATA), ["has its bin_boundaries already"]),
    "ranges of nothing": (lambda: nn.Discretization(num_bins=3).adapt([]), ["Discretization: adapt was given no data"]),
    "hashing into no bins": (lambda: nn.Hashing(0), ["Hashing: num_bins", "got 0"]),
    "hashing text on the device": (lambda: nn.Hashing(3, mask_value=""), ["Hashing: mask_value", "kjax.text.StringHashing"]),
    "a salt of three": (lambda: nn.Hashing(3, salt=(1, 2, 3)), ["Hashing: salt", "(1, 2, 3)"]),
    "a lookup that saw nothing": (lambda: init(nn.IntegerLookup(), (2, 3)), ["IntegerLookup() has no vocabulary", "layer = layer.adapt(x)"]),
    "a lookup adapted twice": (lambda: nn.IntegerLookup().adapt([1]).adapt([2]), ["has its vocabulary already"]),
    "a lookup of nothing": (lambda: nn.IntegerLookup().adapt([]), ["IntegerLookup: adapt was given no tokens"]),
    "a vocabulary that repeats": (lambda: nn.IntegerLookup(vocabulary=[1, 2, 1]), ["IntegerLookup: vocabulary", "[1]"]),
    "a vocabulary of text": (lambda: nn.IntegerLookup(vocabulary=[1.5]), ["IntegerLookup: tokens are integers", "1.5"]),
    "a mask in the vocabulary": (lambda: nn.IntegerLookup(vocabulary=[1, 0], mask_token=0), ["vocabulary holds [0]", "[0, -1]"]),
    "a vocabulary too large": (lambda: nn.IntegerLookup(2, vocabulary=[1, 2]), ["3 tokens exceed max_tokens=2"]),
    "padding to nothing": (lambda: nn.IntegerLookup(pad_to_max_tokens=True), ["pad_to_max_tokens=True needs max_tokens"]),
    "vectors turned back": (lambda: nn.IntegerLookup(invert=True, output_mode="count"), ["invert=True", "'count'"]),
    "tf_idf without weights": (lambda: nn.IntegerLookup(vocabulary=[1], output_mode="tf_idf"), ["idf_weights go with a vocabulary"]),
    "too few weights of tokens": (lambda: nn.IntegerLookup(vocabulary=[1, 2], idf_weights=[1.0], output_mode="tf_idf"), ["2 tokens, but 1 idf_weights"]),
    "farmhash": (lambda: nn.IntegerLookup(oov_method="farmhash"), ["'floormod', or 'hash'", "'farmhash'"]),
    "a vocabulary in int32": (lambda: nn.IntegerLookup(vocabulary_dtype="int32"), ["vocabulary_dtype is 'int64'", "'int32'"]),
    "integers beyond 32 bits": (lambda: nn.IntegerLookup(vocabulary=[2**40]).apply({}, {}, jnp.ones((1, 2), jnp.int32)), ["integers outside of int32"]),
    "text without a vocabulary": (lambda: text.TextVectorization()(["a"]), ["TextVectorization() has no vocabulary", "layer = layer.adapt(x)"]),
    "a string lookup without a vocabulary": (lambda: text.StringLookup()(["a"]), ["StringLookup() has no vocabulary", "layer = layer.adapt(x)"]),
    "text adapted twice": (lambda: text.TextVectorization().adapt(["a"]).adapt(["b"]), ["TextVectorization(", "has its vocabulary already"]),
    "text in a model": (lambda: nn.Serial([text.TextVectorization(vocabulary=["a"])]), ["layers[0] is not a layer", "before the model", "vectorize(texts)"]),
    "numbers for text": (lambda: text.TextVectorization(vocabulary=["a"])([1.5]), ["TextVectorization takes strings", "[1.5]"]),
    "numbers in a vocabulary of strings": (lambda: text.StringLookup(vocabulary=[1]), ["StringLookup: tokens are strings", "1"]),
    "a string that must be known": (lambda: text.StringLookup(vocabulary=["a"], num_oov_indices=0)(["b"]), ["'b' is not in the vocabulary", "num_oov_indices=1"]),
    "an unknown standard": (lambda: text.TextVectorization(standardize="lowr"), ["TextVectorization: unknown standardize", "Did you mean 'lower'?"]),
    "an unknown split": (lambda: text.TextVectorization(split="words"), ["TextVectorization: unknown split 'words'", "whitespace"]),
    "groups of none": (lambda: text.TextVectorization(ngrams=0), ["TextVectorization: ngrams", "()"]),
    "a length of vectors": (lambda: text.TextVectorization(output_mode="count", output_sequence_length=3), ["output_sequence_length is for output_mode='int'"]),
    "ragged rows": (lambda: text.TextVectorization(ragged=True), ["ragged=True", "padded with 0"]),
    "sparse vectors of text": (lambda: text.TextVectorization(output_mode="count", sparse=True), ["TextVectorization: sparse=True", "leave it out"]),
    "texts in two columns": (lambda: text.TextVectorization(vocabulary=["a"])([["a", "b"]]), ["(batch, 1), got (1, 2)", "split=None"]),
    "a salt of text": (lambda: text.StringHashing(3, salt="x"), ["StringHashing: salt", "'x'"]),
    "resizing pictures without channels": (lambda: init(nn.Resizing(2, 3), (2, 5, 5)), ["rank 4", "x[..., None]"]),
}  # fmt: skip
