"""The loops of recurrent layers against plain ones in float64: values, derivatives of every mode, vmap, libraries."""

import functools
import importlib
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gradients import check_gradients
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from kjax import native, nn
from kjax.nn import kernels

lstm_module = importlib.import_module("kjax.nn.kernels.lstm")
CASES = {  # time, batch, units, backwards, whether there is a mask
    "tails": (5, 21, 19, False, True),
    "backwards": (4, 3, 33, True, True),
}
each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
LEVELS = native._found_levels()


@pytest.fixture
def use(monkeypatch):
    """Loads a library by its level."""

    def load(level):
        monkeypatch.setenv("KJAX_NATIVE", level)
        native.library.cache_clear()
        native._target.cache_clear()

    yield load
    monkeypatch.undo()
    native.library.cache_clear()
    native._target.cache_clear()


def step_lstm(plus, h, c, kernel):
    i, f, new, o = jnp.split(plus + h @ kernel, 4, -1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(new)
    return jax.nn.sigmoid(o) * jnp.tanh(c), c


def step_simple_rnn(plus, h, kernel):
    return (jnp.tanh(plus + h @ kernel),)


def step_gru(plus, h, kernel, bias):
    (z, r, new), (by_z, by_r, by_new) = jnp.split(plus, 3, -1), jnp.split(h @ kernel + bias[None], 3, -1)
    z, r = jax.nn.sigmoid(z + by_z), jax.nn.sigmoid(r + by_r)
    return (z * h + (1 - z) * jnp.tanh(new + r * by_new),)


def step_reset_before(plus, h, kernel):
    (z, r, new), (for_z, for_r, for_new) = jnp.split(plus, 3, -1), jnp.split(kernel, 3, -1)
    z, r = jax.nn.sigmoid(z + h @ for_z), jax.nn.sigmoid(r + h @ for_r)
    return (z * h + (1 - z) * jnp.tanh(new + (r * h) @ for_new),)


class Kind(NamedTuple):
    """A loop, one step of it as a text book has it, and its layer; operands are plus, weights, states."""

    loop: object
    step: object
    gates: int
    weights: int
    states: int
    primitive: str
    layer: object

    def plain(self, plus, *operands):
        """The loop, differentiated by JAX."""
        *operands, real, backwards = operands
        weights, states = operands[: self.weights], operands[self.weights :]

        def body(states, given):
            plus, real = given
            new = self.step(plus, *states, *weights)
            states = tuple(jnp.where(real[:, None], a, b) for a, b in zip(new, states, strict=True))
            return states, states[0]

        real = jnp.ones(plus.shape[:2], bool) if real is None else real
        return lax.scan(body, tuple(states), (plus, real), reverse=backwards)[::-1]

    def operands(self, case, seed=0):
        time, batch, units, _, masked = case
        rng = np.random.default_rng(seed)
        weights = [(units, self.gates * units), (self.gates * units,)][: self.weights]
        shapes = [(time, batch, self.gates * units), *weights, *[(batch, units)] * self.states]
        arrays = [rng.standard_normal(shape).astype("float32") for shape in shapes]
        arrays[1] /= np.float32(np.sqrt(units))
        return arrays, rng.random((time, batch)) > 0.3 if masked else None


def reset_before(plus, kernel, h, real, backwards):
    return kernels.gru(plus, kernel, None, h, real, backwards)


KINDS = {
    "lstm": Kind(kernels.lstm, step_lstm, 4, 1, 2, "lstm", nn.LSTM),
    "gru": Kind(kernels.gru, step_gru, 3, 2, 1, "gru", nn.GRU),
    "gru, reset before": Kind(
        reset_before, step_reset_before, 3, 1, 1, "gru_reset_before", partial(nn.GRU, reset_after=False)
    ),
    "simple_rnn": Kind(kernels.simple_rnn, step_simple_rnn, 1, 1, 1, "simple_rnn", nn.SimpleRNN),
}
each_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


def outcome(loop, real, backwards, last=False):
    """What a loop gives, all its gradients, and its tangent; `last` looks at the last states alone."""

    def run(*x):
        hs, states = loop(*x, real, backwards)
        return states if last else (hs, *states)

    def all_of(*x):
        y, pull = jax.vjp(run, *x)
        return y, pull(jax.tree.map(jnp.cos, y)), jax.jvp(run, x, tuple(map(jnp.sin, x)))[1]

    return all_of


def exact(function, *x):
    with jax.enable_x64(True):
        return jax.jit(function)(*jax.tree.map(lambda a: np.asarray(a, np.float64), x))


@functools.cache
def exact_outcome(kind, case):
    (x, real), backwards = kind.operands(case), case[3]
    return exact(outcome(kind.plain, real, backwards), *x)


def assert_near(got, wanted, eps=1e-6):
    """Within some roundings of the largest entry of each array: there are sums of up to some hundred products."""
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=eps * max(1, np.abs(b).max()))


@pytest.mark.parametrize("level", [*LEVELS, "off"])
@each_case
@each_kind
def test_outputs_and_derivatives_are_those_of_float64(kind, case, level, use):
    use(level)
    (x, real), backwards = kind.operands(case), case[3]
    assert_near(jax.jit(outcome(kind.loop, real, backwards))(*x), exact_outcome(kind, case))


@each_kind
@settings(derandomize=True, deadline=None, max_examples=4, database=None)
@given(st.tuples(*map(st.integers, (1, 1, 1), (4, 20, 40)), st.booleans(), st.booleans()), st.booleans())
def test_any_shape_is_as_near_to_float64(kind, case, last):
    (x, real), backwards = kind.operands(case), case[3]
    got = jax.jit(outcome(kind.loop, real, backwards, last))(*x)
    assert_near(got, exact(outcome(kind.plain, real, backwards, last), *x))


@pytest.mark.parametrize("level", LEVELS)
def test_curves_are_exact_to_three_units_in_the_last_place_and_keep_nan(level, use):
    use(level)
    size = np.float32(np.concatenate([np.logspace(-30, 2.5, 4000), np.linspace(0, 20, 4001), [1e30, np.inf]]))
    x = np.concatenate([size, -size])
    plus, states = jnp.asarray(np.tile(x[None, :, None], 4)), jnp.zeros((len(x), 1))
    bind = jax.jit(lambda *operands: lstm_module.LOOP.forward.bind(*operands, backwards=False))
    real, kernel = jnp.ones((1, len(x))), jnp.zeros((1, 4))
    gates = np.asarray(bind(plus, kernel, states, states, real)[2][0], np.float64)
    with np.errstate(over="ignore"):
        logistic = 1 / (1 + np.exp(-np.float64(x)))
    for got, wanted in (gates[:, 0], logistic), (gates[:, 2], np.tanh(np.float64(x))):
        tiny = np.abs(wanted) < 3e-38  # exp(-x) overflows before the logistic function underflows: zero is right
        units = np.abs(got - wanted) / np.spacing(np.abs(wanted).astype("float32"))
        assert units[~tiny].max() <= 3
        np.testing.assert_allclose(got[tiny], wanted[tiny], rtol=0, atol=3e-38)
    assert np.isnan(bind(jnp.full((1, 1, 4), jnp.nan), kernel, states[:1], states[:1], real[:, :1])[2]).all()


@pytest.mark.parametrize(
    ("kind", "backwards"), list(zip(KINDS.values(), (True, False, True, False), strict=True)), ids=KINDS
)
def test_derivatives_of_every_mode_to_second_order(kind, backwards):
    (x, real) = kind.operands((3, 2, 3, backwards, True))
    weights = np.random.default_rng(1).standard_normal((3, 2, 3))

    def level(*x):
        hs, states = kind.loop(*x, real, backwards)
        return jnp.sum(weights * jnp.tanh(hs)) + jnp.sum(states[0] * states[-1])

    with jax.enable_x64(True):
        check_gradients(level, *(np.asarray(a, np.float64) for a in x))


@each_kind
def test_second_order_in_float32(kind):
    x, real = kind.operands(CASES["tails"])
    every = tuple(range(len(x)))

    def curved(loop):
        def level(*x):
            return jnp.sum(jnp.sin(loop(*x, real, True)[0]))

        def gradient(*x):
            return jax.grad(level, every)(*x)

        return lambda *x: (
            jax.jvp(gradient, x, tuple(map(jnp.cos, x)))[1],
            jax.grad(lambda *x: sum(jnp.sum(jnp.sin(g)) for g in gradient(*x)), every)(*x),
        )

    assert_near(jax.jit(curved(kind.loop))(*x), exact(curved(kind.plain), *x), 4e-6)


@pytest.mark.parametrize(
    ("name", "places"),
    [("lstm", places) for places in ((1, None, 0, None), (None, 0, None, None), (0, 0, 1, 2), (None, None, None, 0))]
    + [("gru", (1, None, None, 0)), ("gru", (None, None, 0, None)), ("gru, reset before", (2, None, 1))]
    + [("simple_rnn", (0, None, None))],
)
def test_vmap_over_any_operands_is_a_loop_over_them(name, places):
    kind, case = KINDS[name], (4, 3, 5, False, True)
    (x, real), n = kind.operands(case), 3
    x = [a if p is None else np.stack([a * (1 + i) for i in range(n)], p) for a, p in zip(x, places, strict=True)]
    one = outcome(kind.loop, real, False)

    def apart(*x):
        takes = [[a if p is None else jnp.take(a, i, p) for a, p in zip(x, places, strict=True)] for i in range(n)]
        return jax.tree.map(lambda *parts: jnp.stack(parts), *(one(*given) for given in takes))

    def level(*x):
        return sum(jnp.sum(jnp.cos(y)) for y in jax.tree.leaves(jax.vmap(partial_loop, places)(*x)))

    def partial_loop(*x):
        return kind.loop(*x, real, False)

    def one_by_one(*x):
        takes = [[a if p is None else jnp.take(a, i, p) for a, p in zip(x, places, strict=True)] for i in range(n)]
        return sum(jnp.sum(jnp.cos(y)) for given in takes for y in jax.tree.leaves(partial_loop(*given)))

    assert_near(jax.jit(jax.vmap(one, places))(*x), jax.jit(apart)(*x), 2e-6)
    every = tuple(range(len(x)))
    assert_near(jax.jit(jax.grad(level, every))(*x), jax.jit(jax.grad(one_by_one, every))(*x), 2e-6)


@each_kind
def test_the_transpose_of_a_gradient_is_the_derivative(kind):
    (x, _) = kind.operands((3, 2, 3, False, False))
    y, pull = jax.vjp(lambda *x: kind.loop(*x, None, False), *x)
    along = tuple(map(jnp.sin, x))
    (again,) = jax.linear_transpose(pull, y)(along)
    assert_near(again, jax.jvp(lambda *x: kind.loop(*x, None, False), tuple(x), along)[1])


def lowered(function, *x):
    return jax.jit(function).lower(*x).as_text()


@each_kind
def test_float32_on_one_cpu_is_native_and_all_else_is_not(kind, use):
    x, real = kind.operands(CASES["tails"])
    run, name = outcome(kind.loop, real, False), f"kjax_{kind.primitive}_"
    native_there = native.library() is not None
    assert (f"{name}reverse" in lowered(run, *x)) is native_there
    half = [jnp.asarray(a, jnp.bfloat16) for a in x]
    assert name not in lowered(lambda *x: run(*x)[:1], *half)
    use("off")
    assert name not in lowered(outcome(kind.loop, real, False), *x)


@pytest.mark.parametrize("options", [{"go_backwards": True}, {"zero_output_for_mask": True, "use_bias": False}])
@each_kind
def test_the_layer_is_that_of_the_plain_loop(kind, options):
    x = jnp.asarray(np.random.default_rng(0).standard_normal((5, 4, 3)), jnp.float32)
    mask = jnp.array([[1, 1, 0, 1]] * 3 + [[0, 1, 1, 0]] * 2, bool)
    layer = kind.layer(19, return_sequences=True, return_state=True, bias_initializer="glorot_uniform", **options)
    params, state = layer.init(jax.random.key(0), x)

    def run(layer):
        def level(params):
            y = jax.tree.leaves(layer.apply(params, state, nn.Masked(x, mask))[0])
            return sum(jnp.sum(jnp.sin(part)) for part in y if part.dtype == x.dtype), y

        return jax.jit(jax.value_and_grad(level, has_aux=True))(params)

    assert kind.primitive + "[" in str(jax.make_jaxpr(layer.apply)(params, state, x))
    assert_near(run(layer), run(layer.replace(unroll=True)), 2e-6)


@pytest.mark.parametrize("change", [{"activation": "relu"}, {"recurrent_activation": "hard_sigmoid"}])
@each_kind
def test_other_activations_take_the_plain_loop(kind, change):
    if "recurrent_activation" in change and kind.gates == 1:
        change = {"activation": None}
    layer, x = kind.layer(2, **change), jnp.ones((1, 2, 2))
    assert kind.primitive + "[" not in str(jax.make_jaxpr(layer.apply)(*layer.init(jax.random.key(0), x), x))


@each_kind
def test_dropout_of_the_state_takes_the_plain_loop(kind):
    layer, x = kind.layer(2, recurrent_dropout=0.5), jnp.ones((1, 2, 2))
    run = partial(layer.apply, *layer.init(jax.random.key(0), x), training=True, key=jax.random.key(1))
    assert kind.primitive + "[" not in str(jax.make_jaxpr(run)(x))


@each_kind
def test_results_do_not_depend_on_what_else_is_in_the_batch(kind):
    """Rows know nothing of each other, whatever chunk or tile they fall in, so threads change nothing either."""
    (x, real), few = kind.operands((3, 37, 18, False, True)), slice(30, 33)
    rows = [x[0][:, few], *x[1 : 1 + kind.weights], *(state[few] for state in x[1 + kind.weights :])]
    hs, _ = jax.jit(lambda *x: kind.loop(*x, real, False))(*x)
    alone, _ = jax.jit(lambda *x: kind.loop(*x, real[:, few], False))(*rows)
    np.testing.assert_allclose(hs[:, few], alone, rtol=0, atol=0 if native.library() else 1e-6)


def doubled(cell):
    """A cell with recurrent weights of its own making."""

    class Doubled(cell):
        def loop_weights(self, params):
            return [2 * weight for weight in super().loop_weights(params)]

    return Doubled


@pytest.mark.parametrize("cell", [nn.LSTMCell, nn.GRUCell, nn.SimpleRNNCell])
def test_a_subclass_with_other_weights_takes_them(cell):
    x = jnp.ones((2, 5, 4))
    ours, plain = nn.RNN(doubled(cell)(3)), nn.RNN(cell(3))
    params, state = plain.init(jax.random.key(0), x)
    name = next(name for name, value in jax.tree_util.tree_leaves_with_path(params) if "recurrent_kernel" in str(name))
    twice = jax.tree_util.tree_map_with_path(lambda path, a: 2 * a if path == name else a, params)
    np.testing.assert_allclose(ours.apply(params, state, x)[0], plain.apply(twice, state, x)[0], rtol=1e-6)


def test_a_vmapped_loop_of_no_steps_has_its_shapes():
    states = jnp.ones((3, 2, 4))
    hs, _ = jax.vmap(lambda h: kernels.lstm(jnp.ones((0, 2, 16)), jnp.ones((4, 16)), h, h, None, False))(states)
    assert hs.shape == (3, 0, 2, 4)


def test_frozen_recurrent_weights_cost_no_product():
    kernel, h = jnp.ones((4, 16)), jnp.ones((2, 4))
    text = str(
        jax.make_jaxpr(jax.grad(lambda plus: kernels.lstm(plus, kernel, h, h, None, False)[0].sum()))(
            jnp.ones((5, 2, 16))
        )
    )
    assert "dot_general" not in text and "lstm_reverse" in text
