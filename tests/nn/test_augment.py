"""Augmentation: the affine map against SciPy, the arguments against Keras, and what is drawn for whom."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
import scipy.stats
from conftest import keras_allowed
from hypothesis import given, settings
from hypothesis import strategies as st

from kjax import nn, train
from kjax.nn import image
from kjax.nn.mix import symmetric_beta

RNG = np.random.default_rng(0)
PICTURES = RNG.random((3, 6, 7, 2)).astype("float32")
SCIPY = {"constant": "grid-constant", "nearest": "nearest", "reflect": "reflect", "wrap": "grid-wrap"}
LAYERS = [
    nn.RandomFlip(),
    nn.RandomCrop(4, 3),
    nn.RandomRotation(0.3),
    nn.RandomZoom((0.1, 0.6)),
    nn.RandomTranslation(0.3, 0.3, "wrap"),
    nn.RandomContrast(0.5, (0, 1)),
    nn.RandomBrightness(0.5, (0, 1)),
]
every_layer = pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: type(layer).__name__)


@functools.partial(jax.jit, static_argnums=0)
def train_on(layer, x, key):
    return layer.apply({}, {}, x, training=True, key=key)[0]


@functools.partial(jax.jit, static_argnums=(3, 4))
def affine(picture, matrix, offset, interpolation, fill_mode):
    return image.affine(picture, matrix, offset, interpolation, fill_mode, 0.7)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(0, 2**32), st.sampled_from(image.INTERPOLATIONS), st.sampled_from(image.FILL_MODES))
def test_affine_is_scipys(seed, interpolation, fill_mode):
    rng = np.random.default_rng(seed)
    matrix, offset, picture = rng.normal(size=(2, 2)) * 1.5, rng.normal(size=2) * 8, rng.normal(size=(5, 4, 2))
    with jax.enable_x64(True):
        ours = affine(picture, matrix, offset, interpolation, fill_mode)
    order = image.INTERPOLATIONS.index(interpolation)
    theirs = [
        scipy.ndimage.affine_transform(channel, matrix, offset, order=order, mode=SCIPY[fill_mode], cval=0.7)
        for channel in np.moveaxis(picture, -1, 0)
    ]
    np.testing.assert_allclose(ours, np.stack(theirs, -1), rtol=1e-10, atol=1e-10)


FIXED = {
    "a turn to the left": (nn.RandomRotation((0.1, 0.1)), lambda k: k.RandomRotation((0.1, 0.1))),
    "a turn with options": (
        nn.RandomRotation((-0.07, -0.07), "constant", "nearest", 1, 0.5),
        lambda k: k.RandomRotation((-0.07, -0.07), "constant", "nearest", 1, 0.5),
    ),
    "a zoom of two": (
        nn.RandomZoom((-0.4, -0.4), (0.2, 0.2), "wrap"),
        lambda k: k.RandomZoom((-0.4, -0.4), (0.2, 0.2), "wrap"),
    ),
    "a move": (
        nn.RandomTranslation((0.3, 0.3), (-0.2, -0.2), "nearest"),
        lambda k: k.RandomTranslation((0.3, 0.3), (-0.2, -0.2), "nearest"),
    ),
    "light": (nn.RandomBrightness((0.2, 0.2), (0, 1)), lambda k: k.RandomBrightness((0.2, 0.2), (0, 1))),
}


@pytest.mark.parametrize("name", FIXED)
def test_arguments_mean_what_they_mean_in_keras(name):
    import keras

    layer, make = FIXED[name]
    with keras_allowed():
        theirs = np.asarray(make(keras.layers)(PICTURES, training=True))
    # 1e-5: both find their pixels in float32, some from degrees.
    np.testing.assert_allclose(train_on(layer, PICTURES, jax.random.key(0)), theirs, rtol=1e-5, atol=1e-5)


def test_contrast_is_kerass():
    import keras

    key = jax.random.key(3)
    layer = nn.RandomContrast((0.2, 0.9), (0, 1))
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(3))
    factors = np.stack([jax.random.uniform(k, (1, 1, 1), minval=0.8, maxval=1.9) for k in keys])
    with keras_allowed():
        theirs = keras.layers.RandomContrast(0.2, (0, 1)).transform_images(PICTURES, {"contrast_factor": factors})
    np.testing.assert_allclose(train_on(layer, PICTURES, key), theirs, rtol=1e-5, atol=1e-6)


@every_layer
def test_each_picture_has_a_draw_of_its_own(layer):
    same = jnp.asarray(np.repeat(PICTURES[:1], 8, axis=0))
    y = np.asarray(train_on(layer, same, jax.random.key(0)))
    # A flip has four outcomes, the others a continuum or twenty places.
    assert len({picture.tobytes() for picture in y}) >= (3 if isinstance(layer, nn.RandomFlip) else 5)
    np.testing.assert_array_equal(train_on(layer, same, jax.random.key(0)), y)
    assert (train_on(layer, same, jax.random.key(1)) != y).any()


def test_a_seed_gives_another_draw_and_other_pictures_none():
    layer = nn.RandomBrightness(0.5, (0, 1))
    y = train_on(layer, PICTURES, jax.random.key(0))
    assert (train_on(layer.replace(seed=5), PICTURES, jax.random.key(0)) != y).any()
    np.testing.assert_allclose(train_on(layer, PICTURES[:2], jax.random.key(0)), y[:2], rtol=1e-6)


@pytest.mark.parametrize("layer", [nn.RandomTranslation(0.3, 0.3, "wrap"), nn.RandomContrast(0.5, (0, 1))])
def test_channels_first_is_the_same_picture(layer):
    last = train_on(layer, PICTURES, jax.random.key(0))
    first = train_on(layer.replace(data_format="channels_first"), PICTURES.transpose(0, 3, 1, 2), jax.random.key(0))
    np.testing.assert_allclose(first, last.transpose(0, 3, 1, 2), rtol=1e-6, atol=1e-6)


def test_nothing_is_drawn_in_inference():
    for layer in LAYERS:
        if not isinstance(layer, nn.RandomCrop):
            np.testing.assert_array_equal(layer.apply({}, {}, PICTURES)[0], PICTURES)


def test_flips_are_fair_and_apart():
    grid = jnp.tile(jnp.arange(4.0).reshape(1, 2, 2, 1), (2000, 1, 1, 1))
    corner = np.asarray(train_on(nn.RandomFlip(), grid, jax.random.key(0)))[:, 0, 0, 0]
    counts = np.bincount(corner.astype(int), minlength=4)
    assert (abs(counts - 500) < 4 * np.sqrt(2000 * 0.25 * 0.75)).all(), counts  # four standard deviations
    for mode, seen in (("horizontal", {0.0, 1.0}), ("vertical", {0.0, 2.0})):
        assert set(np.asarray(train_on(nn.RandomFlip(mode), grid, jax.random.key(1)))[:, 0, 0, 0].tolist()) == seen


def test_crops_come_from_everywhere():
    numbers = jnp.tile(jnp.arange(20.0).reshape(1, 4, 5, 1), (1200, 1, 1, 1))
    y = np.asarray(train_on(nn.RandomCrop(2, 4), numbers, jax.random.key(0)))
    np.testing.assert_array_equal(
        y - y[:, :1, :1], np.broadcast_to([[[0], [1], [2], [3]], [[5], [6], [7], [8]]], y.shape)
    )
    counts = np.unique(y[:, 0, 0, 0], return_counts=True)[1]
    assert len(counts) == 6 and (abs(counts - 200) < 4 * np.sqrt(200)).all(), counts


def test_draws_fill_their_ranges():
    white = jnp.ones((1000, 1, 1, 1)) * 0.5
    light = np.asarray(train_on(nn.RandomBrightness((-0.1, 0.3), (0, 1)), white, jax.random.key(0))).ravel() - 0.5
    assert -0.1 <= light.min() < -0.09 and 0.29 < light.max() <= 0.3 and abs(light.mean() - 0.1) < 0.015
    halves = jnp.tile(jnp.array([0.4, 0.6]).reshape(1, 1, 2, 1), (1000, 1, 1, 1))
    contrast = np.asarray(train_on(nn.RandomContrast(0.5, (0, 1)), halves, jax.random.key(0)))[:, 0, 1, 0] * 10 - 5
    assert 0.499 < contrast.min() < 0.51 and 1.49 < contrast.max() < 1.501 and abs(contrast.mean() - 1) < 0.04


def test_a_small_picture_is_resized_instead_of_cropped():
    layer = nn.RandomCrop(8, 4)
    y, _ = layer.apply({}, {}, PICTURES, training=True, key=jax.random.key(0))
    np.testing.assert_allclose(y, nn.Resizing(8, 4, crop_to_aspect_ratio=True).apply({}, {}, PICTURES)[0])


@pytest.mark.parametrize("alpha", [0.05, 0.2, 1.0, 3.0])
def test_weights_are_drawn_from_the_beta_distribution(alpha):
    drawn = np.asarray(symmetric_beta(jax.random.key(0), alpha, (4000,), "float32"))
    inside = drawn[(drawn > 1e-6) & (drawn < 1 - 1e-6)]  # float32 rounds what is nearer to an end
    low, high = scipy.stats.beta.cdf([1e-6, 1 - 1e-6], alpha, alpha)
    assert abs(len(inside) / 4000 - (high - low)) < 0.03
    truth = scipy.stats.kstest(inside, lambda x: (scipy.stats.beta.cdf(x, alpha, alpha) - low) / (high - low))
    assert truth.pvalue > 0.01, truth


def mixed(layer, x, seed=0):
    return train_on(layer, x, jax.random.key(seed))


@pytest.mark.parametrize("layer", [nn.MixUp(0.8), nn.CutMix()], ids=["MixUp", "CutMix"])
def test_labels_are_mixed_as_pictures_are(layer):
    n = 16
    one_colour = jnp.broadcast_to(jnp.eye(n)[:, None, None, :], (n, 8, 8, n))  # a channel for each example
    images, labels = mixed(layer, (one_colour, jnp.eye(n)))
    np.testing.assert_allclose(images.mean((1, 2)), labels, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(labels.sum(1), 1, rtol=1e-6)
    own = jnp.diag(labels)
    assert 0.25 < own.mean() < 0.75 and own.std() > 0.1  # Beta(a, a) has mean 1/2; each example has its own weight
    if isinstance(layer, nn.CutMix):
        assert set(np.unique(images).tolist()) == {0.0, 1.0}
    np.testing.assert_array_equal(mixed(layer, (one_colour, jnp.eye(n)))[1], labels)
    assert (mixed(layer, (one_colour, jnp.eye(n)), 1)[1] != labels).any()
    same, _ = layer.apply({}, {}, (one_colour, jnp.eye(n)))
    np.testing.assert_array_equal(same[0], one_colour)


def test_padding_is_mixed_into_nothing():
    x = jnp.concatenate([jnp.ones((5, 4, 4, 1)), jnp.full((3, 4, 4, 1), 1e6)])
    masked = nn.Masked(x, jnp.arange(8) < 5)
    y = mixed(nn.MixUp(1.0), masked)
    np.testing.assert_allclose(y.value[:5], 1, rtol=1e-6)
    np.testing.assert_array_equal(y.mask, masked.mask)


def test_mixing_stands_before_a_training_step():
    trainer = train.Trainer(nn.Serial([nn.Flatten(), nn.Dense(3, "softmax")]), "categorical_crossentropy", "sgd")
    state = trainer.init(jax.random.key(0), PICTURES)
    mix = nn.CutMix()

    @jax.jit
    def step(state, batch):
        batch, _ = mix.apply({}, {}, batch, training=True, key=jax.random.fold_in(state.key, state.step))
        return trainer.train_step(state, batch)

    state, logs = step(state, (PICTURES, np.eye(3, dtype="float32")))
    assert int(state.step) == 1 and np.isfinite(logs["loss"])
