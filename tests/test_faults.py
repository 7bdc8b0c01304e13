"""NaN and infinity in training: the step, the layer and the examples that are named, and what is left in the model."""

import jax.numpy as jnp
import numpy as np
import pytest

import kjax
from kjax import layers, nn
from kjax.callbacks import Callback, LambdaCallback, TerminateOnNaN

ROWS, BAD = 60, 37


class Log(nn.Layer):
    """Bad forwards where an input is 0."""

    def call(self, params, state, x, training, key):
        return jnp.log(x), state


class Root(nn.Layer):
    """Good forwards where an input is 0, bad backwards."""

    def call(self, params, state, x, training, key):
        return jnp.sqrt(x), state


class Between(nn.Composite):
    """Bad between its layers."""

    first: nn.Layer = nn.Dense(2, kernel_initializer="ones", trainable=False)
    second: nn.Layer = nn.Dense(2)

    def forward(self, x):
        return self.second(1 / self.first(x))


def logs(y, y_pred):
    return jnp.log(y_pred)[:, 0]


def data(start=0.5):
    x = np.random.default_rng(0).uniform(start, 1, (ROWS, 3)).astype("float32")
    x[BAD] = 0
    return x, np.ones((ROWS, 1), "float32")


def still(*inner, **options):
    """Layers that are not trained, so that the first bad step is that of the bad example."""
    return kjax.Sequential([*inner, layers.Dense(1, name="last", **options)])


def graph():
    a, b = kjax.Input(shape=(3,), name="a"), kjax.Input(shape=(3,), name="b")
    h = layers.Dense(2, name="wide")(layers.Dropout(0.3)(a)) + Log(name="log")(b)[:, :2]
    return kjax.Model([a, b], {"p": layers.Dense(1)(h), "q": layers.Dense(3, "softmax")(h)})


def plain_dense(**options):
    return layers.Dense(2, use_bias=False, kernel_initializer="ones", trainable=False, name="under", **options)


CASES = {  # the model, its loss, the layer named, what is said, whether the loss is finite
    "output": (lambda: still(nn.Serial([plain_dense(), Log()], name="block")), "mse", "block/log", ["inf in 2 of 16 values", "values from 0 to"], False),
    "stateful": (lambda: still(layers.Reshape((1, 3), batch_input_shape=(8, 3)), nn.LSTM(2, stateful=True), Log()), "mse", "log", ["nan in"], False),
    "gradient": (lambda: still(layers.Dense(2, use_bias=False, kernel_initializer="ones"), Root()), "mse", "root", ["bad gradient", "for its input", "small number"], True),
    "between": (lambda: still(Between(name="own")), "mse", "own/second", ["what 'own' computes between its layers"], False),
    "repeat": (lambda: still(nn.Repeat(nn.Serial([plain_dense().replace(units=3), Log()]), 1)), "mse", "repeat", ["inf in"], False),
    "loss": (lambda: still(use_bias=False, kernel_initializer="ones"), logs, "", ["the loss logs is -inf", "values from 0 to"], False),
    "penalty": (lambda: still(kernel_regularizer=lambda w: jnp.inf * jnp.sum(w)), "mse", "", ["penalty"], False),
    "graph": (graph, {"p": "mse", "q": "sparse_categorical_crossentropy"}, "log", ["inf in"], False),
}  # fmt: skip


def run(name, padded=True, **options):
    make, loss, layer, said, finite = CASES[name]
    model, (x, y) = make(), data()
    if name == "graph":
        x, y = [abs(x) + 1, x], {"p": y, "q": np.arange(ROWS) % 3}
    model.compile(kjax.optim.SGD(1e-3), loss)
    with pytest.raises(FloatingPointError) as caught:
        model.fit(x, y, 8, epochs=3, verbose=0, check_finite=True, shuffle=False, **options)
    return model, str(caught.value), layer, said, finite


@pytest.mark.parametrize("name", CASES)
def test_a_fault_names_the_step_the_layer_and_the_examples(name):
    model, message, layer, said, finite = run(name)
    batch = 0 if name in ("penalty", "stateful") else BAD // 8
    assert f"epoch 1, batch {batch + 1} of 8" in message
    assert f"(rows {8 * batch}, {8 * batch + 1}" in message
    assert ("weights are no longer finite" if finite else "the loss is") in message
    for part in [*said, f"'{layer}'" if layer else ""]:
        assert part in message
    if layer and name != "stateful":  # there the logarithm meets numbers below 0
        assert f"for rows {BAD} of x" in message
    assert int(model.state.step) == batch
    assert all(np.isfinite(w).all() for w in model.get_weights())


def test_the_model_is_as_it_was_before_the_step():
    stopped = run("output", sample_weight=np.full(ROWS, 2.0))[0]
    make, loss, *_ = CASES["output"]
    fresh, (x, y) = make(), data()
    fresh.compile(kjax.optim.SGD(1e-3), loss)
    before = BAD // 8 * 8
    fresh.fit(x[:before], y[:before], 8, verbose=0, shuffle=False, sample_weight=np.full(before, 2.0))
    for a, b in zip(stopped.get_weights(), fresh.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert np.isfinite(stopped.train_on_batch(x[:before], y[:before]))


def test_examples_are_named_in_a_shuffled_epoch_with_a_short_last_batch(capsys):
    x, y = data()
    watch, model = TerminateOnNaN(), CASES["output"][0]()
    model.compile(kjax.optim.SGD(1e-3), "mse")
    history = model.fit(x, y, 25, epochs=3, verbose=0, callbacks=[watch])
    fault = watch.found
    assert fault.bad_rows.tolist() == [BAD] and BAD in fault.rows and fault.layer == "block/log"
    assert len(fault.rows) == (10 if fault.batch == 2 else 25)
    assert capsys.readouterr().out.startswith("TerminateOnNaN ends training: the loss is nan at epoch 1")
    assert len(history.epoch) == 1 and not np.isfinite(history.history["loss"][0])


def test_a_state_that_a_callback_spoils_is_found_before_the_next_step():
    def spoil(epoch, logs):
        if epoch == 2:
            model.set_weights([np.full_like(w, np.nan) for w in model.get_weights()])

    model, (x, y) = still(), data()
    model.compile("sgd", "mse")
    with pytest.raises(
        FloatingPointError, match="not finite before epoch 4, batch 1 of 8: 'last/bias' holds nan in 1 of"
    ):
        model.fit(x, y, 8, epochs=5, verbose=0, check_finite=True, callbacks=[LambdaCallback(on_epoch_end=spoil)])


class Steps(Callback):
    def on_train_batch_end(self, batch, logs=None):
        self.last = batch


def test_faults_are_found_between_callbacks_that_want_each_step_and_in_the_last_one():
    model, (x, y) = CASES["gradient"][0](), data()
    model.compile(kjax.optim.SGD(1e-3), "mse")
    last = (BAD // 8 + 1) * 8
    with pytest.raises(FloatingPointError, match=r"no longer finite after epoch 1, batch 5 of 5"):
        model.fit(x[:last], y[:last], 8, verbose=0, shuffle=False, check_finite=True, callbacks=[Steps()])


def test_good_training_is_left_as_it_is():
    fits = []
    for options in ({}, {"check_finite": True}):
        model, (x, y) = still(layers.Dropout(0.5)), data()
        model.compile("adam", "mse")
        model.fit(x, y, 8, epochs=3, verbose=0, **options)
        fits.append(model.get_weights())
    for a, b in zip(*fits, strict=True):
        np.testing.assert_array_equal(a, b)
