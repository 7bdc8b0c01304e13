"""Layers that change pictures, in training: their parts against Keras, colorsys and SciPy, and what is drawn."""

import colorsys
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
from conftest import keras_allowed

from kjax import nn
from kjax.nn import color, image, warp

RNG = np.random.default_rng(0)
PICTURES = RNG.random((3, 6, 7, 3)).astype("float32")
KEY = jax.random.key(0)


@functools.partial(jax.jit, static_argnums=0)
def train_on(layer, x, key=KEY):
    return layer.apply({}, {}, x, training=True, key=key)[0]


UNIT = (0, 1)
OPTIONS = {  # of the same layer in both
    "degeneration": ("RandomColorDegeneration", (0.3, 0.3), UNIT),
    "more saturation": ("RandomSaturation", (0.7, 0.7), UNIT),
    "less saturation": ("RandomSaturation", (0.2, 0.2), UNIT),
    "three bits": ("RandomPosterization", (3, 3), UNIT),
    "sharper": ("RandomSharpness", (0.9, 0.9), UNIT),
    "negatives": ("RandomInvert", (1, 1), UNIT),
    "grey": ("RandomGrayscale", 1),
    "all inverted": ("Solarization", 0.0, 0.0, UNIT),
    "jitter": ("RandomColorJitter", UNIT, (0.1, 0.1), None, (0.6, 0.6)),
    "blur": ("RandomGaussianBlur", (1, 1), (3, 5), (0.8, 0.8), UNIT),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_arguments_mean_what_they_mean_in_keras(name):
    import keras

    kind, *options = OPTIONS[name]
    with keras_allowed():
        theirs = getattr(keras.layers, kind)(*options)(PICTURES, training=True)
    np.testing.assert_allclose(train_on(getattr(nn, kind)(*options), PICTURES), theirs, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("value_range", [(0, 1), (-1, 1)])
def test_hues_are_colorsyss(value_range):
    picture = RNG.random((4, 5, 3))
    picture[0, 0], picture[0, 1, 0] = 0.5, picture[0, 1, 1]  # a grey, and two equal channels
    turned = []
    for turn in (0.3, -0.3):
        hsv = (colorsys.rgb_to_hsv(*pixel) for pixel in picture.reshape(-1, 3))
        turned.append(np.reshape([colorsys.hsv_to_rgb((h + turn) % 1, s, v) for h, s, v in hsv], picture.shape))
    low, high = value_range
    with jax.enable_x64(True):
        given = jnp.broadcast_to(picture * (high - low) + low, (8, *picture.shape))
        found = (np.asarray(train_on(nn.RandomHue((0.6, 0.6), value_range), given)) - low) / (high - low)
    seen = {min((0, 1), key=lambda i: abs(y - turned[i]).max()) for y in found}
    assert seen == {0, 1}
    for y in found:
        assert min(abs(y - t).max() for t in turned) < 1e-12


def test_saturations_are_colorsyss():
    picture = RNG.random((4, 5, 3))
    picture[0, 0], picture[0, 1] = 0.0, 0.5
    hsv = [colorsys.rgb_to_hsv(*pixel) for pixel in picture.reshape(-1, 3)]
    for factor in (0.0, 0.4, 3.0):
        theirs = np.reshape([colorsys.hsv_to_rgb(h, min(s * factor, 1), v) for h, s, v in hsv], picture.shape)
        with jax.enable_x64(True):
            ours = color.saturated(jnp.asarray(picture), jnp.asarray(factor))
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12)


def test_bright_values_are_solarised():
    x = np.arange(256.0, dtype="float32").reshape(1, 16, 16, 1)
    expected = np.minimum(x + 51, 255)
    expected = np.where(expected < 102, expected, 255 - expected)
    y = train_on(nn.Solarization((0.2, 0.2), (0.4, 0.4)), x)
    np.testing.assert_allclose(y, expected, atol=1e-3)


@pytest.mark.parametrize("value_range", [(0, 255), (0, 1)])
def test_equalization_is_kerass_on_one_picture(value_range):
    import keras

    x = (RNG.random((1, 9, 8, 2)) ** 3 * value_range[1]).astype("float32")
    x[..., 1] = x[0, 0, 0, 1]  # one value
    with keras_allowed():
        theirs = keras.layers.Equalization(value_range, 64)(x)
    ours = nn.Equalization(value_range, 64).apply({}, {}, x)[0]
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(nn.AutoContrast(value_range).apply({}, {}, x)[0][..., 1], x[..., 1])


def test_the_window_of_a_blur_is_scipys():
    x = RNG.random((9, 8, 2))
    with jax.enable_x64(True):
        ours = image.blurred(jnp.asarray(x), (1.3, 0.7), (7, 5))
    theirs = scipy.ndimage.gaussian_filter(x, (1.3, 0.7, 0), mode="constant", radius=(3, 2, 0))
    np.testing.assert_allclose(ours, theirs, rtol=1e-12)


def test_a_shear_is_kerass():
    import keras

    same = np.repeat(PICTURES[:1], 8, 0)
    layer = nn.RandomShear((0.31, 0.31), (0.13, 0.13), "nearest", "constant", 0.5)
    ours = np.asarray(train_on(layer, same))
    with keras_allowed():
        made = keras.layers.RandomShear(0.31, 0.13, "nearest", "constant", 0.5)
        factors = np.array([[0.31, 0.13], [-0.31, -0.13]], "float32")
        theirs = np.asarray(made.transform_images(same[:2], {"shear_factor": factors}))
    ways = [int(abs(y - theirs[1]).max() < 1e-6) for y in ours]
    assert set(ways) == {0, 1}
    np.testing.assert_allclose(ours, theirs[ways], atol=1e-6)


def test_a_perspective_is_kerass():
    import keras

    start = np.array([[[0, 0], [6, 0], [0, 5], [6, 5]]], "float32")
    end = start * (1 + RNG.uniform(-0.5, 0.5, (1, 4, 2))).astype("float32")
    size = np.array([6, 5], "float32")
    row, col = warp.projected(PICTURES[0], warp.homography(jnp.asarray(end[0] / size), jnp.asarray(start[0] / size)))
    ours = image.sampled(jnp.asarray(PICTURES[0]), row, col, "bilinear", "constant", 0.5)
    with keras_allowed():
        theirs = keras.ops.image.perspective_transform(PICTURES[:1], start, end, fill_value=0.5)[0]
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)  # Keras solves in float32, in pixels
    y = train_on(nn.RandomPerspective((1, 1), 0.5), PICTURES)
    assert (y != PICTURES).any((1, 2, 3)).all()
    np.testing.assert_allclose(train_on(nn.RandomPerspective((1, 1), 0.0), PICTURES), PICTURES, atol=1e-5)


def test_an_elastic_transform_moves_pixels_as_far_as_it_says():
    slope = jnp.broadcast_to(jnp.arange(40.0)[:, None, None], (200, 40, 20, 1))
    y = train_on(nn.RandomElasticTransform((1, 1), (0.5, 0.5), value_range=(-99, 99)), slope)
    moves = np.asarray(y - slope)[:, 10:30, 5:15]
    # Noise of deviation 0.5 smoothed by a window of 7 pixels, times 2; in independent pictures.
    line = np.exp(-0.5 * (np.arange(-3, 4) / 0.5) ** 2)
    assert abs(moves.mean()) < 0.01
    np.testing.assert_allclose(moves.std(), 2 * 0.5 * (line**2).sum() / line.sum() ** 2, rtol=0.02)
    assert (
        abs(
            np.corrcoef(moves[:, :-1].ravel(), moves[:, 1:].ravel())[0, 1]
            - (line[1:] * line[:-1]).sum() / (line**2).sum()
        )
        < 0.03
    )


def test_chances_are_as_said():
    x = jnp.full((2000, 1, 1, 3), 0.25)
    for layer, chance in (
        (nn.RandomInvert(value_range=(0, 1)), 0.5),
        (nn.RandomInvert((0.8, 0.8), (0, 1)), 0.8),
        (nn.RandomGrayscale(0.3), 0.3),
    ):
        changed = (train_on(layer, x.at[..., 0].set(0.5)) != x.at[..., 0].set(0.5)).any((1, 2, 3))
        assert abs(changed.mean() - chance) < 4 * np.sqrt(0.25 / 2000), layer


def test_bits_are_drawn_from_the_whole_range():
    x = jnp.full((400, 1, 1, 1), 255.0)
    assert set(np.unique(train_on(nn.RandomPosterization((2, 4)), x)).tolist()) == {192.0, 224.0, 240.0}


def test_what_is_erased():
    x = jnp.full((500, 20, 30, 3), -1.0)
    y = np.asarray(train_on(nn.RandomErasing((1, 1), (0.1, 0.3), (1, 2, 3), (0, 9)), x))
    covered = (y != -1).any(-1)
    assert set(map(tuple, y[covered].tolist())) == {(1, 2, 3)}
    # Two independent sides, each the root of a draw: their product's mean.
    side = (0.3**1.5 - 0.1**1.5) / 1.5 / 0.2
    np.testing.assert_allclose(covered.mean(), side**2, rtol=0.03)
    assert (covered.any(2).sum(1) * covered.any(1).sum(1) == covered.sum((1, 2))).all()  # rectangles
    noise = np.asarray(train_on(nn.RandomErasing((1, 1), (1, 1), None, (-50, 50)), jnp.zeros((1, 60, 60, 1))))
    assert abs(np.clip(RNG.normal(size=9999) * 50, -50, 50).std() - noise.std()) < 1.5


def test_policies_change_each_picture_in_a_way_of_its_own():
    same = jnp.asarray(np.repeat(PICTURES[:1], 12, 0))
    for layer in (nn.RandAugment((0, 1)), nn.AugMix((0, 1))):
        y = np.asarray(train_on(layer, same))
        assert len({picture.tobytes() for picture in y}) > 8
        assert y.min() >= 0 and y.max() <= 1
        np.testing.assert_array_equal(train_on(layer, same), y)
    few = nn.RandAugment((0, 1), 1, (0, 0))  # of strength 0 the geometry and light stay
    kept = (abs(train_on(few, same) - same).max((1, 2, 3)) < 1e-5).mean()
    assert 0.3 < kept < 0.9
