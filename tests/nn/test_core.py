"""Masks, penalties and names of the layers of `kjax.nn.core` and `kjax.nn.advanced_activations`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import keras_allowed

from kjax import nn, regularizers

STEPS = jnp.array([[True, True, False], [True, False, False]])


@pytest.mark.parametrize("shape", [(2, 3, 2), (4, 2), (2, 3, 2, 2)])
def test_masking_is_keras(shape):
    x = np.random.default_rng(0).integers(0, 2, shape).astype(np.float32) + 1
    x[0, ..., 0], x[1] = 1, 2
    y, _ = nn.Masking(2.0).apply({}, {}, jnp.asarray(x))
    with keras_allowed():
        import keras

        theirs = keras.layers.Masking(2.0)
        np.testing.assert_array_equal(y.value, theirs(x))
        np.testing.assert_array_equal(y.mask, theirs.compute_mask(x))
    assert y.mask.any() and not y.mask.all()


def test_masking_keeps_rows_that_are_padding():
    y, _ = nn.Masking().apply({}, {}, nn.Masked(jnp.ones((2, 3, 1)), jnp.array([True, False])))
    np.testing.assert_array_equal(y.mask, [[True] * 3, [False] * 3])


@pytest.mark.parametrize("axis", [-1, (1, 2)])
def test_a_softmax_passes_over_padding_as_keras_does(axis):
    rng = np.random.default_rng(0)
    x, mask = rng.standard_normal((2, 3, 4)).astype(np.float32), rng.random((2, 3, 4)) < 0.5
    mask[1, 2] = mask[0, :, 1] = False  # a whole line, along each axis

    @jax.jit
    def run(x):
        y, pull = jax.vjp(lambda x: nn.Softmax(axis).apply({}, {}, nn.Masked(x, jnp.asarray(mask)))[0].value, x)
        return y, pull(jnp.sin(x))[0]

    y, slope = run(jnp.asarray(x))
    with keras_allowed():
        import keras

        expected = keras.layers.Softmax(axis)(x, mask=mask)
    np.testing.assert_allclose(y, expected, rtol=2e-6, atol=1e-7)
    assert np.isfinite(slope).all() and (slope[~mask] == 0).all()


def test_a_softmax_of_features_leaves_steps_as_they_are():
    x = nn.Masked(jnp.arange(24.0).reshape(2, 3, 4), STEPS)
    y, _ = nn.Softmax().apply({}, {}, x)
    np.testing.assert_allclose(y.value.sum(-1), 1, rtol=1e-6)
    y, _ = nn.Softmax(1).apply({}, {}, x)
    np.testing.assert_allclose(y.value.sum(1), 1, rtol=1e-6)
    assert (y.value[~STEPS] == 0).all() and (y.mask == STEPS).all()


def test_keras_2_names_of_slopes():
    assert nn.LeakyReLU(alpha=0.1) == nn.LeakyReLU(0.1) and nn.PReLU(shared_axes=1) == nn.PReLU(shared_axes=[1])


def test_an_alpha_shared_over_space_serves_any_size():
    layer = nn.PReLU("ones", shared_axes=[1, 2])
    params, state = layer.init(jax.random.key(0), jnp.ones((1, 5, 5, 2)))
    assert params["alpha"].shape == (1, 1, 2)
    np.testing.assert_array_equal(layer.apply(params, state, -jnp.ones((1, 7, 3, 2)))[0], -jnp.ones((1, 7, 3, 2)))


def test_a_mask_follows_the_axes_that_stay():
    x = nn.Masked(jnp.ones((2, 3, 3)), STEPS & jnp.array([[True], [False]]))
    np.testing.assert_array_equal(nn.Permute((1, 2)).apply({}, {}, x)[0].mask, x.mask)
    np.testing.assert_array_equal(nn.Permute((2, 1)).apply({}, {}, x)[0].mask, [True, False])


def test_identity_keeps_everything():
    masked = nn.Masked(jnp.ones((2, 3), jnp.int32), STEPS)
    first, second = nn.Identity().apply({}, {}, (masked, jnp.ones(2)))[0]
    assert first.value.dtype == jnp.int32 and (first.mask == STEPS).all() and second.shape == (2,)


def test_embeddings_are_penalised_and_constrained():
    layer = nn.Embedding(5, 2, "ones", regularizers.l2(0.1), "l2", "unit_norm")
    params, state = layer.init(jax.random.key(0), jnp.zeros((3, 4), jnp.int32))
    _, state = layer.apply(params, state, jnp.zeros((3, 4), jnp.int32))
    # 0.1 for each of ten ones, and 0.01 for each number that came out, per row.
    assert float(layer.penalty(params, state)) == pytest.approx(0.1 * 10 + 0.01 * 4 * 2)
    lengths = np.linalg.norm(layer.constrain(params)["embeddings"], axis=0)
    np.testing.assert_allclose(lengths, 1, rtol=1e-6)
