"""Losses against Keras, PyTorch (recorded) and float64 formulas; gradients to second order; extremes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import keras_allowed
from gradients import check_gradients
from losses_cases import ROWS, K, N, arrays, draw, each_row, recorded

from kjax import losses
from kjax.losses import registry


@each_row
def test_values_are_kerass(row):
    import keras

    keras_name, _, _, loss, options = row
    y_true, y_pred = arrays(row, (N, K) if "axis" in options else (2, 3, K))
    with keras_allowed():
        wanted = getattr(keras.losses, keras_name)(jnp.asarray(y_true), jnp.asarray(y_pred), **options)
    found = loss(y_true, y_pred)
    assert found.dtype == jnp.float32
    # Both round in float32; log_cosh and crossentropies cancel digits near 0.
    np.testing.assert_allclose(found, wanted, rtol=2e-6, atol=2e-7 * max(1, np.abs(y_pred).max()))


@each_row
def test_every_loss_in_float32_matches_float64(row):
    y_true, y_pred = arrays(row)
    with jax.enable_x64(True):
        exact = row[3](y_true.astype(np.float64) if row[1] != "labels" else y_true, y_pred.astype(np.float64))
        assert exact.dtype == jnp.float64
    np.testing.assert_allclose(row[3](y_true, y_pred), exact, rtol=3e-6, atol=2e-7 * max(1, np.abs(y_pred).max()))


@each_row
def test_gradients_to_second_order(row):
    with jax.enable_x64(True):
        y_true, y_pred = arrays(row, (2, 3), dtype=np.float64)
        weight = np.random.default_rng(1).standard_normal(jax.eval_shape(row[3], y_true, y_pred).shape)
        check_gradients(lambda p: jnp.vdot(weight, row[3](y_true, p)), y_pred, every_mode=True)


@each_row
def test_jit_vmap_and_bfloat16(row):
    y_true, y_pred = map(jnp.asarray, arrays(row))
    loss, wanted = row[3], row[3](y_true, y_pred)
    np.testing.assert_allclose(jax.jit(loss)(y_true, y_pred), wanted, rtol=2e-6, atol=1e-6)
    if getattr(loss, "axis", -1) == -1:
        np.testing.assert_allclose(jax.vmap(loss)(y_true, y_pred), wanted, rtol=2e-6, atol=1e-6)
    short = loss(y_true, y_pred.astype(jnp.bfloat16))
    assert short.dtype == jnp.bfloat16
    # bfloat16 has 8 bits: each prediction is off by up to 0.4 %, which steep losses enlarge.
    np.testing.assert_allclose(short.astype(jnp.float32), wanted, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
@each_row
def test_values_and_gradients_are_finite_at_the_extremes(row, dtype):
    _, y_kind, p_kind, loss, _ = row
    extremes = {"real": (0, -100, 100), "logits": (0, -1e4, 1e4), "rates": (0, 100), "classes": (0, 1), "unit": (0, 1)}[
        p_kind
    ]
    pairs = np.array([[b, a, a, a, a] for a in extremes for b in extremes])
    y_true = draw(y_kind, 1, pairs.shape)

    @jax.jit
    def both(p):
        value, pull = jax.vjp(lambda p: loss(y_true, p), p)
        return value, pull(jnp.ones_like(value))[0]

    value, slope = both(pairs.astype(dtype))
    assert value.dtype == dtype
    assert all(np.isfinite(np.asarray(part, np.float64)).all() for part in (value, slope))


def test_clipping_is_at_1e_minus_7():
    p = jnp.array([[0.0], [1.0]])
    np.testing.assert_allclose(losses.binary_crossentropy(jnp.array([[1], [0]]), p), -np.log(1e-7), rtol=1e-6)
    sure = jnp.array([[1.0, 0.0]])
    np.testing.assert_allclose(losses.categorical_crossentropy(sure[:, ::-1], sure), -np.log(1e-7), rtol=1e-6)


TORCH = {
    "mean_squared_error": losses.mean_squared_error,
    "mean_absolute_error": losses.mean_absolute_error,
    "huber": losses.huber,
    "huber_2": losses.Huber(2.0),
    "poisson": losses.poisson,
    "kl_divergence": losses.kl_divergence,
    "cosine_similarity": losses.cosine_similarity,
    "binary_crossentropy": losses.binary_crossentropy,
    "binary_crossentropy_logits": losses.BinaryCrossentropy(from_logits=True),
    "categorical_crossentropy_logits": losses.CategoricalCrossentropy(from_logits=True),
    "categorical_crossentropy_smooth": losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1),
    "sparse_categorical_crossentropy": losses.sparse_categorical_crossentropy,
    "sparse_categorical_crossentropy_logits": losses.SparseCategoricalCrossentropy(from_logits=True),
    "sparse_categorical_crossentropy_ignore": losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=-1),
    "hinge": losses.hinge,
}


@pytest.mark.parametrize("case", sorted({key.split("/")[0] for key in recorded()}))
def test_values_and_gradients_are_pytorchs(case):
    y_true, y_pred, values, gradient = (recorded()[f"{case}/{key}"] for key in ("y_true", "y_pred", "values", "grad"))
    with jax.enable_x64(True):
        found, pull = jax.vjp(lambda p: TORCH[case](y_true, p), jnp.asarray(y_pred))
        np.testing.assert_allclose(found, values, rtol=1e-12, atol=1e-12)
        if case != "sparse_categorical_crossentropy":  # Keras divides probabilities by their sum, which has a gradient
            np.testing.assert_allclose(pull(jnp.ones_like(found))[0], gradient, rtol=1e-10, atol=1e-12)


def test_keras_2_names_and_signs():
    t, p = arrays(ROWS[0])
    assert losses.cosine_proximity(t, t) == pytest.approx(-1.0, abs=1e-6)
    assert losses.logcosh is losses.log_cosh and losses.kullback_leibler_divergence is losses.kld
    assert losses.mse is losses.MSE is losses.mean_squared_error
    np.testing.assert_array_equal(losses.huber(t, p, delta=0.5), losses.Huber(delta=0.5)(t, p))


def test_class_numbers_in_every_shape_and_dtype():
    p = jnp.asarray(draw("classes", 3, (2, 3, K)), jnp.float32)
    labels = draw("labels", 4, (2, 3, K))
    wanted = losses.categorical_crossentropy(np.eye(K)[labels], p)
    for y in (labels, labels[..., None], labels.astype(np.uint8), labels.astype(np.float32), jnp.asarray(labels)):
        np.testing.assert_allclose(losses.sparse_categorical_crossentropy(y, p), wanted, rtol=1e-6)
    first = losses.sparse_categorical_crossentropy(labels, jnp.moveaxis(p, -1, 1), axis=1)
    np.testing.assert_allclose(first, wanted, rtol=1e-6)


def test_a_label_that_is_no_class_gives_nan():
    p = jnp.full((3, 2), 0.5)
    assert jnp.isnan(losses.sparse_categorical_crossentropy(jnp.array([-1, 2, 0]), p)).tolist() == [True, True, False]


def test_nothing_is_broadcast():
    with pytest.raises(ValueError, match=r"mean_squared_error: y_true has shape \(3, 1\), but y_pred has \(3, 2\)"):
        losses.mean_squared_error(np.zeros((3, 1)), np.zeros((3, 2)))
    assert losses.mean_squared_error(np.zeros(3), np.ones((3, 1))).shape == (3,)


def test_every_loss_is_tested():
    tested = {type(row[3]).__name__ for row in ROWS}
    assert tested == set(registry.CLASSES), "a loss without a row"
    assert {cls.of for cls in registry.CLASSES.values()} | {losses.cosine_proximity} == set(registry.FUNCTIONS.values())
    assert {key.split("/")[0] for key in recorded()} == set(TORCH)
