"""Spectrograms against Keras, functions as layers, and the page that says which of Keras's layers there are."""

import itertools
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import keras_allowed

from kjax import layers, nn

SOUND = np.random.default_rng(0).standard_normal((2, 40, 2)).astype("float32")


def test_decibels_are_kerass():
    import keras

    options = (16, 6, 12, "hann", 800, 5, 20, 390, True, 9.0, 1.5)
    with keras_allowed():
        theirs = keras.layers.MelSpectrogram(*options)(SOUND[:1, :, 0])
    ours, _ = nn.MelSpectrogram(*options).apply({}, {}, SOUND[:1, :, 0])
    np.testing.assert_allclose(ours, theirs, atol=1e-4)  # Keras finds its bands in float32


@pytest.mark.parametrize("mode", ["log", "magnitude", "psd", "real", "imag", "angle", "stft"])
def test_every_spectrogram_is_kerass(mode):
    import keras

    for data_format, expand_dims in itertools.product(("channels_last", "channels_first"), (False, True)):
        options = (mode, 6, 4, 8, "hamming", False, "density", "valid", expand_dims, data_format)
        x = SOUND if data_format == "channels_last" else SOUND.transpose(0, 2, 1)
        layer = nn.STFTSpectrogram(*options)
        params, state = layer.init(jax.random.key(0), x)
        with keras_allowed():
            theirs = keras.layers.STFTSpectrogram(*options)(x)
        ours, theirs = np.asarray(layer.apply(params, state, x)[0]), np.asarray(theirs)
        if mode == "angle":  # -π is π
            ours, theirs = np.exp(1j * ours), np.exp(1j * theirs)
        # An angle and a logarithm of little sound are of few digits.
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-3 if mode in ("angle", "log") else 1e-6)


def test_functions_become_a_layer_with_weights_state_and_draws():
    def make(rng, inputs, training):
        assert training
        return {"kernel": jax.random.normal(rng, inputs.shape[-1:])}, {"calls": jnp.zeros((), jnp.int32)}

    def run(params, state, rng, inputs, training):
        y = inputs * params["kernel"][None]
        return (y + jax.random.normal(rng, y.shape) if training else y), {"calls": state["calls"] + int(training)}

    layer, x = nn.JaxLayer(run, make, seed=3), jnp.ones((2, 4))
    net = nn.Serial([nn.Dense(4), layer])
    params, state = net.init(jax.random.key(0), x)
    quiet, state = net.apply(params, state, x)
    loud, state = net.apply(params, state, x, training=True, key=jax.random.key(0))
    assert (loud != quiet).all() and int(state["jax_layer"]["calls"]) == 1
    np.testing.assert_array_equal(quiet, net.apply(params, state, x)[0])
    with pytest.raises(nn.LayerError, match="draws random numbers"):
        net.apply(params, state, x, training=True)


def test_the_page_of_layers_names_all_of_kerass():
    import keras

    page = (pathlib.Path(__file__).parents[2] / "docs" / "layers.md").read_text()
    there, absent = page.split("## Not here")
    theirs = {name for name in dir(keras.layers) if not name.startswith("_")}
    named = set(re.findall(r"`(\w+)`", there)) & theirs
    refused = set(re.findall(r"^\| `(\w+)`", absent, re.MULTILINE))
    ours = {name for name in theirs if hasattr(layers, name)}
    assert ours == named, ours ^ named
    assert theirs - ours == refused, (theirs - ours) ^ refused
