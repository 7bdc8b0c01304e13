"""Activations: values against NumPy in float64, Keras 3 and recorded PyTorch; gradients to second order."""

import functools
import inspect
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest
import scipy.special
from conftest import keras_allowed
from gradients import check_gradients

from kjax import activations

RECORDED = np.load(Path(__file__).parent / "recorded" / "activations.npz", allow_pickle=False)
sigmoid = scipy.special.expit
ALPHA, SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946


def softmax(x, axis=-1):
    return scipy.special.softmax(x, axis=axis)


def elu(x, alpha=1.0):
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def glu(x):
    a, b = np.split(x, 2, -1)
    return a * sigmoid(b)


def sparsemax(x):
    """By bisection on tau, where kjax sorts."""
    low, high = x.max(-1, keepdims=True) - 1.0, x.max(-1, keepdims=True)
    for _ in range(80):
        tau = (low + high) / 2
        too_low = np.maximum(x - tau, 0).sum(-1, keepdims=True) > 1
        low, high = np.where(too_low, tau, low), np.where(too_low, high, tau)
    return np.maximum(x - low, 0)


class Row(NamedTuple):
    """What a name should compute."""

    formula: object
    """In float64 NumPy, from the paper or Keras 2's documentation."""
    settings: dict
    kinks: tuple = ()
    """Where it has no second derivative; gradients are checked 0.05 away from there at least."""
    pytorch: str | None = None
    keras: bool = True
    """Whether Keras 3 computes the same."""
    atol: float = 1e-6
    """Absolute part of float32's tolerance; below 1 ulp of 1 for what does not subtract."""
    bounded: bool = True
    """Whether it is finite at ±1e4."""


def row(formula, settings=None, *kinks, pytorch=None, **more):
    return Row(formula, settings or {}, kinks, pytorch, **more)


TABLE = {
    "linear": [row(lambda x: x)],
    "relu": [
        row(lambda x: np.maximum(x, 0), None, 0, pytorch="relu"),
        row(lambda x: np.where(x > 0, x, 0.3 * x), {"alpha": 0.3}, 0),
        row(lambda x: np.clip(x, 0, 2.5), {"max_value": 2.5}, 0, 2.5),
        row(lambda x: np.where(x > 1.5, x, 0), {"threshold": 1.5}, 1.5),
        row(
            lambda x: np.where(x > 1.5, np.minimum(x, 2.5), 0.3 * (x - 1.5)),
            {"alpha": 0.3, "max_value": 2.5, "threshold": 1.5},
            *(1.5, 2.5),
        ),
    ],
    "sigmoid": [row(sigmoid, pytorch="sigmoid", atol=1e-7)],
    # Keras 3 has slope 1/6; this is Keras 2's.
    "hard_sigmoid": [row(lambda x: np.clip(0.2 * x + 0.5, 0, 1), None, -2.5, 2.5, keras=False)],
    "tanh": [row(np.tanh, pytorch="tanh", atol=1e-7)],
    "exponential": [row(np.exp, pytorch="exponential", atol=0, bounded=False)],
    "softmax": [row(softmax, pytorch="softmax", atol=1e-7), row(lambda x: softmax(x, 0), {"axis": 0}, atol=1e-7)],
    "softplus": [row(lambda x: np.logaddexp(x, 0), pytorch="softplus", atol=1e-7)],
    "softsign": [row(lambda x: x / (1 + np.abs(x)), None, 0, pytorch="softsign", atol=1e-7)],
    "elu": [row(elu, None, 0, pytorch="elu"), row(lambda x: elu(x, 0.4), {"alpha": 0.4}, 0)],
    "selu": [row(lambda x: SCALE * elu(x, ALPHA), None, 0, pytorch="selu")],
    "leaky_relu": [
        row(lambda x: np.where(x > 0, x, 0.2 * x), None, 0, pytorch="leaky_relu", atol=1e-7),
        row(lambda x: np.where(x > 0, x, 0.01 * x), {"negative_slope": 0.01}, 0, atol=1e-7),
    ],
    "relu6": [row(lambda x: np.clip(x, 0, 6), None, 0, 6, pytorch="relu6", atol=0)],
    "celu": [row(elu, None, 0, pytorch="celu"), row(lambda x: 2 * elu(x / 2), {"alpha": 2.0}, 0, pytorch="celu_2")],
    "gelu": [
        row(lambda x: x * scipy.special.ndtr(x), pytorch="gelu"),
        row(
            lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
            {"approximate": True},
            pytorch="gelu_tanh",
        ),
    ],
    "silu": [row(lambda x: x * sigmoid(x), pytorch="silu")],
    "hard_silu": [row(lambda x: x * np.clip(x / 6 + 0.5, 0, 1), None, -3, 3, pytorch="hard_silu")],
    "mish": [row(lambda x: x * np.tanh(np.logaddexp(x, 0)), pytorch="mish")],
    "glu": [row(glu, pytorch="glu")],
    "log_softmax": [row(lambda x: scipy.special.log_softmax(x, -1), pytorch="log_softmax")],
    "log_sigmoid": [row(lambda x: -np.logaddexp(-x, 0), pytorch="log_sigmoid", atol=1e-7)],
    "hard_tanh": [row(lambda x: np.clip(x, -1, 1), None, -1, 1, pytorch="hard_tanh", atol=0)],
    "tanh_shrink": [row(lambda x: x - np.tanh(x), pytorch="tanh_shrink")],
    "hard_shrink": [
        row(lambda x: np.where(np.abs(x) > 0.5, x, 0), None, -0.5, 0.5, pytorch="hard_shrink", atol=0),
        row(lambda x: np.where(np.abs(x) > 1.2, x, 0), {"threshold": 1.2}, -1.2, 1.2, atol=0),
    ],
    "soft_shrink": [
        row(lambda x: np.sign(x) * np.maximum(np.abs(x) - 0.5, 0), None, -0.5, 0.5, pytorch="soft_shrink"),
        row(lambda x: np.sign(x) * np.maximum(np.abs(x) - 1.2, 0), {"threshold": 1.2}, -1.2, 1.2),
    ],
    "threshold": [
        row(
            lambda x: np.where(x > 0.7, x, -2.0),
            {"threshold": 0.7, "default_value": -2.0},
            0.7,
            pytorch="threshold",
            atol=0,
        )
    ],
    "squareplus": [
        # As a quotient: the textbook form loses all digits below -1e4 or so.
        row(lambda x: 2 / (np.sqrt(x * x + 4) - x), atol=1e-7),
        row(lambda x: (x + np.sqrt(x * x + 0.1)) / 2, {"b": 0.1}),
        row(lambda x: np.maximum(x, 0), {"b": 0}, 0, atol=0),
    ],
    "sparse_plus": [
        row(lambda x: np.where(x > 1, x, np.maximum((x + 1) * np.abs(x + 1) / 4, 0)), None, -1, 1, atol=1e-7)
    ],
    "sparse_sigmoid": [row(lambda x: np.clip((x + 1) / 2, 0, 1), None, -1, 1, atol=1e-7)],
    # Keras 3.15 on JAX adds up cumulative sums instead of taking the last: its rows do not sum to 1.
    "sparsemax": [row(sparsemax, None, atol=3e-6, keras=False)],
}


def cases(wanted=lambda case: True):
    """A mark that runs a test on every row that is wanted."""
    every = [(name, case, f"{name}-{i}") for name, rows in TABLE.items() for i, case in enumerate(rows)]
    chosen = [pytest.param(name, case, id=label) for name, case, label in every if wanted(case)]
    return pytest.mark.parametrize(("name", "case"), chosen)


every_case = cases()
X = np.random.default_rng(1).normal(scale=3.0, size=(6, 8))


def function(name, case):
    return functools.partial(getattr(activations, name), **case.settings)


def away_from(kinks, x, distance=0.05):
    for kink in kinks:
        x = np.where(np.abs(x - kink) < distance, kink + 2 * distance, x)
    return x


def test_every_public_function_has_a_row():
    public = {
        name
        for name, f in vars(activations).items()
        if inspect.isfunction(f) and f.__module__ == "kjax.activations" and not name.startswith("_")
    }
    assert public - {"get", "swish", "hard_swish"} == set(TABLE)


def test_every_activation_of_keras_is_here():
    theirs = {name for name in dir(keras.activations) if not name.startswith("_")}
    assert theirs - {"get", "serialize", "deserialize"} <= set(activations.NAMES)
    # Keras 2's own list.
    assert {
        "elu",
        "softmax",
        "selu",
        "softplus",
        "softsign",
        "relu",
        "tanh",
        "sigmoid",
        "hard_sigmoid",
        "exponential",
        "linear",
        "swish",
        "gelu",
    } <= set(activations.NAMES)


@every_case
def test_value_in_float64(name, case):
    with jax.enable_x64(True):
        y = function(name, case)(jnp.asarray(X))
        np.testing.assert_allclose(y, case.formula(X), rtol=1e-12, atol=1e-14)
        assert y.dtype == jnp.float64


@every_case
def test_value_in_float32(name, case):
    x = X.astype(np.float32)
    y = function(name, case)(jnp.asarray(x))
    assert y.dtype == jnp.float32
    np.testing.assert_allclose(y, case.formula(x.astype(np.float64)), rtol=2e-6, atol=case.atol)


@every_case
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_stays_so(name, case, dtype):
    x = jnp.asarray(X, dtype)
    y = function(name, case)(x)
    assert y.dtype == x.dtype
    # A handful of roundings: eps is 2^-8 for bfloat16. A kink may move by an ulp, a jump may not.
    jumps = name in ("threshold", "hard_shrink") or "threshold" in case.settings
    if not jumps:
        eps = float(jnp.finfo(dtype).eps)
        wanted = case.formula(np.asarray(x, np.float64))
        np.testing.assert_allclose(np.asarray(y, np.float64), wanted, rtol=4 * eps, atol=8 * eps)


@cases(lambda case: case.keras)
def test_like_keras(name, case):
    settings = {"negative_slope" if k == "alpha" and name == "relu" else k: v for k, v in case.settings.items()}
    x = away_from(case.kinks, X).astype(np.float32)
    with keras_allowed():
        wanted = np.asarray(getattr(keras.activations, name)(jnp.asarray(x), **settings))
    np.testing.assert_allclose(function(name, case)(jnp.asarray(x)), wanted, rtol=2e-6, atol=max(case.atol, 1e-6))


def weights(y):
    return jnp.cos(jnp.arange(1, y.size + 1, dtype=y.dtype)).reshape(y.shape)


def derivatives(f):
    """x -> value, slope and curvature (by both modes), as record_activations.py defines them."""

    def slope(x):
        y, pull = jax.vjp(f, x)
        return pull(weights(y))[0]

    def all_of_them(x):
        curvature = jax.vjp(slope, x)[1](weights(x))[0]
        return [f(x), slope(x), curvature, jax.jvp(slope, (x,), (weights(x),))[1]]

    return jax.jit(all_of_them)


@cases(lambda case: case.pytorch)
def test_like_pytorch_to_second_order(name, case):
    with jax.enable_x64(True):
        found = derivatives(function(name, case))(jnp.asarray(RECORDED["x"]))
        for kind, got in zip(("value", "slope", "curvature", "curvature"), found, strict=True):
            np.testing.assert_allclose(got, RECORDED[f"{case.pytorch}/{kind}"], rtol=1e-11, atol=1e-12)


def test_every_recording_is_compared():
    recorded = {key.split("/")[0] for key in RECORDED.files} - {"x"}
    assert recorded == {case.pytorch for rows in TABLE.values() for case in rows} - {None}


@cases(lambda case: not case.pytorch)
def test_gradients_to_second_order(name, case):
    with jax.enable_x64(True):
        f, weight = function(name, case), np.random.default_rng(1).standard_normal(X.shape)
        check_gradients(lambda x: jnp.vdot(weight, f(x)), away_from(case.kinks, X), every_mode=True)


@every_case
def test_finite_at_the_extremes(name, case):
    row = [0.0, -0.0, 1.0, -1.0, 1e-30, -1e-30, -1e4, 1e4 if case.bounded else 80.0]
    for got in derivatives(function(name, case))(jnp.array([row, row[::-1]])):
        assert np.isfinite(np.asarray(got)).all()


@every_case
def test_accurate_over_the_whole_range(name, case):
    x = np.concatenate([-np.geomspace(1e-6, 1e4, 40), np.geomspace(1e-6, 80.0, 40)]).astype(np.float32)
    y = function(name, case)(jnp.asarray(x))
    np.testing.assert_allclose(y, case.formula(x.astype(np.float64)), rtol=1e-5, atol=max(case.atol, 1e-37))


@cases(lambda case: "axis" not in case.settings)  # an axis of its own may be the one that vmap takes
def test_jit_and_vmap_change_nothing(name, case):
    f, x = function(name, case), jnp.asarray(X, jnp.float32)
    # Fusion may round once less.
    np.testing.assert_allclose(jax.jit(f)(x), f(x), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(jax.jit(jax.vmap(f))(x), jnp.stack([f(row) for row in x]), rtol=1e-6, atol=1e-6)


@every_case
def test_nan_comes_out_as_nan(name, case):
    y = function(name, case)(jnp.array([1.0, jnp.nan, 1.0, jnp.nan]))
    assert np.isnan(y[1])


@pytest.mark.parametrize("name", ["relu", "relu6", "leaky_relu", "squareplus"])
def test_the_gradient_at_the_kink_is_that_of_the_flat_side(name):
    settings, slope = {"leaky_relu": ({}, 0.2), "squareplus": ({"b": 0}, 0.0)}.get(name, ({}, 0.0))
    f = functools.partial(getattr(activations, name), **settings)
    assert float(jax.grad(f)(0.0)) == pytest.approx(slope)
    assert float(jax.grad(activations.relu6)(6.0)) == 0.0


@pytest.mark.parametrize("name", ["gelu", "silu", "mish", "softplus", "elu", "softmax", "log_softmax", "sparsemax"])
def test_float16_is_finite_at_the_extremes(name):
    x = jnp.array([0.0, 1.0, -1.0, -1e4, 1e4], jnp.float16)
    for got in derivatives(getattr(activations, name))(x):
        assert got.dtype == x.dtype and np.isfinite(np.asarray(got, np.float32)).all()


def test_gelu_survives_where_its_powers_overflow():
    for approximate in (False, True):
        f = functools.partial(activations.gelu, approximate=approximate)
        x = jnp.array([-1e20, 1e20])
        assert jax.vmap(jax.grad(f))(x).tolist() == [0.0, 1.0]
        assert jax.vmap(jax.grad(jax.grad(f)))(x).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("name", ["softmax", "log_softmax", "sparsemax"])
def test_axis(name, axis):
    x = jnp.asarray(X, jnp.float32)
    f = getattr(activations, name)
    moved = jnp.moveaxis(f(jnp.moveaxis(x, axis, -1)), -1, axis)
    np.testing.assert_allclose(f(x, axis=axis), moved, rtol=1e-6)
    total = jnp.exp(f(x, axis=axis)) if name == "log_softmax" else f(x, axis=axis)
    np.testing.assert_allclose(total.sum(axis), 1.0, rtol=1e-6)


def test_sparsemax_counts_beyond_256_in_bfloat16():
    x = jnp.zeros(1024, jnp.bfloat16)
    assert activations.sparsemax(x).astype(jnp.float32).sum() == 1.0


def test_softmax_over_several_axes_sums_to_one():
    y = activations.softmax(jnp.asarray(X, jnp.float32), axis=(0, 1))
    assert float(y.sum()) == pytest.approx(1.0)


def test_get():
    assert activations.get(None) is activations.linear
    for name, f in activations.NAMES.items():
        assert activations.get(name) is f and getattr(activations, name) is f
    assert activations.get(np.sin) is np.sin
    with pytest.raises(ValueError, match=r"unknown activation 'rely'. Did you mean 'relu'\?"):
        activations.get("rely")
    for wrong in (3, ["relu"], {"class_name": "relu"}):
        with pytest.raises(TypeError, match="activation: give a name such as 'relu'"):
            activations.get(wrong)


def test_get_instantiates_a_class():
    class Doubled:
        def __call__(self, x):
            return 2 * x

    assert isinstance(activations.get(Doubled), Doubled)


def test_wrong_settings_are_refused():
    x = jnp.ones(3)
    with pytest.raises(ValueError, match="max_value must not be negative"):
        activations.relu(x, max_value=-1.0)
    with pytest.raises(ValueError, match="alpha must not be 0"):
        activations.celu(x, alpha=0.0)
    with pytest.raises(ValueError, match=r"must be even; got shape \(3,\)"):
        activations.glu(x)
    with pytest.raises(ValueError, match="b must not be negative"):
        activations.squareplus(x, b=-1.0)


def test_the_comparison_can_fail():
    wrong = TABLE["leaky_relu"][0]._replace(settings={"alpha": 0.2001})
    for check in (test_value_in_float64, test_value_in_float32, test_like_pytorch_to_second_order):
        with pytest.raises(AssertionError):
            check("relu", wrong)
    with pytest.raises(AssertionError):
        test_finite_at_the_extremes("exponential", TABLE["linear"][0])
