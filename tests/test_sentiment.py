"""The LSTM example against Keras 3: the same weights and batches give the same losses, masks included."""

import importlib.util
import pathlib

import keras
import numpy as np
from conftest import keras_allowed

from kjax import optim

SOURCE = pathlib.Path(__file__).parents[1] / "examples" / "lstm_sentiment.py"


def example():
    spec = importlib.util.spec_from_file_location("lstm_sentiment", SOURCE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_ten_steps_of_the_example_match_keras():
    module = example()
    x, y = module.reviews(640)
    batches = np.arange(640).reshape(10, 64)
    ours = module.network(seed=0)
    ours.build((None, module.LENGTH))
    ours.compile(optim.Adam(lr=0.01, epsilon=1e-7), "binary_crossentropy")
    k = keras.layers
    with keras_allowed():
        theirs = keras.Sequential([
            keras.Input((module.LENGTH,), dtype="int32"), k.Embedding(len(module.WORDS), 16, mask_zero=True),
            k.Bidirectional(k.LSTM(16)), k.Dense(1, activation="sigmoid"),
        ])  # fmt: skip
        theirs.set_weights(ours.get_weights())
        theirs.compile(keras.optimizers.Adam(0.01), "binary_crossentropy")
        wanted = [float(_fresh_loss(theirs, x[b], y[b])) for b in batches]
    got = [ours.train_on_batch(x[b], y[b]) for b in batches]
    assert wanted[-1] < wanted[0]
    np.testing.assert_allclose(got[:3], wanted[:3], rtol=1e-5)
    # Adam divides small gradients by their own size, so that rounding grows.
    np.testing.assert_allclose(got, wanted, rtol=1e-4)


def _fresh_loss(theirs, x, y):
    theirs.reset_metrics()  # Keras returns the mean since the last reset
    return theirs.train_on_batch(x, y)
