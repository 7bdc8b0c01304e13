"""Mixed precision and float64: what is computed in what, the loss scale of float16, and that it trains."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from case import randomised
from conftest import keras_allowed

import kjax
from kjax import Model, Sequential, load_model, nn, optim
from kjax.compiled import outputs
from kjax.layers import Input
from kjax.nn.mask import plain
from kjax.precision import MOST, LossScale, Precision
from kjax.train import Trainer
from kjax.weights import look_up, weight_paths

MIXED = ["mixed_bfloat16", "mixed_float16"]


def dtypes(tree):
    return {leaf.dtype.name for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.floating)}


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


# The numbers are Keras's.


def _keras_attention(k):
    import keras

    x = keras.Input((6, 8))
    y = k.MultiHeadAttention(2, 4, name="attention")(x, x)
    return keras.Model(x, k.Dense(3, activation="softmax", dtype="float32")(k.LayerNormalization()(x + y)))


def _attention():
    x = nn.Input(shape=(6, 8))
    y = nn.MultiHeadAttention(2, 4)(x)
    return nn.Graph(x, nn.Dense(3, activation="softmax", dtype="float32")(nn.LayerNormalization()(x + y)))


def _cnn():
    return nn.Serial(
        [
            nn.Conv2D(4, 3), nn.BatchNormalization(), nn.Activation("relu"), nn.MaxPooling2D(2), nn.Conv2D(4, 2),
            nn.GlobalAveragePooling2D(), nn.Dense(3, "sigmoid"),
        ]
    )  # fmt: skip


def _keras_cnn(k):
    return [
        k.Conv2D(4, 3), k.BatchNormalization(), k.Activation("relu"), k.MaxPooling2D(2), k.Conv2D(4, 2),
        k.GlobalAveragePooling2D(), k.Dense(3), k.Activation("sigmoid", dtype="float32"),
    ]  # fmt: skip


def _mlp():
    return nn.Serial([nn.Dense(16, "relu"), nn.Dropout(0.3), nn.Dense(3, "softmax")])


def _keras_mlp(k):
    return [k.Dense(16, "relu"), k.Dropout(0.3), k.Dense(3), k.Softmax(dtype="float32")]


def _recurrent():
    return nn.Serial([nn.LSTM(8), nn.Dense(2)])


def _keras_recurrent(k):
    return [k.LSTM(8), k.Dense(2), k.Activation("linear", dtype="float32")]


# As Keras's guide advises, what follows the last weights is float32.
NETS = {
    "MLP": (_mlp, (8, 5), _keras_mlp, 0),
    "CNN": (_cnn, (8, 9, 9, 1), _keras_cnn, 0),
    "LSTM": (_recurrent, (8, 7, 5), _keras_recurrent, 0.01),  # loops are compiled, and round less often
    "attention": (_attention, (8, 6, 8), _keras_attention, 0.002),  # whose softmax is bfloat16
}


@pytest.mark.parametrize("name", NETS)
def test_outputs_are_those_of_keras_in_mixed_bfloat16(name):
    import keras

    make, shape, make_keras, tolerance = NETS[name]
    net, x = make(), numbers(*shape)
    params, state = jax.eval_shape(net.init, jax.random.key(0), x)
    params, state = randomised(params), randomised(state, 1)
    params = jax.tree.map(lambda a: a - 0.4, params)
    trainer = Trainer(net, "mse", precision="mixed_bfloat16")
    fresh = trainer.init(jax.random.key(0), x).replace(params=params, state=state)
    ours = np.asarray(trainer.predict_step(fresh, x))  # compiled as a whole, XLA would round less often
    exact = np.asarray(net.apply(params, state, x)[0])
    with keras_allowed():
        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy("mixed_bfloat16")
        try:
            theirs = make_keras(keras.layers)
            theirs = keras.Sequential(theirs) if isinstance(theirs, list) else theirs
            theirs.build(shape)
        finally:
            keras.config.set_dtype_policy(before)
        theirs.set_weights([np.asarray(look_up({"params": params, "state": state}, p)) for p in weight_paths(net, x)])
        expected = np.asarray(theirs(x))
    assert ours.dtype == expected.dtype == np.float32
    error = np.abs(ours - expected).max() / np.abs(exact).max()
    rounding = np.abs(ours - exact).max() / np.abs(exact).max()
    assert error <= tolerance
    assert 5e-4 < rounding < 0.01  # it was computed in bfloat16


# What is computed in what.


class Noting(optim.SGD):
    """Plain gradient descent that notes the dtypes of the gradients."""

    def update(self, grads, opt_state, params):
        NOTED.append(dtypes(grads))
        return super().update(grads, opt_state, params)


NOTED = []


class Centred(nn.Layer):
    """A layer as one writes it, that knows nothing of precisions: weights, and a running mean."""

    def build(self, key, x):
        return {"scale": jnp.ones(x.shape[-1:], x.dtype)}, {"mean": jnp.zeros(x.shape[-1:], x.dtype)}

    def call(self, params, state, x, training, key):
        NOTED.append((x.dtype.name, dtypes(params)))
        mean = 0.9 * state["mean"] + 0.1 * x.mean(0).astype(state["mean"].dtype)
        return (x - x.mean(0, keepdims=True)) * params["scale"][None], {"mean": mean}


def deep():
    return nn.Serial(
        [
            nn.Conv2D(4, 3, activity_regularizer="l2"), nn.BatchNormalization(gamma_regularizer="l2"),
            nn.Activation("relu"), nn.GlobalAveragePooling2D(), Centred(),
            nn.Residual([nn.LayerNormalization(), nn.Dense(4)]), nn.Dense(3, "softmax", kernel_regularizer="l2"),
        ]
    )  # fmt: skip


@pytest.mark.parametrize("precision", MIXED)
def test_all_that_is_kept_stays_float32_and_gradients_arrive_in_it(precision):
    trainer = Trainer(
        deep(), "sparse_categorical_crossentropy", Noting(0.1, momentum=0.9), ["accuracy"], precision=precision
    )
    x, y = numbers(8, 6, 6, 1), np.arange(8) % 3
    state = trainer.init(jax.random.key(0), x)
    NOTED.clear()
    new, logs = jax.eval_shape(trainer.train_step, state, (x, y))
    small = precision.removeprefix("mixed_")
    assert [(small, {small}), {"float32"}] == NOTED
    assert dtypes(state) == dtypes(new) == dtypes(logs) == {"float32"}
    assert jax.tree.map(jnp.shape, new) == jax.tree.map(jnp.shape, state)
    net = trainer.net.with_dtype(precision)
    assert dtypes(net.output(state.params, state.state, x)) == {small}
    assert dtypes(jax.eval_shape(trainer.predict_step, state, x)) == {"float32"}


def test_a_last_softmax_is_float32():
    model = Sequential([nn.Dense(7, "softmax", input_shape=(4,))])
    model.compile("sgd", "sparse_categorical_crossentropy", precision="mixed_bfloat16")
    y = model.predict(numbers(64, 4))
    np.testing.assert_allclose(y.sum(1), 1, atol=3e-7)
    assert (y != np.asarray(jnp.asarray(y, jnp.bfloat16), np.float32)).any()
    assert model.activations(numbers(4, 4))["dense"].dtype == np.float32


def test_every_output_of_a_graph_is_float32():
    a, b = nn.Input(shape=(3,), name="a"), nn.Input(shape=(2,), name="b", dtype="int32")
    h = nn.Concatenate()([nn.Dense(4)(a), nn.Flatten()(nn.Embedding(9, 3)(b))])
    model = Model([a, b], {"sort": nn.Dense(3, "softmax")(h), "far": nn.Dense(1)(h)})
    model.compile("adam", {"sort": "sparse_categorical_crossentropy", "far": "mse"}, precision="mixed_bfloat16")
    x = {"a": numbers(8, 3), "b": np.arange(16).reshape(8, 2) % 9}
    model.train_on_batch(x, {"sort": np.arange(8) % 3, "far": numbers(8, 1)})
    found = model.predict(x)
    assert set(found) == {"sort", "far"} and dtypes(found) == {"float32"}
    np.testing.assert_allclose(found["sort"].sum(1), 1, atol=3e-7)


class Bilateral(Model):
    def __init__(self, **options):
        super().__init__(**options)
        self.wide, self.back = nn.Dense(8, "relu"), nn.Dense(3)

    def call(self, x):
        return x + self.back(self.wide(x))


def test_subclasses_and_several_values_from_one_layer():
    model = Bilateral()
    model.compile("sgd", "mse", precision="mixed_bfloat16")
    x = numbers(8, 3)
    assert model.predict(x).dtype == np.float32 and np.isfinite(model.train_on_batch(x, x))
    net = nn.LSTM(3, return_state=True)
    trainer = Trainer(net, ["mse", None, None], output_names=("y", "h", "c"), precision="mixed_bfloat16")
    state = trainer.init(jax.random.key(0), numbers(2, 4, 3))
    assert [a.dtype.name for a in trainer.predict_step(state, numbers(2, 4, 3))] == ["float32"] * 3


def test_a_layers_own_dtype_wins_and_goes_on_to_what_is_in_it():
    net = nn.Serial([nn.Dense(4), nn.Serial([nn.Dense(4)], dtype="float32"), nn.Dense(2, dtype="float16")])
    net = net.with_dtype("mixed_bfloat16")
    assert [layer.dtype for layer in net.layers] == ["mixed_bfloat16", "float32", "float16"]
    assert net.layers[1].layers[0].dtype == "float32"
    params, _ = net.init(jax.random.key(0), numbers(1, 3))
    assert [dtypes(own) for own in params.values()] == [{"float32"}, {"float32"}, {"float16"}]
    assert nn.Dense(3, dtype="mixed_float16").compute_dtype == "float16"
    assert nn.Dense(3, dtype="mixed_float16").variable_dtype == "float32"
    for wrapper in (nn.TimeDistributed(nn.Dense(2)), nn.Bidirectional(nn.LSTM(2)), nn.Repeat(nn.Dense(2), 2),
                    nn.SpectralNormalization(nn.Dense(2)), nn.RNN(nn.LSTMCell(2))):  # fmt: skip
        inner = wrapper.with_dtype("mixed_bfloat16")
        assert getattr(inner, "layer", getattr(inner, "cell", None)).dtype == "mixed_bfloat16"
    attention = nn.MultiHeadAttention(2, 4, dtype="mixed_bfloat16")
    assert {layer.dtype for layer in attention.layers} == {"mixed_bfloat16"}


def test_a_layer_that_normalises_raw_numbers_sees_them_unrounded():
    years = np.arange(2000.0, 2016.0, dtype="float32")[:, None]
    net = nn.Serial([nn.Normalization().adapt(years), nn.Dense(1, kernel_initializer="ones")])
    trainer = Trainer(net, "mse", precision="mixed_bfloat16")
    state = trainer.init(jax.random.key(0), years)
    exact = (years - years.mean()) / years.std()
    np.testing.assert_allclose(trainer.predict_step(state, years), exact, atol=0.01)  # bfloat16 has 2000, 2008, 2016


def test_masks_and_carries_go_through():
    net = nn.Serial([nn.Embedding(9, 4, mask_zero=True), nn.LSTM(3, stateful=True)])
    trainer = Trainer(net, "mse", precision="mixed_bfloat16")
    x = np.array([[1, 2, 0], [3, 0, 0]])
    state = trainer.init(jax.random.key(0), x)
    run = jax.jit(lambda net, state: net.apply(state.params, state.state, x), static_argnums=0)
    y, new = run(net.with_dtype("mixed_bfloat16"), state)
    assert dtypes(plain(y)) == {"bfloat16"} and dtypes(new) == {"float32"}
    again, _ = run(net.with_dtype("mixed_bfloat16"), state.replace(state=new))
    assert (plain(again) != plain(y)).any()
    np.testing.assert_allclose(np.asarray(plain(y), np.float32), plain(run(net, state)[0]), atol=0.01)


def test_equal_networks_share_a_compilation():
    def make(precision):
        model = Sequential([nn.Dense(3, input_shape=(2,))])
        model.compile(optim.SGD(0.1), "mse", precision=precision)
        return model

    a, b, c = make("mixed_bfloat16"), make("mixed_bfloat16"), make(None)
    assert a.trainer == b.trainer != c.trainer and hash(a.trainer) == hash(b.trainer)
    first, second, other = (outputs(model.net, model.trainer.precision) for model in (a, b, c))
    assert first is second is not other
    first, second, other = (jax.tree.structure(model.trainer) for model in (a, b, c))
    assert first == second != other


# It trains.


@pytest.fixture(scope="module")
def digits():
    (x, y), (x_test, y_test) = kjax.datasets.digits.load_data()
    return x.reshape(len(x), -1) / 16.0, y, x_test.reshape(len(x_test), -1) / 16.0, y_test


@pytest.mark.parametrize("precision", [None, *MIXED])
def test_digits_are_learned_as_well(precision, digits):
    x, y, x_test, y_test = digits
    model = Sequential([nn.Dense(32, "relu"), nn.BatchNormalization(), nn.Dense(10, "softmax")])
    model.compile(optim.Adam(3e-3), "sparse_categorical_crossentropy", ["accuracy"], precision=precision)
    model.fit(x, y, epochs=8, verbose=0)
    loss, accuracy = model.evaluate(x_test, y_test, verbose=0)
    assert accuracy > 0.93 and loss < 0.25
    scale = model.loss_scale
    assert scale is None if precision != "mixed_float16" else scale.scale >= 2.0**10 and scale.skipped_steps < 10


# The loss scale.


def overflowing(**options):
    """A network whose gradients are too large for float16 until the loss scale has come down a little."""
    precision = Precision("mixed_float16", **options)
    trainer = Trainer(
        nn.Serial([nn.Dropout(0.5), nn.Dense(1), nn.BatchNormalization()]), "mse", optim.Adam(1e-3), precision=precision
    )
    x, y = numbers(8, 4), 100 * numbers(8, 1, seed=1)
    return trainer, trainer.init(jax.random.key(0), x), (x, y)


def test_a_step_whose_gradient_overflows_is_skipped_and_counted():
    trainer, state, batch = overflowing()
    step = jax.jit(trainer.train_step)
    skipped = []
    for i in range(1, 12):
        new, logs = step(state, batch)
        assert np.isfinite(logs["loss"])  # only the gradients of the scaled loss overflowed
        same = [
            jax.tree.leaves(jax.tree.map(lambda a, b: bool((a == b).all()), getattr(new, name), getattr(state, name)))
            for name in ("params", "state", "opt_state")
        ]
        skipped.append(all(map(all, same)))
        assert int(new.step) == i and (jax.random.key_data(new.key) == jax.random.key_data(state.key)).all()
        assert skipped[-1] or not any(map(all, same))
        state = new
    times = sum(skipped)
    assert skipped[0] and not skipped[-1]
    good = skipped[::-1].index(True)
    assert state.loss_scale.numbers() == LossScale(2.0 ** (15 - times), good, times, 2000)
    assert int(state.opt_state.step) == 11 - times


def test_the_scale_doubles_after_enough_good_steps_and_keeps_within_bounds():
    scale = LossScale.begin(Precision("mixed_float16", initial_scale=MOST, dynamic_growth_steps=2))
    after = jax.jit(lambda scale, grad: scale.after(grad)[1])
    seen = []
    for grad in [1.0, 1.0, np.nan, 1.0, np.inf, 1.0, 1.0, 1.0]:
        scale = after(scale, jnp.float32(grad))
        seen.append((scale.numbers().scale / MOST, scale.numbers().good_steps))
    assert seen == [(1, 1), (1, 0), (0.5, 0), (0.5, 1), (0.25, 0), (0.25, 1), (0.5, 0), (0.5, 1)]
    for _ in range(40):
        scale = after(scale, jnp.float32(np.nan))
    assert scale.numbers() == LossScale(1.0, 0, 42, 2)


def test_a_scaled_step_is_the_plain_step():
    """With numbers that float16 holds exactly, scaling up and down changes no bit."""
    x, y = np.array([[1.0, 2.0], [0.5, 4.0]], "float32"), np.array([[1.0], [3.0]], "float32")
    net = nn.Dense(1, kernel_initializer="ones")
    found = []
    for precision in (None, Precision("mixed_float16", initial_scale=1024.0)):
        trainer = Trainer(net, "mse", optim.SGD(0.25), precision=precision)
        found.append(jax.jit(trainer.train_step)(trainer.init(jax.random.key(0), x), (x, y))[0].params)
    jax.tree.map(np.testing.assert_array_equal, *found)


def test_small_gradients_survive_in_float16_thanks_to_the_scale():
    x, y = np.ones((4, 2), "float32"), np.full((4, 1), 1e-8, "float32")
    net = nn.Dense(1, kernel_initializer="zeros")
    moved = []
    for precision in ("mixed_float16", Precision("mixed_float16", initial_scale=1.0)):
        trainer = Trainer(net, "mse", optim.SGD(1.0), precision=precision)
        state, _ = jax.jit(trainer.train_step)(trainer.init(jax.random.key(0), x), (x, y))
        moved.append(float(state.params["kernel"][0, 0]))
    np.testing.assert_allclose(moved[0], 2e-8, rtol=1e-3)
    assert moved[1] == 0  # 2e-8 / 4 is nothing in float16


def test_members_of_a_population_skip_each_for_itself():
    trainer, _, (x, y) = overflowing()
    keys = jax.random.split(jax.random.key(0), 2)
    states = jax.vmap(trainer.init, (0, None))(keys, x)
    batches = np.stack([x, x]), np.stack([y, y / 1e4])
    new, _ = jax.jit(jax.vmap(trainer.train_step))(states, batches)
    assert new.loss_scale.skipped_steps.tolist() == [1, 0] and new.loss_scale.scale.tolist() == [2.0**14, 2.0**15]
    kernel, before = new.params["dense"]["kernel"], states.params["dense"]["kernel"]
    assert (kernel[0] == before[0]).all() and (kernel[1] != before[1]).all()


def test_the_facade_scales_saves_and_goes_on(tmp_path):
    trainer, _, (x, y) = overflowing(dynamic_growth_steps=3)
    model = Sequential(trainer.net.layers)
    model.compile(trainer.optimizer, "mse", precision=trainer.precision)
    model.fit(x, y, batch_size=4, epochs=6, verbose=0)
    scale = model.loss_scale
    assert 0 < scale.skipped_steps < 12 and scale.growth_steps == 3
    model.save(tmp_path / "model.safetensors")
    again = load_model(tmp_path / "model.safetensors")
    assert again.trainer == model.trainer and again.loss_scale == scale
    for one in (model, again):
        one.fit(x, y, batch_size=4, epochs=2, verbose=0)
    assert again.loss_scale == model.loss_scale != scale
    jax.tree.map(np.testing.assert_array_equal, again.get_weights(), model.get_weights())
    model.compile("adam", "mse", precision="mixed_float16")
    assert model.loss_scale == LossScale(2.0**15, 0, 0, 2000)
    model.compile("adam", "mse")
    assert model.loss_scale is None


# Changing it, and float64.


def test_compiling_for_another_precision_keeps_the_weights():
    x = numbers(8, 4)
    model = Sequential([nn.Dense(16, "tanh"), nn.Dense(2)])
    exact, weights = model.predict(x), model.get_weights()
    model.compile("sgd", "mse", precision="mixed_bfloat16")
    rounded = model.predict(x)
    assert 0 < np.abs(rounded - exact).max() < 0.03
    jax.tree.map(np.testing.assert_array_equal, model.get_weights(), weights)
    model.compile("sgd", "mse")
    np.testing.assert_array_equal(model.predict(x), exact)


def test_float64_is_float64_throughout_and_can_be_left():
    x = numbers(8, 4)
    model = Sequential([nn.Dense(8, "tanh"), nn.BatchNormalization(), nn.Dense(2)])
    exact = model.predict(x)
    with jax.enable_x64(True):
        model.compile(optim.SGD(0.1, momentum=0.9), "mse", precision="float64")
        assert dtypes((model.state.params, model.state.state, model.state.opt_state.slots)) == {"float64"}
        assert model.predict(x).dtype == np.float64
        np.testing.assert_allclose(model.predict(x), exact, atol=1e-6)
        model.fit(x.astype("float64"), numbers(8, 2), epochs=2, verbose=0)
        assert dtypes((model.state.params, model.state.state)) == {"float64"}
        trainer = model.trainer
        fresh = trainer.init(jax.random.key(0), np.arange(8).reshape(2, 4))
        assert dtypes(fresh.params) == {"float64"}
        again = Sequential([nn.Dense(2)])
        again.compile("sgd", "mse", precision="float64")
        assert again.predict(x).dtype == np.float64 and dtypes(again.state.params) == {"float64"}
        model.compile("sgd", "mse", precision="float32")
        assert dtypes(model.state) == {"float32"} and model.predict(x.astype("float64")).dtype == np.float32
    assert np.isfinite(model.train_on_batch(x, numbers(8, 2)))


def test_a_saved_precision_of_float64_says_what_it_needs(tmp_path):
    with jax.enable_x64(True):
        model = Sequential([nn.Dense(2, input_shape=(3,))])
        model.compile("sgd", "mse", precision="float64")
        model.save(tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="jax_enable_x64"):
        load_model(tmp_path / "model.safetensors")


def test_precisions_are_settings_like_others():
    assert Precision("mixed_float16", initial_scale=8) == Precision("mixed_float16", 8.0)
    assert kjax.precision.get(None) is None
    assert dataclasses.replace(Precision("float32"), name="mixed_bfloat16") == Precision("mixed_bfloat16")
    trainer, state, batch = overflowing()
    with pytest.raises(ValueError, match=r"no loss_scale.*trainer.init"):
        trainer.train_step(state.replace(loss_scale=None), batch)


@pytest.mark.parametrize("layer", [nn.Conv1D(3, 2, activation="relu"), nn.SeparableConv1D(3, 2), nn.LSTM(3)], ids=repr)
def test_other_floats_become_those_that_the_network_was_built_for(layer, tmp_path):
    model = Sequential([Input((5, 2)), layer, nn.Flatten(), nn.Dense(2)])
    model.compile("sgd", "mse")
    x = np.random.default_rng(0).random((4, 5, 2)).astype(np.float16)
    want, y = model.predict(x.astype(np.float32)), np.zeros((4, 2), np.float32)
    np.testing.assert_array_equal(model.predict(x), want)
    assert model.train_on_batch(x, y) == pytest.approx((want**2).mean(), rel=1e-5)
    with jax.enable_x64(True):
        assert model.predict(x.astype(np.float64)).dtype == np.float32
        model.fit(x.astype(np.float64), y, verbose=0)
        wide = Sequential([layer, nn.Flatten(), nn.Dense(2)])
        want = wide.predict(x.astype(np.float64))
        np.testing.assert_array_equal(wide.predict(x.astype(np.float32)), want)
    mapped = np.memmap(tmp_path / "x", np.float16, "w+", shape=x.shape)
    with pytest.raises(
        TypeError, match=r"x is a memory-mapped file of float16, but .* built for float32; write it anew"
    ):
        model.predict(mapped)
