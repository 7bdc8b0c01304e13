"""Schedules against Keras 3 and PyTorch (recorded), as pytrees, and inside a compiled model."""

import dataclasses
import pathlib
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import keras_allowed

import kjax
from kjax.optim import SGD, schedules
from kjax.optim.schedules import (
    CosineDecay,
    CosineDecayRestarts,
    ExponentialDecay,
    InverseTimeDecay,
    LinearWarmup,
    OneCycle,
    PiecewiseConstantDecay,
    PolynomialDecay,
)  # fmt: skip

RECORDED = np.load(pathlib.Path(__file__).parents[1] / "recorded" / "schedules.npz")
STEPS = np.arange(60)

KERAS = [
    ExponentialDecay(0.3, 7, 0.6), ExponentialDecay(0.3, 7, 0.6, staircase=True), InverseTimeDecay(0.3, 3, 0.5),
    InverseTimeDecay(0.3, 3, 0.5, staircase=True), PiecewiseConstantDecay([5, 20, 21], [1.0, 0.5, 2, 0.1]),
    PolynomialDecay(0.3, 25), PolynomialDecay(0.3, 25, 0.1, power=2.5), PolynomialDecay(0.3, 9, 0.01, cycle=True),
    CosineDecay(0.3, 40), CosineDecay(0.3, 20, alpha=0.2), CosineDecay(0.1, 30, 0.1, warmup_target=0.7, warmup_steps=9),
    CosineDecayRestarts(0.3, 7), CosineDecayRestarts(0.3, 7, 1.0, 0.8, 0.1), CosineDecayRestarts(0.3, 5, 1.5, 0.5, 0.3),
]  # fmt: skip
"""Every one of them has Keras's arguments."""

TORCH = {
    "cos": OneCycle(0.5, 40),
    "linear": OneCycle(0.5, 33, 0.4, "linear", 10),
    "three": OneCycle(2, 50, 0.2, final_div_factor=100, three_phase=True),
    "three_linear": OneCycle(2.0, 41, three_phase=True, anneal_strategy="linear"),
}
ALL = [*KERAS, *TORCH.values(), LinearWarmup(CosineDecay(0.3, 20), 10, 0.1), LinearWarmup(0.5, 3)]


def settings(schedule):
    return {field.name: getattr(schedule, field.name) for field in dataclasses.fields(schedule)}


@pytest.mark.parametrize("schedule", KERAS, ids=str)
def test_keras(schedule):
    import keras

    given = {name: list(v) if isinstance(v, tuple) else v for name, v in settings(schedule).items()}
    with keras_allowed():
        made = getattr(keras.optimizers.schedules, type(schedule).__name__)(**given)
        wanted = [float(made(jnp.float32(step))) for step in STEPS]
    np.testing.assert_allclose(schedule(STEPS), wanted, rtol=2e-6, atol=1e-8)


@pytest.mark.parametrize("name", TORCH)
def test_torch(name):
    wanted = RECORDED[name]
    np.testing.assert_allclose(TORCH[name](np.arange(len(wanted))), wanted, rtol=1e-5, atol=1e-7)
    with jax.enable_x64(True):
        np.testing.assert_allclose(TORCH[name](np.arange(len(wanted))), wanted, rtol=1e-10)
    assert TORCH[name](10**6) == TORCH[name](len(wanted) - 1)


def test_warmup_is_a_line_and_then_the_other():
    after = CosineDecay(0.4, 20)
    rate = LinearWarmup(after, 10, 0.1)(STEPS)
    np.testing.assert_allclose(rate[:10], 0.1 + 0.03 * STEPS[:10], rtol=1e-6)
    np.testing.assert_array_equal(rate[10:], after(STEPS[:50]))
    np.testing.assert_allclose(LinearWarmup(lambda step: 1 / (1 + step), 2)(STEPS[:5]), [0, 0.5, 1, 1 / 2, 1 / 3])


def test_every_schedule_has_a_row():
    public = {v for v in vars(schedules).values() if isinstance(v, type) and issubclass(v, schedules.Schedule)}
    assert {type(s) for s in ALL} == public - {schedules.Schedule}
    assert kjax.optimizers.schedules is schedules


def test_objects_like_others():
    for schedule in ALL:
        copy = pickle.loads(pickle.dumps(schedule))
        assert copy == schedule and hash(copy) == hash(schedule) and repr(copy) == repr(schedule)
        flat, treedef = jax.tree.flatten(schedule)
        assert flat and all(isinstance(leaf, float) for leaf in flat) and treedef.unflatten(flat) == schedule


def test_numbers_never_recompile():
    traces = []

    @jax.jit
    def run(optimizer):
        traces.append(1)
        return optimizer.learning_rate_at(jnp.int32(3))

    for schedule in (OneCycle(0.5, 40), OneCycle(0.25, 100, 0.1), OneCycle(1, 33, 0.5, div_factor=3)):
        assert run(SGD(schedule)) == pytest.approx(float(schedule(3)), rel=1e-6)
    assert len(traces) == 1
    many = jax.vmap(lambda schedule: schedule(5))(jax.tree.map(lambda *a: jnp.stack(a), *[
        ExponentialDecay(jnp.float32(first), jnp.float32(2), jnp.float32(0.5)) for first in (1, 2)
    ]))  # fmt: skip
    np.testing.assert_allclose(many, [2**-2.5, 2**-1.5], rtol=1e-6)
    slope = jax.grad(lambda first: CosineDecayRestarts(first, 7, 1.0)(3))(1.0)
    assert slope == pytest.approx(float(CosineDecayRestarts(1, 7, 1.0)(3)), rel=1e-6)


def test_in_a_model():
    schedule = PiecewiseConstantDecay([1], [0.5, 0.0])
    model = kjax.Sequential([kjax.layers.Dense(1, use_bias=False, kernel_initializer="zeros")])
    model.compile(optimizer=SGD(lr=schedule), loss="mse")
    x, y = np.ones((8, 1), "float32"), np.ones((8, 1), "float32") * 8
    model.fit(x, y, batch_size=4, epochs=3, verbose=0)
    assert model.optimizer.lr == schedule
    assert float(model.get_weights()[0][0, 0]) == 8  # the first step ends there, and after the second none moves


REFUSED = [
    (lambda: ExponentialDecay(0.1, 0, 0.5), ValueError, "ExponentialDecay: decay_steps must be positive; got 0.0"),
    (lambda: ExponentialDecay(-1, 5, 0.5), ValueError, r"initial_learning_rate must be in \[0, inf\); got -1.0"),
    (lambda: ExponentialDecay("0.1", 5, 0.5), TypeError, "initial_learning_rate must be a number; got '0.1'"),
    (lambda: InverseTimeDecay(0.1, 5, 0.5, staircase=1), TypeError, "staircase must be True or False"),
    (lambda: PolynomialDecay(0.1, 5, decay_rate=1), TypeError, "PolynomialDecay has no argument 'decay_rate'"),
    (lambda: PiecewiseConstantDecay([1], [0.1]), ValueError, "with one more value"),
    (lambda: PiecewiseConstantDecay([2, 1], [1, 2, 3]), ValueError, "boundaries must grow"),
    (lambda: CosineDecay(0.1, 5, warmup_steps=5), ValueError, "warmup_steps needs a warmup_target"),
    (lambda: CosineDecay(0.1, 5, warmup_target=1), ValueError, "warmup_steps must be positive; got 0.0"),
    (lambda: CosineDecayRestarts(0.1, 5, t_mul=0.5), ValueError, "t_mul must be a number of at least 1; got 0.5"),
    (lambda: OneCycle(1, 10, anneal_strategy="cosine"), ValueError, "anneal_strategy is 'cos' or 'linear'"),
    (lambda: OneCycle(1, 1), ValueError, "total_steps must be a number of at least 2"),
    (lambda: OneCycle(1, 10, 0.6, three_phase=True), ValueError, "pct_start must be between 0 and 0.5; got 0.6"),
    (lambda: LinearWarmup("cos", 5), TypeError, "after is a schedule, a function or a number; got 'cos'"),
    (lambda: schedules.Schedule()(0), NotImplementedError, "Schedule defines no __call__"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "error", "message"), REFUSED, ids=[row[2] for row in REFUSED])
def test_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()
