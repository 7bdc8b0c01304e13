"""The options of transposed convolution, of upsampling and of adaptive pooling, all against Keras."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import keras_allowed
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kjax import layers, nn


@st.composite
def transposed_options(draw):
    strides = draw(st.tuples(*[st.integers(1, 3)] * 2))
    return {
        "kernel_size": draw(st.tuples(*[st.integers(1, 5)] * 2)),
        "strides": strides,
        "padding": draw(st.sampled_from(["valid", "same"])),
        "output_padding": draw(st.none() | st.tuples(*[st.integers(0, s - 1) for s in strides])),
        "dilation_rate": draw(st.integers(1, 3)) if max(strides) == 1 else 1,
        "data_format": draw(st.sampled_from(["channels_last", "channels_first"])),
    }


DILATED = {"kernel_size": (3, 2), "strides": 1, "dilation_rate": (2, 3), "data_format": "channels_first"}


@example({**DILATED, "padding": "same", "output_padding": 0}, 2)
@example({"kernel_size": (3, 4), "strides": (2, 3), "padding": "same", "output_padding": (1, 0)}, 9)
@settings(derandomize=True, deadline=None, max_examples=8, database=None)
@given(transposed_options(), st.sampled_from([2, 9]))
def test_transposed_convolution_is_kerass(options, filters):
    import keras

    rng, channels = np.random.default_rng(0), 3 if options.get("data_format") == "channels_first" else 4
    shapes = (2, 3, 5, 4), (*options["kernel_size"], filters, channels), (filters,)
    x, kernel, bias = (rng.standard_normal(shape).astype(np.float32) for shape in shapes)
    layer = nn.Conv2DTranspose(filters, **options)
    with keras_allowed():
        theirs = keras.layers.Conv2DTranspose(filters, **options)
        theirs.build(x.shape)
        theirs.set_weights([kernel, bias])
        expected = theirs(x)
    ours = layer.apply({"kernel": jnp.asarray(kernel), "bias": jnp.asarray(bias)}, {}, jnp.asarray(x))[0]
    np.testing.assert_allclose(ours, expected, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("interpolation", ["bilinear", "lanczos3", "lanczos5"])
def test_interpolations_are_kerass(interpolation):
    import keras

    x = np.random.default_rng(0).standard_normal((1, 3, 5, 4)).astype(np.float32)
    options = {"size": (3, 2), "data_format": "channels_first", "interpolation": interpolation}
    with keras_allowed():
        expected = keras.layers.UpSampling2D(**options)(x)
    ours = nn.UpSampling2D(**options).apply({}, {}, jnp.asarray(x))[0]
    np.testing.assert_allclose(ours, expected, rtol=2e-6, atol=2e-6)


def test_the_gradient_of_an_adaptive_maximum_goes_to_the_first_of_equals():
    slope = jax.grad(lambda x: nn.AdaptiveMaxPooling2D(2).apply({}, {}, x)[0].sum())(jnp.zeros((1, 3, 4, 1)))
    np.testing.assert_array_equal(slope[0, :, :, 0], [[1, 0, 1, 0], [1, 0, 1, 0], [0, 0, 0, 0]])


def test_integers_stay_integers_where_nothing_is_computed():
    x = jnp.arange(12).reshape(1, 3, 4, 1)
    for layer in (nn.UpSampling2D(), nn.Cropping2D(1), nn.ZeroPadding2D(1)):
        assert layer.apply({}, {}, x)[0].dtype == x.dtype
    assert nn.UpSampling2D(interpolation="bilinear").apply({}, {}, x)[0].dtype == jnp.float32


def test_other_names():
    assert layers.Convolution2D is layers.Conv2D and layers.SeparableConvolution1D is layers.SeparableConv1D
    names = ("Convolution2DTranspose", "Deconvolution2D", "Deconv2D")
    assert {getattr(layers, name) for name in names} == {layers.Conv2DTranspose}
