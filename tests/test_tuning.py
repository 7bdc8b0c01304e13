"""The range test: each loss is that of a model trained alone at its rate."""

import jax
import numpy as np
import pytest

import kjax
from kjax import layers, optim

rng = np.random.default_rng(0)
X = rng.normal(size=(70, 3)).astype("float32")
Y = X @ np.array([[1.0], [-2.0], [0.5]], "float32")


def compiled(optimizer="sgd"):
    model = kjax.Sequential([layers.Dense(1)], seed=3)
    model.compile(optimizer=optimizer, loss="mse")
    model.build(X.shape)
    return model


def test_finds_a_rate_that_learns():
    model = compiled(optim.SGD(optim.schedules.CosineDecay(0.1, 10), 0.5, gradient_accumulation_steps=1))
    before, key = model.get_weights(), jax.random.key_data(model.state.key)
    found = kjax.lr_range(model, X, Y, low=1e-5, high=100, num=15, steps=40)
    assert found.rates[0] == pytest.approx(1e-5) and found.rates[-1] == pytest.approx(100)
    assert 0.02 < found.suggested < 1 and found.losses[-1] > 1e3
    assert found.losses.min() < 1e-3 < found.losses[0]
    jax.tree.map(np.testing.assert_array_equal, before, model.get_weights())
    np.testing.assert_array_equal(key, jax.random.key_data(model.state.key))
    assert found.plot().axes[0].get_xlabel() == "learning rate"


def test_equals_a_model_trained_alone():
    found = kjax.lr_range(compiled("adam"), X, Y, low=0.001, high=0.1, num=3, steps=4, batch_size=70)
    for rate, loss in zip(found.rates, found.losses, strict=True):
        model = compiled(optim.Adam(rate))
        alone = [model.train_on_batch(X, Y) for _ in range(4)]
        assert loss == pytest.approx(alone[-1], rel=1e-5)


def test_wrong_ranges_are_refused():
    for given, message in [
        ({"low": 1.0, "high": 0.1}, "0 < low < high; got low=1.0, high=0.1"),
        ({"num": 1}, "num must be an integer of at least 2"),
        ({"steps": 0}, "steps must be an integer of at least 1"),
    ]:
        with pytest.raises(ValueError, match=message):
            kjax.lr_range(compiled(), X, Y, **given)
    with pytest.raises(RuntimeError, match="not compiled"):
        kjax.lr_range(kjax.Sequential([layers.Dense(1)]), X, Y)
