"""What the noise layers draw: means and variances, what stays together, and from which key."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rows.noise import ROWS
from scipy import stats

from kjax import nn

KEY = jax.random.key(7)
LAYERS = [case.layer for case in ROWS if case.layer.draws]


def disturbed(layer, x, key=KEY):
    return np.asarray(layer.apply({}, {}, x, training=True, key=key)[0])


def one_input(layer):
    """Random numbers of a rank that the layer takes."""
    return jnp.asarray(next(case for case in ROWS if case.layer == layer).input()) + 3


@pytest.mark.parametrize("layer", LAYERS, ids=repr)
def test_only_training_disturbs_and_key_and_seed_decide(layer):
    x = one_input(layer)
    np.testing.assert_array_equal(layer.apply({}, {}, x)[0], x)
    np.testing.assert_array_equal(layer.apply({}, {}, x, key=KEY)[0], x)
    once = disturbed(layer, x)
    np.testing.assert_array_equal(once, disturbed(layer, x))
    seeded = {seed: disturbed(layer.replace(seed=seed), x, KEY) for seed in range(10)}
    assert len({y.tobytes() for y in seeded.values()}) > 3  # of a few draws, some may fall out alike
    np.testing.assert_array_equal(seeded[4], disturbed(layer.replace(seed=None), x, jax.random.fold_in(KEY, 4)))
    assert any((disturbed(layer, x, jax.random.key(i)) != once).any() for i in range(10))


@pytest.mark.parametrize("layer", [nn.AlphaDropout(0), nn.DropPath(0), nn.GaussianNoise(0), nn.GaussianDropout(0)])
def test_no_noise_is_the_identity(layer):
    np.testing.assert_array_equal(disturbed(layer, jnp.ones((3, 2))), 1)


@pytest.mark.parametrize(
    ("layer", "shape", "together"),
    [
        (nn.SpatialDropout1D(0.3), (500, 4, 40), (1,)),
        (nn.SpatialDropout2D(0.3), (500, 2, 3, 40), (1, 2)),
        (nn.SpatialDropout2D(0.3, "channels_first"), (500, 40, 2, 3), (2, 3)),
        (nn.SpatialDropout3D(0.3), (500, 2, 2, 3, 40), (1, 2, 3)),
        (nn.SpatialDropout3D(0.3, "channels_first"), (500, 40, 2, 1, 3), (2, 3, 4)),
        (nn.DropPath(0.3), (20000, 2, 3), (1, 2)),
        (nn.AlphaDropout(0.3, (None, 1, None)), (500, 4, 40), (1,)),
    ],
)
def test_what_shares_its_fate(layer, shape, together):
    """All of a set or none of it; the sets are independent, and the kept ones are scaled to keep the mean."""
    y = disturbed(layer, jnp.ones(shape))
    fates = y.min(together)
    np.testing.assert_array_equal(fates, y.max(together))
    low, high = np.unique(fates)
    if not isinstance(layer, nn.AlphaDropout):
        np.testing.assert_allclose([low, high], [0.0, 1 / 0.7], rtol=1e-6)
    dropped = fates == low
    assert stats.binomtest(int(dropped.sum()), dropped.size, 0.3).pvalue > 1e-3
    beside = dropped.reshape(dropped.shape[0], -1)
    neighbours = beside[1:] & beside[:-1]
    assert abs(neighbours.mean() - 0.09) < 4 * np.sqrt(0.09 * 0.91 / neighbours.size) * 1.5


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_gaussian_noise_is_normal(dtype):
    # Near 0, so that a bfloat16 sum rounds less than what is measured.
    y = disturbed(nn.GaussianNoise(0.5), jnp.full((400, 500), 0.25, dtype)).astype(np.float64)
    z = (y - 0.25) / 0.5
    assert abs(z.mean()) < 4 / np.sqrt(z.size)
    assert abs(z.var() - 1) < 4 * np.sqrt(2 / z.size)
    if dtype == jnp.float32:
        assert stats.kstest(z.ravel(), "norm").pvalue > 1e-3
        assert abs(np.corrcoef(z[:, 1:].ravel(), z[:, :-1].ravel())[0, 1]) < 4 / np.sqrt(z.size)
        assert 4 < np.abs(z).max() < 5.3


def test_gaussian_noise_in_float64_has_its_resolution():
    with jax.enable_x64(True):
        y = disturbed(nn.GaussianNoise(1.0), jnp.zeros(100_000))
        assert y.dtype == np.float64 and len(np.unique(y)) > 99_990
        assert stats.kstest(y, "norm").pvalue > 1e-3


def test_gaussian_dropout_has_the_variance_of_dropout():
    x = jnp.full((400, 500), 2.0)
    y, z = (disturbed(kind(0.3), x).astype(np.float64) for kind in (nn.GaussianDropout, nn.Dropout))
    variance = 4 * 0.3 / 0.7
    for drawn in (y, z):
        assert abs(drawn.mean() - 2) < 4 * np.sqrt(variance / x.size)
        np.testing.assert_allclose(drawn.var(), variance, rtol=0.015)
    assert stats.kstest((y.ravel() - 2) / np.sqrt(variance), "norm").pvalue > 1e-3


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_alpha_dropout_keeps_mean_and_variance(rate):
    """Against the formula of Keras, whose two values are what an element can become."""
    x = jax.nn.standardize(jax.nn.selu(jax.random.normal(KEY, (400, 500))), axis=None)
    y = disturbed(nn.AlphaDropout(rate), x, jax.random.key(1)).astype(np.float64)
    lowest = -1.7580993408473766
    a = ((1 - rate) * (1 + rate * lowest**2)) ** -0.5
    b = -a * lowest * rate
    kept = np.isclose(y, a * np.asarray(x) + b, atol=1e-5)
    np.testing.assert_allclose(y[~kept], a * lowest + b, rtol=1e-5)
    assert abs(kept.mean() - (1 - rate)) < 0.01
    assert abs(y.mean()) < 0.015 and abs(y.var() - 1) < 0.025


def test_activity_regularization_costs_what_it_says():
    layer, x = nn.ActivityRegularization(0.5, 0.25), jnp.array([[3.0, -4.0], [0.0, 1.0]])
    net = nn.Serial([layer, nn.Dense(1, kernel_initializer="zeros")])
    params, state = net.init(KEY, x)
    _, state = net.apply(params, state, x, training=True)
    assert float(net.penalty(params, state)) == (0.5 * 8 + 0.25 * 26) / 2
    assert layer.needs_rows
    masked = nn.Masked(x, jnp.array([True, False]))
    _, state = layer.apply({}, {}, masked)
    assert float(layer.penalty({}, state)) == 0.5 * 7 + 0.25 * 25
