"""The facade: what `fit` and its siblings compute, when they compile, what they reproduce."""

import copy
import os
import pickle
import signal
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kjax import Model, Sequential, loop, losses, nn, optim, regularizers, train
from kjax.callbacks import Callback
from kjax.datasets import digits
from kjax.layers import Activation, BatchNormalization, Conv2D, Dense, Dropout, Flatten, MaxPooling2D
from kjax.sources import ArraySource


def data(n=70, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, 5)).astype("float32")
    return x, (x.sum(1) > 0).astype("int32")


def classifier(seed=0, dropout=0.3, **options):
    made = Sequential(
        [Dense(8, activation="relu", input_shape=(5,)), Dropout(dropout), Dense(2, activation="softmax")], seed=seed
    )
    options = {
        "optimizer": optim.SGD(lr=0.1, momentum=0.9),
        "loss": "sparse_categorical_crossentropy",
        "metrics": ["accuracy"],
        **options,
    }
    made.compile(**options)
    return made


@pytest.fixture
def traces(monkeypatch):
    """Counts how often each compiled function is traced."""
    counts = {}
    for name in ("train_rows", "eval_rows", "train_step", "eval_step"):
        original = getattr(train.Trainer, name)

        def counted(*args, name=name, method=original, **kwargs):
            counts[name] = counts.get(name, 0) + 1
            return method(*args, **kwargs)

        counted.__name__ = name
        monkeypatch.setattr(train.Trainer, name, counted)
    return counts


def test_each_shape_compiles_once(traces):
    x, y = data()
    made = classifier()
    made.fit(x, y, epochs=3, verbose=0, validation_data=(x[:40], y[:40]))
    made.fit(x, y, epochs=1, verbose=0)
    assert traces == {"train_rows": 1, "eval_rows": 1}
    made.optimizer = made.optimizer.replace(lr=0.001)
    made.fit(x[:33], y[:33], epochs=2, verbose=0)  # another number of examples is another shape of the data
    made.optimizer = made.optimizer.replace(lr=0.002)
    made.fit(x[:33], y[:33], epochs=2, verbose=0)
    other = classifier(seed=7)  # an equal network
    other.fit(x, y, epochs=2, verbose=0)
    assert traces["train_rows"] == 2
    for m in (made, other):
        m.train_on_batch(x[:8], y[:8])
        m.test_on_batch(x[:8], y[:8])
    assert traces["train_step"] == 1 and traces["eval_step"] == 1


def test_the_same_seed_gives_the_same_bits_and_another_does_not():
    x, y = data()
    runs = [classifier(seed).fit(x, y, epochs=3, verbose=0, validation_split=0.2).history for seed in (0, 0, 1)]
    assert runs[0] == runs[1] and runs[0] != runs[2]
    weights = [Sequential([Dense(3, input_shape=(2,))], seed=None).get_weights()[0] for _ in range(2)]
    assert (weights[0] != weights[1]).any()


def test_the_epoch_mean_is_exact_with_a_short_last_batch():
    x, y = data(70)  # batches of 32, 32, 6
    made = classifier(dropout=0.0, optimizer=optim.SGD(lr=0.0))
    history = made.fit(x, y, epochs=1, verbose=0).history
    p = made.predict(x)
    loss = -np.log(p[np.arange(70), y]).mean(dtype=np.float64)
    np.testing.assert_allclose(history["loss"], [loss], rtol=1e-6)
    np.testing.assert_allclose(history["accuracy"], [(p.argmax(1) == y).mean()], rtol=1e-7)
    np.testing.assert_allclose(made.evaluate(x, y, batch_size=16, verbose=0), [loss, history["accuracy"][0]], rtol=1e-6)
    np.testing.assert_allclose(made.test_on_batch(x, y), [loss, history["accuracy"][0]], rtol=1e-6)


def test_padding_changes_neither_gradient_nor_statistics_nor_penalty():
    x, y = data(70)

    def made():
        net = [
            Dense(4, activity_regularizer=regularizers.l2(0.1), input_shape=(5,)),
            BatchNormalization(momentum=0.5),
            Dense(2, "softmax"),
        ]
        built = Sequential(net)
        built.compile(optim.SGD(0.5), "sparse_categorical_crossentropy")
        return built

    padded, single = made(), made()
    history = padded.fit(x, y, batch_size=32, shuffle=False, verbose=0).history
    seen = [single.train_on_batch(x[i : i + 32], y[i : i + 32]) for i in (0, 32, 64)]
    np.testing.assert_allclose(history["loss"][0], np.average(seen, weights=[32, 32, 6]), rtol=1e-6)
    for a, b in zip(padded.get_weights(), single.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_many_steps_in_one_loop_are_single_steps_bit_for_bit():
    x, y = data(64)
    together, apart, pure = classifier(), classifier(), classifier()
    together.fit(x, y, batch_size=16, shuffle=False, verbose=0)
    for i in range(0, 64, 16):
        apart.train_on_batch(x[i : i + 16], y[i : i + 16])
    _, trainer, state = pure.functional()
    state, logs = jax.jit(trainer.train_steps)(state, (x.reshape(4, 16, 5), y.reshape(4, 16)))
    assert logs["loss"].shape == (4,) and int(state.step) == 4
    pure.load_state(state)
    for a, b, c in zip(together.get_weights(), apart.get_weights(), pure.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a, c)


def test_pure_pieces_alone_give_the_facades_losses_bit_for_bit():
    (x, y), _ = digits.load_data()
    x = x[:96, ..., None].astype("float32") / 16
    y = y[:96]
    layers = [
        Conv2D(8, 3, activation="relu", input_shape=(8, 8, 1)),
        MaxPooling2D(),
        Dropout(0.25),
        Flatten(),
        Dense(10, activation="softmax"),
    ]
    made = Sequential(layers, seed=3)
    made.compile(optim.Adam(), "sparse_categorical_crossentropy")
    seen = [made.train_on_batch(x[i : i + 32], y[i : i + 32]) for i in (0, 32, 64)]

    net = nn.Serial(layers)
    trainer = train.Trainer(net, losses.sparse_categorical_crossentropy, optim.Adam())
    state = trainer.init(jax.random.key(3), x)
    step = jax.jit(trainer.train_step)
    for i, wanted in zip((0, 32, 64), seen, strict=True):
        state, logs = step(state, (x[i : i + 32], y[i : i + 32]))
        assert float(logs["loss"]) == wanted


def test_a_population_trains_under_vmap():
    x, y = data(32)
    _, trainer, state = classifier(dropout=0.0).functional()
    rates = jnp.array([0.0, 0.1, 0.5])

    def run(rate):
        own = trainer.replace(optimizer=trainer.optimizer.replace(lr=rate))
        return jax.lax.scan(lambda s, _: own.train_step(s, (x, y)), state, length=5)[1]["loss"]

    many = jax.jit(jax.vmap(run))(rates)
    assert many.shape == (3, 5) and (many[0] == many[0, 0]).all() and many[2, -1] < many[1, -1] < many[0, -1]
    np.testing.assert_allclose(many[1], run(rates[1]), rtol=1e-6)
    slope = jax.grad(lambda rate: run(rate)[-1])(0.1)
    np.testing.assert_allclose(slope, (run(0.11)[-1] - run(0.09)[-1]) / 0.02, rtol=2e-2)  # float32 difference


def test_weights_per_example_class_and_time_step():
    x, y = data(40)
    w = np.random.default_rng(1).random(40).astype("float32")
    made = classifier(dropout=0.0, optimizer=optim.SGD(0.0), metrics=[])
    p = made.predict(x)
    value = -np.log(p[np.arange(40), y])
    np.testing.assert_allclose(
        made.fit(x, y, sample_weight=w, verbose=0).history["loss"][0], (value * w).mean(), rtol=1e-6
    )
    classes = np.where(y == 1, 5.0, 0.5)
    got = made.fit(x, y, class_weight={0: 0.5, 1: 5.0}, sample_weight=w, verbose=0).history["loss"][0]
    np.testing.assert_allclose(got, (value * w * classes).mean(), rtol=1e-6)
    np.testing.assert_allclose(made.evaluate(x, y, sample_weight=w, verbose=0), (value * w).mean(), rtol=1e-6)
    np.testing.assert_allclose(
        made.train_on_batch(x, y, class_weight={1: 5.0}), (value * np.where(y == 1, 5.0, 1.0)).mean(), rtol=1e-6
    )

    series = Sequential([Dense(1, input_shape=(3, 5))])
    series.compile("sgd", "mse", sample_weight_mode="temporal")
    xs, ys, ws = np.ones((4, 3, 5), "float32"), np.arange(12.0).reshape(4, 3, 1), np.arange(12.0).reshape(4, 3)
    values = (series.predict(xs) - ys)[..., 0] ** 2
    np.testing.assert_allclose(series.test_on_batch(xs, ys, ws), (values * ws).mean(), rtol=1e-6)
    with pytest.raises(ValueError, match="sample_weight must have rank 2"):
        series.fit(xs, ys, sample_weight=np.ones(4))


def test_regularizers_constraints_and_loss_weight_act():
    x, y = np.ones((8, 2), "float32"), np.zeros((8, 1), "float32")
    made = Sequential(
        [
            Dense(
                1,
                kernel_initializer="ones",
                kernel_regularizer=regularizers.l2(0.5),
                kernel_constraint="unit_norm",
                input_shape=(2,),
            )
        ]
    )
    made.compile(optim.SGD(0.1), "mse", loss_weights=3.0)
    np.testing.assert_allclose(made.train_on_batch(x, y), 3 * 4 + 0.5 * 2, rtol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(made.get_weights()[0]), 1.0, rtol=1e-6)


def test_frozen_layers_stay_and_cost_no_optimizer_memory():
    x, y = data()
    made = Sequential(
        [Dense(4, trainable=False, input_shape=(5,)), BatchNormalization(trainable=False), Dense(2, "softmax")]
    )
    made.compile(optim.Adam(), "sparse_categorical_crossentropy")
    before = made.get_weights()
    made.fit(x, y, verbose=0)
    changed = [(a != b).any() for a, b in zip(before, made.get_weights(), strict=True)]
    assert changed == [False] * 6 + [True] * 2
    assert sum(a.size for a in jax.tree.leaves(made.state.opt_state)) == 2 * (4 * 2 + 2) + 1


def test_classical_beginner_programs_run_as_written():
    from kjax import losses
    from kjax.layers import Activation, Conv2D, Dense, Dropout, Flatten, MaxPooling2D
    from kjax.models import Sequential
    from kjax.optimizers import SGD
    from kjax.utils import to_categorical

    x_train = np.random.RandomState(0).random_sample((20, 28, 28, 1))
    y_train = to_categorical(np.arange(20) % 10, num_classes=10)
    model = Sequential()
    model.add(Conv2D(32, (3, 3), activation="relu", input_shape=(28, 28, 1)))
    model.add(MaxPooling2D(pool_size=(2, 2)))
    model.add(Dropout(0.25))
    model.add(Flatten())
    model.add(Dense(16))
    model.add(Activation("relu"))
    model.add(Dense(10, activation="softmax"))
    sgd = SGD(lr=0.01, decay=1e-6, momentum=0.9, nesterov=True)
    model.compile(loss="categorical_crossentropy", optimizer=sgd, metrics=["accuracy"])
    model.fit(x_train, y_train, batch_size=8, epochs=1, verbose=0)
    assert len(model.evaluate(x_train, y_train, batch_size=8, verbose=0)) == 2

    model = Sequential([Dense(4, input_dim=3, activation="relu"), Dense(1)])
    model.compile(loss=losses.mean_squared_error, optimizer=sgd)
    assert isinstance(model.train_on_batch(np.ones((4, 3)), np.ones((4, 1))), float)


def test_without_an_input_shape_the_first_batch_builds():
    x, y = data()
    made = Sequential([Dense(3, activation="relu"), Dense(2, activation="softmax")])
    made.compile("adam", "sparse_categorical_crossentropy", metrics=["acc"])
    assert not made.built
    assert set(made.fit(x, y, verbose=0).history) == {"loss", "acc"}
    assert made.input_shape == (None, 5) and made.output_shape == (None, 2) and made.count_params() == 26
    other = Sequential([Dense(3)])
    other.build((None, 7))
    assert other.get_weights()[0].shape == (7, 3)
    batch = Sequential([Dense(3, batch_input_shape=(None, 4))])
    assert batch.input_shape == (None, 4)


def test_add_and_pop_keep_the_other_layers_weights():
    made = Sequential([Dense(4, input_shape=(3,))])
    kernel = made.get_weights()[0]
    made.add(Dense(2))
    np.testing.assert_array_equal(made.get_weights()[0], kernel)
    assert len(made.get_weights()) == 4
    made.compile("sgd", "mse")
    made.pop()
    assert np.isfinite(made.train_on_batch(np.ones((2, 3)), np.ones((2, 4))))
    made.pop()
    with pytest.raises(IndexError, match="without layers"):
        made.pop()


def test_predict_on_any_number_of_rows_and_its_siblings():
    x, _ = data(70)
    made = classifier()
    everything = made.predict(x)
    for n in (1, 2, 3, 31, 32, 33, 70):
        np.testing.assert_allclose(made.predict(x[:n]), everything[:n], rtol=1e-6)
    np.testing.assert_allclose(made.predict_on_batch(x), everything, rtol=1e-6)
    np.testing.assert_array_equal(made.predict_classes(x), everything.argmax(1))
    single = Sequential([Dense(1, activation="sigmoid", input_shape=(5,))])
    np.testing.assert_array_equal(single.predict_classes(x), (single.predict(x) > 0.5).astype(int))


def test_layers_are_found_with_their_weights():
    made = Sequential(
        [Dense(4, name="first", input_shape=(3,)), nn.Serial([Dense(2), Activation("relu")], name="block")]
    )
    assert [layer.name for layer in made.layers] == ["first", "block/dense", "block/activation"]
    view = made.get_layer("block/dense")
    assert view.units == 2 and view.count_params() == 10 and made.get_layer(index=0).name == "first"
    view.set_weights([np.ones((4, 2)), np.zeros(2)])
    np.testing.assert_array_equal(made.get_weights()[2], np.ones((4, 2)))
    np.testing.assert_array_equal(view.get_weights()[0], np.ones((4, 2)))


def test_summary_counts(capsys):
    Sequential(
        [Conv2D(32, (3, 3), input_shape=(28, 28, 1)), BatchNormalization(), Flatten(), Dense(10, trainable=False)]
    ).summary()
    said = capsys.readouterr().out
    assert "conv2d (Conv2D)" in said and "(None, 26, 26, 32)" in said and "320" in said
    assert (
        "Total params: 216,778" in said and "Trainable params: 384" in said and "Non-trainable params: 216,394" in said
    )


def test_weights_file_round_trip_and_refusal(tmp_path):
    made, other = classifier(0), classifier(1)
    path = tmp_path / "weights.safetensors"
    made.save_weights(path)
    other.load_weights(path)
    for a, b in zip(made.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    before = [w.copy() for w in other.get_weights()]
    wrong = Sequential([Dense(9, input_shape=(5,), name="other"), Dropout(0.1), Dense(3, name="dense_1")])
    with pytest.raises(ValueError) as caught:
        wrong.load_weights(path)
    for part in (
        "other/kernel is missing",
        "dense/kernel is not in the model",
        "dense_1/kernel has shape (8, 2), the model's (9, 3)",
    ):
        assert part in str(caught.value)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ValueError, match="no whole safetensors file"):
        other.load_weights(path)
    for a, b in zip(before, other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(FileNotFoundError):
        made.save_weights(tmp_path / "nowhere" / "w.safetensors")


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    made, path = classifier(), tmp_path / "w.safetensors"
    made.save_weights(path)
    before = path.read_bytes()

    def full(number):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    made.set_weights([w * 0 for w in made.get_weights()])
    with pytest.raises(OSError, match="No space"):
        made.save_weights(path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


class Recorder(Callback):
    def __init__(self):
        self.seen = []

    def on_batch_end(self, batch, logs=None):
        self.seen.append((batch, logs["loss"]))


def test_batch_hooks_are_called_for_every_batch_with_the_same_numbers():
    x, y = data(70)
    recorder = Recorder()
    with_hook = classifier().fit(x, y, verbose=0, callbacks=[recorder]).history
    assert with_hook == classifier().fit(x, y, verbose=0).history
    assert [batch for batch, _ in recorder.seen] == [0, 1, 2] and recorder.seen[-1][1] == with_hook["loss"][0]
    assert recorder.params["steps"] == 3 and recorder.params["samples"] == 70


class Interrupting(Callback):
    """Presses Ctrl-C in the middle of the second epoch."""

    def on_batch_end(self, batch, logs=None):
        if batch == 1 and self.model.state.step > 3:
            os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_keeps_the_last_good_state_and_the_history(capsys):
    before = signal.getsignal(signal.SIGINT)
    x, y = data(70)
    made = classifier()
    history = made.fit(x, y, epochs=5, verbose=0, callbacks=[Interrupting()])
    assert history.epoch == [0] and len(history.history["loss"]) == 1
    assert int(made.state.step) == 5 and "Interrupted in epoch 2" in capsys.readouterr().err
    assert np.isfinite(made.fit(x, y, verbose=0).history["loss"][0])
    assert signal.getsignal(signal.SIGINT) is before


def test_fit_works_in_another_thread():
    x, y = data()
    made, result = classifier(), []
    thread = threading.Thread(target=lambda: result.append(made.fit(x, y, verbose=0)))
    thread.start()
    thread.join()
    assert len(result[0].history["loss"]) == 1


class Stopping(Callback):
    def on_epoch_end(self, epoch, logs=None):
        self.model.stop_training = epoch == 2


def test_epochs_count_from_initial_epoch_and_can_be_stopped():
    x, y = data()
    made = classifier()
    assert made.fit(x, y, epochs=5, initial_epoch=3, verbose=0).epoch == [3, 4]
    assert made.fit(x, y, epochs=9, verbose=0, callbacks=[Stopping()]).epoch == [0, 1, 2]
    assert made.fit(x, y, epochs=0, verbose=0).history == {}


def test_shuffling_visits_every_example_once():
    x, y = data(70)
    one, another = jax.random.key(1), jax.random.key(2)
    shuffled, batches, plain = (ArraySource((x, y), 8, shuffle) for shuffle in (True, "batch", False))
    for order in (shuffled.order(one), batches.order(one)):
        assert sorted(order) == list(range(70)) and list(order) != list(range(70))
    np.testing.assert_array_equal(batches.order(one)[64:], np.arange(64, 70))
    assert list(plain.order(one)) == list(range(70))
    assert list(shuffled.order(one)) == list(shuffled.order(one)) != list(shuffled.order(another))


def test_every_epoch_has_an_order_of_its_own():
    class Orders(ArraySource):
        def order(self, key, epoch=0):
            seen.append(super().order(key, epoch))
            return seen[-1]

    seen, made = [], classifier()
    loop.fit(made, Orders(data(70), 32, True), None, loop.Plan(32, 2), 0, [])
    assert list(seen[0]) != list(seen[1])


def test_functional_gives_copies_that_training_leaves_alone():
    x, y = data()
    made = classifier()
    _, _, state = made.functional()
    kept = copy.deepcopy(jax.tree.map(np.asarray, state.params))
    made.fit(x, y, verbose=0)
    jax.tree.map(np.testing.assert_array_equal, kept, state.params)
    made.load_state(state)
    jax.tree.map(np.testing.assert_array_equal, kept, made.state.params)
    with pytest.raises(ValueError, match="does not fit this model"):
        Model(nn.Dense(3), seed=1).build((None, 2)) or classifier().load_state(state.replace(params={}))


def test_nothing_in_the_hot_path_moves_data_unasked():
    x, y = data(70)
    made = classifier()
    on_device = jax.device_put((x, y))
    made.fit(x, y, epochs=1, batch_size=16, verbose=0, validation_data=(x, y))
    made.train_on_batch(*on_device)
    with jax.transfer_guard("disallow"):
        made.fit(x, y, epochs=2, batch_size=16, verbose=0, validation_data=(x, y))
        made.train_on_batch(*on_device)
        made.predict_on_batch(on_device[0])
        with pytest.raises(Exception, match="Disallowed"):
            made.predict_on_batch(x)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_trains_on_as_the_model_does_and_apart_from_it(copied):
    x, y = data()
    made = classifier()
    made.fit(x, y, epochs=1, verbose=0)
    other = copied(made)
    made.fit(x, y, epochs=1, verbose=0)
    assert not np.array_equal(other.get_weights()[0], made.get_weights()[0])
    other.fit(x, y, epochs=1, verbose=0)
    jax.tree.map(np.testing.assert_array_equal, other.get_weights(), made.get_weights())


def whole_batch_loss(y_true, y_pred):
    return jnp.mean((y_true - y_pred) ** 2)


def per_example_metric(y_true, y_pred):
    return jnp.abs(y_true - y_pred)[:, 0]


def test_a_users_functions_work_even_if_they_reduce_the_batch_themselves():
    x, y = data(70)
    y = y.astype("float32")
    histories = []
    for loss, metrics in [
        ("mse", ["mse", per_example_metric]),
        (whole_batch_loss, [whole_batch_loss, per_example_metric]),
    ]:
        made = Sequential([Dense(1, input_shape=(5,))])
        made.compile("sgd", loss, metrics=metrics)
        histories.append(made.fit(x, y, epochs=2, verbose=0, validation_split=0.3).history)
        assert len(made.evaluate(x, y, verbose=0)) == 3
    assert list(histories[1])[:3] == ["loss", "whole_batch_metric", "per_example_metric"]
    for a, b in zip(histories[0].values(), histories[1].values(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_the_history_plots():
    x, y = data()
    figure = classifier().fit(x, y, epochs=2, verbose=0, validation_split=0.2).plot()
    assert len(figure.axes) == 2
