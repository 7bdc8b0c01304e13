"""Weight penalties against Keras 3 and NumPy in float64."""

import inspect
import pickle

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest
from conftest import keras_allowed
from gradients import check_gradients

from kjax import regularizers
from kjax.frozen import Frozen
from kjax.regularizers import L1, L1L2, L2, OrthogonalRegularizer

W = np.random.default_rng(0).normal(size=(5, 3))


def mean_cosine(rows):
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return np.abs((unit @ unit.T)[np.triu_indices(len(rows), 1)]).mean()


TABLE = {
    L1: [({}, lambda w: 0.01 * np.abs(w).sum()), ({"l1": 0.3}, lambda w: 0.3 * np.abs(w).sum())],
    L2: [({}, lambda w: 0.01 * (w**2).sum()), ({"l2": 0.3}, lambda w: 0.3 * (w**2).sum())],
    L1L2: [
        ({}, lambda w: 0.0),
        ({"l1": 0.2}, lambda w: 0.2 * np.abs(w).sum()),
        ({"l1": 0.2, "l2": 0.3}, lambda w: 0.2 * np.abs(w).sum() + 0.3 * (w**2).sum()),
    ],
    OrthogonalRegularizer: [
        ({}, lambda w: 0.01 * mean_cosine(w)),
        ({"factor": 0.5, "mode": "columns"}, lambda w: 0.5 * mean_cosine(w.T)),
    ],
}
CASES = [
    pytest.param(cls, settings, formula, id=f"{cls.__name__}-{i}")
    for cls, rows in TABLE.items()
    for i, (settings, formula) in enumerate(rows)
]
every_case = pytest.mark.parametrize(("cls", "settings", "formula"), CASES)


def test_every_class_has_a_row_and_keras_has_no_other():
    public = {c for c in vars(regularizers).values() if inspect.isclass(c) and issubclass(c, Frozen)}
    assert public - {Frozen, regularizers.Regularizer} == set(TABLE)
    theirs = {name for name in dir(keras.regularizers) if not name.startswith("_")}
    theirs -= {"get", "serialize", "deserialize", "Regularizer"}
    assert theirs <= set(regularizers.NAMES) and all(hasattr(regularizers, name) for name in theirs)


@every_case
def test_value(cls, settings, formula):
    with jax.enable_x64(True):
        cost = cls(**settings)(jnp.asarray(W))
        assert cost.shape == () and cost.dtype == jnp.float64
        np.testing.assert_allclose(cost, formula(W), rtol=1e-12)


@every_case
def test_like_keras(cls, settings, formula):
    w = jnp.asarray(W, jnp.float32)
    with keras_allowed():
        wanted = getattr(keras.regularizers, cls.__name__)(**settings)(w)
    np.testing.assert_allclose(cls(**settings)(w), wanted, rtol=1e-6)


@every_case
def test_keeps_its_dtype_and_jits(cls, settings, formula):
    f = cls(**settings)
    assert f(jnp.asarray(W, jnp.bfloat16)).dtype == jnp.bfloat16
    w = jnp.asarray(W, jnp.float32)
    np.testing.assert_allclose(jax.jit(f)(w), f(w), rtol=1e-6)
    np.testing.assert_allclose(jax.vmap(f)(jnp.stack([w, 2 * w])), jnp.stack([f(w), f(2 * w)]), rtol=1e-6)


@every_case
def test_gradients_to_second_order(cls, settings, formula):
    with jax.enable_x64(True):
        check_gradients(cls(**settings), np.where(np.abs(W) < 0.1, 0.3, W), every_mode=True)


@every_case
def test_zeros_cost_nothing_and_pull_nowhere(cls, settings, formula):
    cost, slope = jax.value_and_grad(cls(**settings))(jnp.zeros((5, 3)))
    assert float(cost) == 0.0 and not np.asarray(slope).any()


@every_case
def test_is_a_setting(cls, settings, formula):
    f = cls(**settings)
    assert f == cls(**settings) and hash(f) == hash(cls(**settings)) and pickle.loads(pickle.dumps(f)) == f
    assert eval(repr(f)) == f


def test_both_spellings_of_keras_2_and_3():
    assert regularizers.l1(0.3) == regularizers.l1(l=0.3) == regularizers.l1(l1=0.3) == L1(0.3)
    assert regularizers.l2(0.3) == regularizers.l2(l=0.3) == regularizers.l2(l2=0.3) == L2(0.3)
    assert regularizers.l1() == L1(0.01) and regularizers.l2() == L2(0.01)
    assert regularizers.l1_l2() == L1L2(0.01, 0.01) and L1L2() == L1L2(0.0, 0.0) == L1L2(None, None)


def test_numpy_numbers_bring_no_dtype_along():
    f = L2(np.float64(0.5))
    assert type(f.l2) is float and f(jnp.ones(2)).dtype == jnp.float32


def test_a_single_row_has_no_pairs():
    assert float(OrthogonalRegularizer()(jnp.ones((1, 3)))) == 0.0


def test_get():
    for name in regularizers.NAMES:
        assert isinstance(regularizers.get(name), regularizers.Regularizer)
    assert regularizers.get("l1_l2") == regularizers.get(regularizers.l1_l2) == L1L2(0.01, 0.01)
    assert regularizers.get(L2) == L2() and regularizers.get(None) is None
    assert regularizers.get(L2(0.3)) == L2(0.3) and regularizers.get(jnp.sum) is jnp.sum
    with pytest.raises(ValueError, match=r"unknown regularizer 'l1l'. Did you mean"):
        regularizers.get("l1l")
    with pytest.raises(TypeError, match="regularizer: give a name such as 'l2'"):
        regularizers.get(0.01)


@pytest.mark.parametrize("wrong", [-0.1, float("nan"), float("inf"), "0.1", True, [0.1]])
@pytest.mark.parametrize("cls", TABLE)
def test_wrong_factors_are_refused(cls, wrong):
    with pytest.raises(ValueError, match="must be a number of at least 0"):
        cls(wrong)


def test_wrong_settings_are_refused():
    with pytest.raises(ValueError, match="mode must be 'rows' or 'columns'; got 'diagonal'"):
        OrthogonalRegularizer(mode="diagonal")
    with pytest.raises(ValueError, match=r"needs a matrix; got shape \(3,\)"):
        OrthogonalRegularizer()(jnp.ones(3))
    with pytest.raises(TypeError, match="L1 has no argument 'l2'"):
        L1(l2=0.1)


def test_the_comparison_can_fail():
    with pytest.raises(AssertionError):
        test_value(L2, {"l2": 0.3}, lambda w: 0.3000001 * (w**2).sum())
