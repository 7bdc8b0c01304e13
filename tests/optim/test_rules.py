"""The rules against PyTorch (recorded), Keras 3, and Keras 2's formulas in NumPy: 25 steps on several shapes."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import keras_allowed

from kjax import optim

RECORDED = np.load(pathlib.Path(__file__).parents[1] / "recorded" / "optimizers.npz")
STEPS = len(RECORDED["grads_0"])


def data(dtype=np.float64):
    """`(params, grads)`: arrays of three shapes, and for each the gradients of all steps."""
    return [[RECORDED[f"{what}_{i}"].astype(dtype) for i in range(3)] for what in ("params", "grads")]


def trajectory(optimizer, dtype=np.float64):
    """For each parameter, its values after each step."""

    def step(carry, grads):
        params, state = optimizer.update(grads, carry[1], carry[0])
        return (params, state), params

    params, grads = [[jnp.asarray(a) for a in arrays] for arrays in data(dtype)]
    return jax.lax.scan(step, (params, optimizer.init(params)), grads)[1]


def assert_trajectory(optimizer, wanted, exact=True):
    """In float64 to 1e-12 (where the wanted values are exact), in float32 to its rounding over 25 steps."""
    if exact:
        with jax.enable_x64(True):
            for got, values in zip(trajectory(optimizer), wanted, strict=True):
                np.testing.assert_allclose(got, values, rtol=1e-12, atol=1e-12)
    for got, values in zip(trajectory(optimizer, np.float32), wanted, strict=True):
        assert got.dtype == np.float32
        # Parameters that pass near 0 keep the absolute error of where they came from.
        np.testing.assert_allclose(got, values, rtol=3e-6, atol=3e-6)


TORCH = {
    "sgd": optim.SGD(0.1),
    "sgd_momentum": optim.SGD(0.1, momentum=0.9),
    "sgd_nesterov": optim.SGD(0.1, momentum=0.8, nesterov=True),
    "sgd_decay": optim.SGD(0.1, decay=0.2),
    "rmsprop": optim.RMSprop(0.02, rho=0.8, epsilon=1e-3),
    "rmsprop_decay": optim.RMSprop(0.02, decay=0.1),
    "adagrad": optim.Adagrad(0.1, epsilon=1e-3),
    "adagrad_decay": optim.Adagrad(0.1, decay=0.3),
    "adadelta": optim.Adadelta(rho=0.9, epsilon=1e-3),
    "adadelta_decay": optim.Adadelta(2.0, decay=0.1),
    "adam": optim.Adam(0.02, epsilon=0),
    "adam_betas": optim.Adam(0.02, 0.7, 0.9, epsilon=0),
    "adam_decay": optim.Adam(0.02, epsilon=0, decay=0.1),
    "adam_amsgrad": optim.Adam(0.02, beta_2=0.8, epsilon=0, amsgrad=True),
    "adamw": optim.AdamW(0.02, weight_decay=0.1, epsilon=0),
    "adamw_amsgrad": optim.AdamW(0.02, weight_decay=0.2, beta_2=0.8, epsilon=0, amsgrad=True),
    "adamax": optim.Adamax(0.02, beta_2=0.8, epsilon=0),
    "adamax_decay": optim.Adamax(0.02, epsilon=0, decay=0.1),
    "nadam": optim.Nadam(0.02, epsilon=1e-3),
    "nadam_schedule": optim.Nadam(0.02, 0.8, 0.9, schedule_decay=0.5),
}
"""By the name of the recorded case, the same optimizer here."""


@pytest.mark.parametrize("name", TORCH)
def test_torch(name):
    assert_trajectory(TORCH[name], [RECORDED[f"{name}_{i}"] for i in range(3)])


def test_every_recorded_case_is_tested():
    assert {name.rsplit("_", 1)[0] for name in RECORDED.files} - {"params", "grads"} == {*TORCH}


# Keras 3, in float32, where it means the same as Keras 2.


def inverse_time(k, lr, decay):
    return k.schedules.InverseTimeDecay(lr, decay_steps=1, decay_rate=decay)


KERAS = [
    (optim.SGD(0.1), lambda k: k.SGD(0.1)),
    (optim.SGD(0.1, 0.9, nesterov=True), lambda k: k.SGD(0.1, 0.9, nesterov=True)),
    (optim.SGD(0.1, 0.9, decay=0.2), lambda k: k.SGD(inverse_time(k, 0.1, 0.2), 0.9)),
    (optim.RMSprop(0.02, epsilon=0), lambda k: k.RMSprop(0.02, epsilon=0.0)),
    (optim.Adagrad(0.1, epsilon=0), lambda k: k.Adagrad(0.1, initial_accumulator_value=0.0, epsilon=0.0)),
    (optim.Adadelta(0.5, rho=0.9, epsilon=1e-3), lambda k: k.Adadelta(0.5, rho=0.9, epsilon=1e-3)),
    (optim.Adam(0.02, epsilon=1e-2), lambda k: k.Adam(0.02, epsilon=1e-2)),
    (optim.Adam(0.02, decay=0.3, amsgrad=True),
     lambda k: k.Adam(inverse_time(k, 0.02, 0.3), epsilon=1e-8, amsgrad=True)),
    (optim.AdamW(0.02), lambda k: k.AdamW(0.02)),
    (optim.AdamW(0.02, 0.5, epsilon=1e-2, amsgrad=True), lambda k: k.AdamW(0.02, 0.5, epsilon=1e-2, amsgrad=True)),
    (optim.Adamax(0.02, epsilon=1e-2), lambda k: k.Adamax(0.02, epsilon=1e-2)),
    (optim.Nadam(0.02, epsilon=1e-2, schedule_decay=1), lambda k: k.Nadam(0.02, epsilon=1e-2)),
    (optim.Lion(0.02), lambda k: k.Lion(0.02)),
    (optim.Lion(0.02, 0.8, 0.95, weight_decay=0.1), lambda k: k.Lion(0.02, 0.8, 0.95, weight_decay=0.1)),
    (optim.SGD(0.1, 0.9, clipnorm=0.5), lambda k: k.SGD(0.1, 0.9, clipnorm=0.5)),
    (optim.SGD(0.1, clipvalue=0.3), lambda k: k.SGD(0.1, clipvalue=0.3)),
    (optim.SGD(0.1, 0.9, global_clipnorm=1.5), lambda k: k.SGD(0.1, 0.9, global_clipnorm=1.5)),
]  # fmt: skip


def keras_trajectory(make):
    import keras

    params, grads = data(np.float32)
    history = [[] for _ in params]
    with keras_allowed():
        variables, optimizer = [keras.Variable(p) for p in params], make(keras.optimizers)
        for step in range(STEPS):
            optimizer.apply([jnp.asarray(g[step]) for g in grads], variables)
            for values, variable in zip(history, variables, strict=True):
                values.append(np.asarray(variable))
    return [np.stack(values) for values in history]


@pytest.mark.parametrize(("optimizer", "make"), KERAS, ids=[str(row[0]) for row in KERAS])
def test_keras(optimizer, make):
    assert_trajectory(optimizer, keras_trajectory(make), exact=False)


# Keras 2's formulas in NumPy, where neither of the others shows them exactly: with epsilon, decay and momentum at once.


def sgd(p, g, t, s, lr, momentum, decay):
    rate = lr / (1 + decay * (t - 1))
    s["v"] = momentum * s.get("v", 0) - rate * g
    return p + momentum * s["v"] - rate * g


def adam(p, g, t, s, lr, b1, b2, epsilon, decay):
    rate = lr / (1 + decay * (t - 1)) * np.sqrt(1 - b2**t) / (1 - b1**t)
    s["m"], s["v"] = b1 * s.get("m", 0) + (1 - b1) * g, b2 * s.get("v", 0) + (1 - b2) * g**2
    s["max"] = np.maximum(s.get("max", 0), s["v"])
    return p - rate * s["m"] / (np.sqrt(s["max"]) + epsilon)


def adamw(p, g, t, s, lr, weight_decay, b1, b2, epsilon):
    s["m"], s["v"] = b1 * s.get("m", 0) + (1 - b1) * g, b2 * s.get("v", 0) + (1 - b2) * g**2
    rate = lr * np.sqrt(1 - b2**t) / (1 - b1**t)
    return p - lr * weight_decay * p - rate * s["m"] / (np.sqrt(s["v"]) + epsilon)


def adamax(p, g, t, s, lr, b1, b2, epsilon, decay):
    s["m"], s["u"] = b1 * s.get("m", 0) + (1 - b1) * g, np.maximum(b2 * s.get("u", 0), np.abs(g))
    return p - lr / (1 + decay * (t - 1)) / (1 - b1**t) * s["m"] / (s["u"] + epsilon)


def lion(p, g, t, s, lr, b1, b2, weight_decay):
    m, s["m"] = s.get("m", 0), b2 * s.get("m", 0) + (1 - b2) * g
    return p - lr * weight_decay * p - lr * np.sign(b1 * m + (1 - b1) * g)


FORMULAS = [
    (optim.SGD(0.1, 0.9, 0.2, nesterov=True), sgd, (0.1, 0.9, 0.2)),
    (optim.Adam(0.02, 0.8, 0.9, 1e-2, 0.1, amsgrad=True), adam, (0.02, 0.8, 0.9, 1e-2, 0.1)),
    (optim.AdamW(0.02, 0.1, 0.8, 0.9, 1e-2), adamw, (0.02, 0.1, 0.8, 0.9, 1e-2)),
    (optim.Adamax(0.02, 0.8, 0.9, 1e-2, 0.1), adamax, (0.02, 0.8, 0.9, 1e-2, 0.1)),
    (optim.Lion(0.02, 0.8, 0.9, weight_decay=0.1), lion, (0.02, 0.8, 0.9, 0.1)),
]


def formula_trajectory(formula, settings):
    trajectories = []
    for p, grads in zip(*data(), strict=True):
        slots, values = {}, []
        for t, g in enumerate(grads, 1):
            p = formula(p, g, t, slots, *settings)
            values.append(p)
        trajectories.append(np.stack(values))
    return trajectories


@pytest.mark.parametrize(("optimizer", "formula", "settings"), FORMULAS, ids=[str(row[0]) for row in FORMULAS])
def test_formula(optimizer, formula, settings):
    assert_trajectory(optimizer, formula_trajectory(formula, settings))


def test_the_oracles_would_notice():
    wanted = [RECORDED[f"adam_{i}"] for i in range(3)]
    with pytest.raises(AssertionError):
        assert_trajectory(optim.Adam(0.02, beta_2=0.998, epsilon=0), wanted, exact=False)


# What each rule keeps, and where it leads.

SLOTS = [
    (optim.SGD(), []),
    (optim.SGD(momentum=0), []),
    (optim.SGD(momentum=0.9), ["velocity"]),
    (optim.SGD(momentum=jnp.float32(0)), ["velocity"]),
    (optim.RMSprop(), ["accumulator"]),
    (optim.Adagrad(), ["accumulator"]),
    (optim.Adadelta(), ["accumulator", "delta_accumulator"]),
    (optim.Adam(), ["m", "v"]),
    (optim.Adam(amsgrad=True), ["m", "v", "v_max"]),
    (optim.AdamW(), ["m", "v"]),
    (optim.AdamW(amsgrad=True), ["m", "v", "v_max"]),
    (optim.Adamax(), ["m", "u"]),
    (optim.Nadam(), ["m", "v"]),
    (optim.Lion(), ["m"]),
]


@pytest.mark.parametrize(("optimizer", "names"), SLOTS, ids=[str(row[0]) for row in SLOTS])
def test_slots(optimizer, names):
    params = {"w": jnp.ones((2, 3)), "b": jnp.ones(3, jnp.bfloat16)}
    state = optimizer.init(params)
    assert [*state.slots] == names and list(state.scalars) == (["m_schedule"] if "Nadam" in str(optimizer) else [])
    for tree in state.slots.values():
        assert jax.tree.map(lambda a: (a.shape, a.dtype), tree) == jax.tree.map(lambda a: (a.shape, a.dtype), params)
        assert all(not a.any() for a in jax.tree.leaves(tree))


MINIMISERS = [
    optim.SGD(0.1), optim.SGD(0.05, 0.9), optim.SGD(0.05, 0.9, nesterov=True), optim.RMSprop(0.05, decay=0.1),
    optim.Adagrad(1.0), optim.Adadelta(epsilon=1e-2), optim.Adam(0.1), optim.Adam(0.1, amsgrad=True),
    optim.AdamW(0.1, weight_decay=0), optim.Adamax(0.1), optim.Nadam(0.1), optim.Lion(lambda step: 1 / (1 + step)),
]  # fmt: skip


@pytest.mark.parametrize("optimizer", MINIMISERS, ids=str)
def test_finds_the_minimum_of_a_quadratic(optimizer):
    target, weight = jnp.array([1.0, -2.0, 0.5]), jnp.array([0.3, 1.0, 3.0])

    def step(carry, _):
        params, state = carry
        return optimizer.update(weight * (params - target), state, params), None

    params = jnp.zeros(3)
    (params, _), _ = jax.lax.scan(step, (params, optimizer.init(params)), length=1000)
    np.testing.assert_allclose(params, target, atol=2e-3)


def test_every_optimizer_has_its_rows():
    public = {v for v in vars(optim).values() if isinstance(v, type) and issubclass(v, optim.Optimizer)}
    public -= {optim.Optimizer}
    assert {type(o) for o in TORCH.values()} | {type(row[0]) for row in FORMULAS} == public
    assert {type(row[0]) for row in KERAS} == public
    assert {type(row[0]) for row in SLOTS} == public
    assert {type(o) for o in MINIMISERS} == public


# Numbers at the edge.


def test_no_hypergradient_is_nan_where_gradients_are_zero():
    def loss(lr, optimizer):
        params = jnp.array([1.0, 2.0])
        state = optimizer.init(params)
        for _ in range(3):
            params, state = optimizer.replace(lr=lr).update(params * jnp.array([1.0, 0.0]), state, params)
        return params.sum()

    for optimizer in MINIMISERS[:-1]:
        assert np.isfinite(jax.grad(loss)(0.1, optimizer)), optimizer


def test_bias_correction_keeps_its_digits_in_float32():
    from kjax.optim.adaptive import one_minus_power

    for beta in (0.0, 0.5, 0.9, 0.999, 0.9999):
        for t in (1, 2, 3, 10, 1000, 100000):
            got = one_minus_power(jnp.float32(beta), jnp.float32(t))
            np.testing.assert_allclose(got, 1 - np.float64(np.float32(beta)) ** t, rtol=5e-7)
