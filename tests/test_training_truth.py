"""Whole training runs against Keras 3: the same weights and batches give the same losses."""

import keras
import numpy as np
import pytest
from conftest import keras_allowed

from kjax import Sequential, optim
from kjax.datasets import digits
from kjax.layers import BatchNormalization, Conv2D, Dense, Flatten, MaxPooling2D

STEPS = 50


def layers(k):
    return [
        k.Conv2D(8, (3, 3), activation="relu", padding="same"),
        k.Conv2D(16, (3, 3), activation="relu"),
        k.MaxPooling2D((2, 2)),
        k.BatchNormalization(),
        k.Flatten(),
        k.Dense(32, activation="relu"),
        k.Dense(10, activation="softmax"),
    ]


class Ours:
    Conv2D, MaxPooling2D, BatchNormalization, Flatten, Dense = Conv2D, MaxPooling2D, BatchNormalization, Flatten, Dense


RULES = {
    "sgd": (optim.SGD(lr=0.05, momentum=0.9, nesterov=True), lambda k: k.SGD(0.05, momentum=0.9, nesterov=True)),
    "adam": (optim.Adam(lr=0.001, epsilon=1e-7), lambda k: k.Adam(0.001)),
}


@pytest.mark.parametrize("rule", RULES)
def test_fifty_steps_of_a_convolutional_network_match_keras(rule):
    (x, y), _ = digits.load_data()
    x = x[..., None].astype("float32") / 16
    batches = [np.arange(i * 32, i * 32 + 32) % len(x) for i in range(STEPS)]
    ours = Sequential(layers(Ours))
    ours.build((None, 8, 8, 1))
    ours.compile(RULES[rule][0], "sparse_categorical_crossentropy")
    with keras_allowed():
        theirs = keras.Sequential([keras.Input((8, 8, 1)), *layers(keras.layers)])
        theirs.set_weights(ours.get_weights())
        theirs.compile(RULES[rule][1](keras.optimizers), "sparse_categorical_crossentropy")
        wanted = [float(_fresh_loss(theirs, x[b], y[b])) for b in batches]
    got = [ours.train_on_batch(x[b], y[b]) for b in batches]
    assert wanted[-1] < 0.5 * wanted[0]
    # Rounding differs in the order of sums, and training amplifies it: 1e-6 at first, 1e-3 of the loss at the end.
    np.testing.assert_allclose(got[:5], wanted[:5], rtol=1e-5)
    np.testing.assert_allclose(got, wanted, rtol=5e-3, atol=1e-4)


def _fresh_loss(theirs, x, y):
    theirs.reset_metrics()  # Keras returns the mean since the last reset
    return theirs.train_on_batch(x, y)
