"""Weight constraints against Keras 3, which has Keras 2's epsilons, and NumPy in float64."""

import inspect
import pickle

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest
from conftest import keras_allowed

from kjax import constraints
from kjax.constraints import MaxNorm, MinMaxNorm, NonNeg, UnitNorm
from kjax.frozen import Frozen

W = np.random.default_rng(0).normal(size=(4, 3, 2)) * np.array([0.1, 3.0])


def rescale(wanted, axis=0):
    """w with its norms replaced by wanted(norms)."""

    def apply(w):
        norm = np.sqrt((w**2).sum(axis=axis, keepdims=True))
        return w * wanted(norm) / (norm + 1e-7)

    return apply


TABLE = {
    MaxNorm: [
        ({}, rescale(lambda n: np.minimum(n, 2))),
        ({"max_value": 0.5, "axis": [0, 1]}, rescale(lambda n: np.minimum(n, 0.5), (0, 1))),
        ({"max_value": 0, "axis": -1}, rescale(lambda n: 0 * n, -1)),
    ],
    NonNeg: [({}, lambda w: np.maximum(w, 0))],
    UnitNorm: [({}, rescale(np.ones_like)), ({"axis": (0, 2)}, rescale(np.ones_like, (0, 2)))],
    MinMaxNorm: [
        ({}, rescale(lambda n: np.clip(n, 0, 1))),
        (
            {"min_value": 0.5, "max_value": 0.7, "rate": 0.3, "axis": 1},
            rescale(lambda n: 0.3 * np.clip(n, 0.5, 0.7) + 0.7 * n, 1),
        ),
    ],
}
CASES = [
    pytest.param(cls, settings, formula, id=f"{cls.__name__}-{i}")
    for cls, rows in TABLE.items()
    for i, (settings, formula) in enumerate(rows)
]
every_case = pytest.mark.parametrize(("cls", "settings", "formula"), CASES)


def test_every_class_has_a_row_and_keras_has_no_other():
    public = {c for c in vars(constraints).values() if inspect.isclass(c) and issubclass(c, Frozen)}
    assert public - {Frozen, constraints.Constraint} == set(TABLE)
    theirs = {name for name in dir(keras.constraints) if not name.startswith("_")}
    theirs -= {"get", "serialize", "deserialize", "Constraint"}
    assert theirs <= set(constraints.NAMES) and all(hasattr(constraints, name) for name in theirs)


@every_case
def test_value(cls, settings, formula):
    with jax.enable_x64(True):
        w = cls(**settings)(jnp.asarray(W))
        assert w.shape == W.shape and w.dtype == jnp.float64
        np.testing.assert_allclose(w, formula(W), rtol=1e-12)


@every_case
def test_like_keras(cls, settings, formula):
    w = jnp.asarray(W, jnp.float32)
    with keras_allowed():
        wanted = getattr(keras.constraints, cls.__name__)(**settings)(w)
    np.testing.assert_allclose(cls(**settings)(w), wanted, rtol=1e-6)


@every_case
def test_keeps_its_dtype_and_jits(cls, settings, formula):
    f = cls(**settings)
    half = f(jnp.asarray(W, jnp.bfloat16))
    assert half.dtype == jnp.bfloat16
    # Two roundings of bfloat16, whose eps is 2^-7.
    np.testing.assert_allclose(half.astype(jnp.float32), formula(W), rtol=0.03, atol=1e-3)
    w = jnp.asarray(W, jnp.float32)
    np.testing.assert_allclose(jax.jit(f)(w), f(w), rtol=1e-6)
    np.testing.assert_allclose(jax.vmap(f)(jnp.stack([w, 2 * w])), jnp.stack([f(w), f(2 * w)]), rtol=1e-6)


@every_case
def test_zeros_stay_zeros_and_have_gradients(cls, settings, formula):
    f = cls(**settings)
    assert not np.asarray(f(jnp.zeros(W.shape))).any()
    assert np.isfinite(np.asarray(jax.grad(lambda w: f(w).sum())(jnp.zeros(W.shape)))).all()


@every_case
def test_is_a_setting(cls, settings, formula):
    f = cls(**settings)
    assert f == cls(**settings) and hash(f) == hash(cls(**settings)) and pickle.loads(pickle.dumps(f)) == f
    assert eval(repr(f)) == f


def test_the_norms_are_what_was_asked_for():
    def norms(f):
        return np.asarray(jnp.sqrt(jnp.sum(f(jnp.asarray(W, jnp.float32)) ** 2, (0, 1))))

    np.testing.assert_allclose(norms(UnitNorm([0, 1])), 1.0, rtol=1e-5)
    assert norms(MaxNorm(0.7, [0, 1])).max() <= 0.7 * (1 + 1e-6)
    within = norms(MinMaxNorm(0.5, 0.7, axis=[0, 1]))
    np.testing.assert_allclose(within, [0.5, 0.7], rtol=1e-5)


def test_numpy_numbers_bring_no_dtype_along():
    f = MaxNorm(np.float64(0.5), np.int64(0))
    assert type(f.max_value) is float and f(jnp.ones(2)).dtype == jnp.float32


def test_get():
    for name in constraints.NAMES:
        assert isinstance(constraints.get(name), constraints.Constraint)
    assert constraints.get("maxnorm") == constraints.get("MaxNorm") == constraints.get("max_norm") == MaxNorm(2, 0)
    assert constraints.max_norm(3.0, axis=[0, 1]) == MaxNorm(3.0, (0, 1))
    assert constraints.get(NonNeg) == NonNeg() and constraints.get(None) is None
    assert constraints.get(jnp.abs) is jnp.abs and constraints.get(UnitNorm(1)) == UnitNorm(1)
    with pytest.raises(ValueError, match=r"unknown constraint 'max_nrom'. Did you mean 'max_norm'\?"):
        constraints.get("max_nrom")
    with pytest.raises(TypeError, match="constraint: give a name such as 'max_norm'"):
        constraints.get(2.0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MaxNorm(-1.0), "MaxNorm: max_value must be in"),
        (lambda: MaxNorm("2"), "MaxNorm: max_value must be a number"),
        (lambda: MaxNorm(axis="0"), "axis must be an integer or a list of them"),
        (lambda: UnitNorm(1.5), "axis must be an integer or a list of them"),
        (lambda: MinMaxNorm(2.0, 1.0), "max_value must be in"),
        (lambda: MinMaxNorm(-1.0), "min_value must be in"),
        (lambda: MinMaxNorm(rate=1.5), "rate must be in"),
        (lambda: MinMaxNorm(float("nan")), "min_value must be in"),
    ],
)
def test_wrong_settings_are_refused(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()


def test_the_comparison_can_fail():
    with pytest.raises(AssertionError):
        test_value(UnitNorm, {}, rescale(lambda n: np.full_like(n, 1.0000001)))
