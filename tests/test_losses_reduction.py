"""Weights, padding and ignored labels: from values to the number that is minimized."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import keras_allowed
from losses_cases import N, draw, recorded

from kjax import losses

# Reduction.


def test_the_divisor_is_the_number_of_real_elements():
    values, weight = jnp.array([1.0, 2.0, 3.0, 4.0]), jnp.array([1.0, 0.0, 2.0, 5.0])
    assert losses.weighted_mean(values) == 2.5
    assert losses.weighted_mean(values, weight) == 27 / 4
    assert losses.weighted_mean(values, weight, jnp.array([True, True, True, False])) == 7 / 3
    assert losses.weighted_mean(values, valid=jnp.zeros(4, bool)) == 0.0
    assert losses.weighted_mean(values, 2 * np.ones((4, 1), np.int32)) == 5.0


def test_weighted_mean_is_kerass():
    import keras

    t, p = (jnp.asarray(draw("real", s, (4, 3, 2)), jnp.float32) for s in (1, 2))
    values = losses.mean_squared_error(t, p)
    for weight in (None, draw("rates", 3, (4,)), draw("rates", 4, (4, 3))):
        with keras_allowed():
            # Keras takes (batch,) weights of (batch, time) values for a mistake of ranks; hence the axis.
            given = weight if weight is None or weight.ndim == 2 else weight[:, None]
            wanted = keras.losses.MeanSquaredError()(t, p, sample_weight=given)
        np.testing.assert_allclose(losses.weighted_mean(values, weight), wanted, rtol=1e-6)


@pytest.mark.parametrize("bad", [jnp.nan, jnp.inf])
def test_padding_and_weights_of_zero_silence_nan_and_keep_gradients_finite(bad):
    values = jnp.array([[1.0, 2.0], [bad, bad], [3.0, bad]])
    valid, weight = jnp.array([True, False, True]), jnp.array([[1.0, 1.0], [bad, bad], [1.0, 0.0]])
    value, grads = jax.value_and_grad(losses.weighted_mean, argnums=(0, 1))(values, weight, valid)
    assert value == 6 / 4 and jnp.isfinite(grads[0]).all()
    np.testing.assert_array_equal(grads[0], [[0.25, 0.25], [0, 0], [0.25, 0]])
    assert jnp.isnan(losses.weighted_mean(values, valid=valid)) or bad == jnp.inf


def test_the_gradient_of_a_weight_of_zero_is_the_value():
    grad = jax.grad(lambda w: losses.weighted_mean(jnp.array([4.0, 2.0]), w))(jnp.array([0.0, 1.0]))
    np.testing.assert_array_equal(grad, [2.0, 1.0])


def test_the_mean_of_short_floats_is_in_float32():
    values = jnp.ones(1000, jnp.bfloat16)
    assert losses.weighted_mean(values, valid=jnp.ones(1000, bool)) == 1.0
    assert losses.weighted_mean(values).dtype == jnp.float32
    assert losses.weighted_mean(jnp.bfloat16(2.0)).dtype == jnp.float32


def test_padded_batches_have_the_loss_and_gradient_of_short_ones():
    def objective(p, y, valid=None):
        return losses.mean_loss(losses.categorical_crossentropy, y, jax.nn.softmax(p), valid=valid)

    p, y = jnp.asarray(draw("real", 1), jnp.float32), jnp.asarray(draw("one_hot", 2), jnp.float32)
    valid = jnp.arange(N) < 4
    padded = jax.value_and_grad(objective)(jnp.where(valid[:, None], p, 0.0), y, valid)
    short = jax.value_and_grad(objective)(p[:4], y[:4])
    np.testing.assert_allclose(padded[0], short[0], rtol=1e-6)
    np.testing.assert_allclose(padded[1][:4], short[1], rtol=1e-6)


def test_ignored_labels_are_left_out_of_the_mean_as_in_pytorch():
    y, z, values = (recorded()[f"sparse_categorical_crossentropy_ignore/{k}"] for k in ("y_true", "y_pred", "values"))
    loss = losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=-1)
    mean = losses.mean_loss(loss, y, jnp.asarray(z, jnp.float32))
    np.testing.assert_allclose(mean, values[y != -1].mean(), rtol=1e-6)
    half = losses.mean_loss(loss, y[:, None], jnp.asarray(z, jnp.float32), valid=jnp.arange(7) < 4)
    np.testing.assert_allclose(half, values[:4][y[:4] != -1].mean(), rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: losses.weighted_mean(jnp.ones(()), jnp.ones(3)),
            "one number for a whole batch, so weight cannot be applied",
        ),
        (lambda: losses.weighted_mean(jnp.ones(()), None, jnp.ones(3, bool)), "so valid cannot be applied"),
        (
            lambda: losses.weighted_mean(jnp.ones(3), jnp.ones(4)),
            "weight has shape (4,), but the values (3,): give it shape (3,)",
        ),
        (
            lambda: losses.weighted_mean(jnp.ones((3, 2)), jnp.ones(2)),
            "weight has shape (2,), but the values (3, 2): give it shape (3,) or (3, 2)",
        ),
        (lambda: losses.weighted_mean(jnp.ones(3), jnp.ones((3, 2))), "weight has shape (3, 2), but the values (3,)"),
        (lambda: losses.weighted_mean(jnp.ones(3), 1.0), "weight has shape (), but the values (3,)"),
    ],
)
def test_weights_that_do_not_fit(call, message):
    with pytest.raises(ValueError) as caught:
        call()
    assert message in str(caught.value)


def test_a_loss_that_reduces_by_itself_passes():
    assert losses.mean_loss(lambda t, p: jnp.mean(jnp.square(t - p)), jnp.zeros((3, 1)), 2 * jnp.ones((3, 1))) == 4.0
