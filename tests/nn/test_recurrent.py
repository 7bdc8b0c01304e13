"""Recurrent layers and their wrappers: options in all combinations, masks, states that stay, dropout over time."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from case import randomised
from conftest import keras_allowed
from gradients import check_gradients
from hypothesis import given, settings
from hypothesis import strategies as st

from kjax import Sequential, nn
from kjax.nn.mask import plain, unmask
from kjax.weights import look_up, weight_paths

FLAGS = ("return_sequences", "return_state", "go_backwards", "zero_output_for_mask")
KINDS = {"SimpleRNN": {}, "LSTM": {}, "GRU": {"reset_after": False}}
BATCH, STEPS, FEATURES, UNITS = 3, 4, 2, 3
TIME_MASK = np.array([[0, 1, 1, 0], [1, 0, 1, 1], [1, 1, 0, 0]], bool)
RNG = np.random.default_rng(0)
X = RNG.standard_normal((BATCH, STEPS, FEATURES)).astype("float32")


class Leaky(nn.Cell):
    """A cell as a user writes it."""

    units: int
    kernel_initializer: object = "glorot_uniform"

    @property
    def state_size(self):
        return self.units

    def build(self, key, x):
        return self.weights(key, x.dtype, kernel=(x.shape[-1], self.units)), {}

    def step(self, params, x, states):
        h = 0.9 * states[0] + jnp.tanh(x @ params["kernel"])
        return 2 * h, (h,)


def made(layer, x):
    params, state = layer.init(jax.random.key(0), x)
    return randomised(params), state


def flat(y):
    """Outputs one after the other, without masks."""
    return [np.asarray(part) for part in jax.tree.leaves(plain(y))]


@settings(derandomize=True, deadline=None, max_examples=4, database=None)
@given(
    st.sampled_from(sorted(KINDS)),
    st.fixed_dictionaries({name: st.booleans() for name in FLAGS}),
    st.booleans(), st.sampled_from([None, "time", "rows"]), st.booleans(),
    st.sampled_from(["none", "concat", "sum", "ave", "mul", None]),
)  # fmt: skip
def test_options_in_all_combinations_match_keras(kind, options, unroll, mask, begun, merge):
    import keras

    options = options if merge == "none" else {**options, "go_backwards": False}
    layer = getattr(nn, kind)(UNITS, unroll=unroll, **KINDS[kind], **options)
    layer = layer if merge == "none" else nn.Bidirectional(layer, merge)
    params, state = made(layer, X)
    count = (2 if kind == "LSTM" else 1) * (1 if merge == "none" else 2)
    states = [RNG.standard_normal((BATCH, UNITS)).astype("float32") for _ in range(count)] if begun else []
    mask = {None: None, "time": TIME_MASK, "rows": np.array([True, True, False])}[mask]
    x = jnp.asarray(X) if mask is None else nn.Masked(jnp.asarray(X), jnp.asarray(mask))
    ours, _ = jax.jit(layer.apply)(params, state, (x, *map(jnp.asarray, states)) if begun else x)
    with keras_allowed():
        theirs = getattr(keras.layers, kind)(UNITS, **KINDS[kind], **options)
        theirs = theirs if merge == "none" else keras.layers.Bidirectional(theirs, merge)
        theirs.build(X.shape)
        theirs.set_weights([look_up({"params": params}, path) for path in weight_paths(layer, X)])
        own = mask if mask is not None and mask.ndim == 2 else None
        expected = theirs(X, initial_state=states if begun else None, mask=own)
    for got, wanted in zip(flat(ours), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=2e-6, atol=2e-6)


def test_masks_say_what_is_left_of_time():
    x = nn.Masked(jnp.asarray(X), jnp.asarray(TIME_MASK))
    width = STEPS  # as many units as steps: the last output must not take the mask of the steps
    for options, wanted in [({}, [True] * 3), ({"return_sequences": True}, TIME_MASK),
                            ({"return_sequences": True, "go_backwards": True}, TIME_MASK[:, ::-1])]:  # fmt: skip
        forward = nn.GRU(width, **options)
        for layer in [forward] if forward.go_backwards else [forward, nn.Bidirectional(forward, "sum")]:
            y, _ = layer.apply(*made(layer, X), x)
            np.testing.assert_array_equal(unmask(y)[1], wanted)
    layer = nn.LSTM(width, return_sequences=True, return_state=True)
    y, h, c = layer.apply(*made(layer, X), nn.Masked(jnp.asarray(X), jnp.array([True, False, True])))[0]
    assert all(unmask(part)[1].tolist() == [True, False, True] for part in (y, h, c))


def test_a_masked_step_repeats_the_output_and_keeps_the_state():
    layer = nn.LSTM(UNITS, return_sequences=True, return_state=True)
    params, state = made(layer, X)
    y, h, _ = layer.apply(params, state, nn.Masked(jnp.asarray(X), jnp.asarray(TIME_MASK)))[0]
    y = unmask(y)[0]
    np.testing.assert_array_equal(y[2, 1], y[2, 3])
    np.testing.assert_array_equal(unmask(h)[0], y[:, -1])
    np.testing.assert_array_equal(y[0, 0], np.zeros(UNITS))
    short = layer.apply(params, state, jnp.asarray(X[2:, :2]))[0]
    np.testing.assert_allclose(plain(short)[1][0], y[2, -1], rtol=1e-6)


def test_padded_words_change_nothing():
    net = nn.Serial([nn.Embedding(9, 4, mask_zero=True), nn.Bidirectional(nn.LSTM(3)), nn.Dense(1)])
    short, long = jnp.array([[3, 4, 5]]), jnp.array([[3, 4, 5, 0, 0]])
    params, state = made(net, short)
    first, second = (plain(net.apply(params, state, x)[0]) for x in (short, long))
    np.testing.assert_allclose(first, second, rtol=1e-6)


def test_a_stateful_layer_goes_on_where_it_stopped():
    layer = nn.LSTM(UNITS, return_sequences=True, stateful=True)
    params, state = made(layer, X)
    once, _ = layer.apply(params, state, jnp.asarray(X))
    first, state = layer.apply(params, state, jnp.asarray(X[:, :1]))
    second, state = layer.apply(params, state, jnp.asarray(X[:, 1:]))
    np.testing.assert_allclose(jnp.concatenate([first, second], 1), once, rtol=1e-6, atol=1e-7)
    np.testing.assert_array_equal(state["carry"][0], second[:, -1])


def test_a_stateful_model_trains_and_can_be_reset():
    model = Sequential([nn.GRU(2, stateful=True, batch_input_shape=(3, 4, 2)), nn.Dense(1)])
    model.compile("sgd", "mse")
    assert [w.shape for w in model.get_weights()] == [(2, 6), (2, 6), (2, 6), (2, 1), (1,)]
    x, y = np.tile(X, (2, 1, 1)), np.ones((6, 1), "float32")
    model.fit(x, y, batch_size=3, shuffle=False, verbose=0)
    (carry,) = model.state.state["gru"]["carry"]
    assert carry.shape == (3, 2) and np.any(carry)
    model.reset_states()
    assert not np.any(model.state.state["gru"]["carry"][0])
    with pytest.raises(nn.LayerError, match="batches of 3"):
        model.fit(x, y, batch_size=2, verbose=0)


def test_dropout_is_one_draw_for_a_sequence():
    x, key = jnp.ones((2, 5, 4)), jax.random.key(3)
    layer = nn.SimpleRNN(3, "linear", return_sequences=True, dropout=0.5, recurrent_initializer="zeros")
    params, state = layer.init(jax.random.key(0), x)
    run = jax.jit(layer.apply, static_argnames="training")
    y, _ = run(params, state, x, training=True, key=key)
    np.testing.assert_array_equal(y, np.broadcast_to(y[:, :1], y.shape))
    assert not np.allclose(y, run(params, state, x)[0])
    layer = nn.GRU(64, return_sequences=True, recurrent_dropout=0.5)
    params, state = jax.jit(layer.init)(jax.random.key(0), x)
    run = jax.jit(layer.apply, static_argnames="training")
    first, again, other = (run(params, state, x, training=True, key=jax.random.key(k))[0] for k in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    np.testing.assert_allclose(first[:, 0], run(params, state, x)[0][:, 0], rtol=1e-6)  # its state is zero
    assert not np.allclose(first, other)


def test_gradients_are_right_under_masks_and_dropout():
    layer = nn.LSTM(3, dropout=0.4, recurrent_dropout=0.4, go_backwards=True)
    with jax.enable_x64(True):
        x = jnp.asarray(X, jnp.float64)
        params, state = made(layer, x)

        def run(params, x):
            given = nn.Masked(x, jnp.asarray(TIME_MASK))
            return jnp.sin(plain(layer.apply(params, state, given, training=True, key=jax.random.key(1))[0])).sum()

        check_gradients(run, params, x)


def test_a_cell_of_ones_own_is_the_loop_that_it_says():
    layer = nn.RNN(Leaky(UNITS), return_sequences=True, zero_output_for_mask=True)
    params, state = made(layer, X)
    y, _ = layer.apply(params, state, nn.Masked(jnp.asarray(X), jnp.asarray(TIME_MASK)))
    h = np.zeros((BATCH, UNITS))
    for t in range(STEPS):
        new, real = 0.9 * h + np.tanh(X[:, t] @ params["kernel"]), TIME_MASK[:, t, None]
        np.testing.assert_allclose(y.value[:, t], np.where(real, 2 * new, 0), rtol=1e-5)
        h = np.where(real, new, h)


def test_initial_states_on_nodes():
    a, h = nn.Input(shape=(4, 2)), nn.Input(shape=(3,))
    layer = nn.GRU(3, return_state=True)
    y, last = layer(a, initial_state=[h])
    net = nn.Graph([a, h], [y, last])
    x = (jnp.asarray(X), jnp.ones((3, 3)))
    params, state = made(net, x)
    np.testing.assert_array_equal(*net.apply(params, state, x)[0])
    assert y.shape == last.shape == (None, 3)


def test_time_distributed_is_a_loop_over_time():
    x = jnp.asarray(RNG.standard_normal((2, 3, 5, 2)).astype("float32"))
    layer = nn.TimeDistributed(nn.LSTM(5))
    params, state = made(layer, x)
    mask = jnp.asarray(RNG.random((2, 3, 5)) < 0.7)
    y, _ = jax.jit(layer.apply)(params, state, nn.Masked(x, mask))
    inner, own = jax.jit(layer.layer.apply), params["lstm"]
    steps = [plain(inner(own, {}, nn.Masked(x[:, t], mask[:, t]))[0]) for t in range(3)]
    np.testing.assert_allclose(y.value, jnp.stack(steps, 1), rtol=1e-6, atol=1e-7)
    np.testing.assert_array_equal(y.mask, mask.any(2))


RECORDED = np.load(pathlib.Path(__file__).parents[1] / "recorded" / "recurrent.npz", allow_pickle=False)


@pytest.mark.parametrize("case", ["rnn", "lstm", "gru"])
def test_output_and_gradients_match_pytorch(case):
    layer = {"rnn": nn.SimpleRNN, "lstm": nn.LSTM, "gru": nn.GRU}[case](3, return_sequences=True)
    names = ("kernel", "recurrent_kernel", "bias")
    with jax.enable_x64(True):
        x = jnp.asarray(RECORDED[f"{case}/x"])
        params = {name: jnp.asarray(RECORDED[f"{case}/params/{name}"]) for name in names}

        @jax.jit
        def run(params, x):
            y, _ = layer.apply(params, {}, x)
            return (jnp.cos(jnp.arange(1, y.size + 1)).reshape(y.shape) * y).sum(), y

        (along, along_x), y = jax.grad(run, (0, 1), has_aux=True)(params, x)
        # 1e-12: sums in another order, over five steps.
        np.testing.assert_allclose(y, RECORDED[f"{case}/y"], rtol=1e-12, atol=1e-13)
        for name, got in {**along, "x": along_x}.items():
            np.testing.assert_allclose(got, RECORDED[f"{case}/grad/{name}"], rtol=1e-12, atol=1e-12, err_msg=name)
