"""Callbacks in real trainings: when hooks are called, what they see, what they leave in the model."""

import re
import sys

import jax
import numpy as np
import pytest

import kjax
from kjax import callbacks, compiled, layers, train
from kjax.callbacks import Callback


def data(n=24, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, 3)).astype("float32")
    return x, (x @ np.float32([[1], [-2], [0.5]]))


def made(optimizer=None, *, norm=False, metrics=()):
    net = [layers.Dense(4, "tanh", input_shape=(3,)), *([layers.BatchNormalization(momentum=0.5)] * norm)]
    model = kjax.Sequential([*net, layers.Dense(1)])
    model.compile(optimizer or kjax.optim.SGD(0.1), "mse", metrics=list(metrics))
    return model


def weights(model):
    return [np.array(a) for a in jax.tree.leaves((model.state.params, model.state.state))]


def same(a, b):
    return all((x == y).all() for x, y in zip(a, b, strict=True))


class Batches(Callback):
    """Looks at every batch; the model may be some steps further then."""

    between_steps = False

    def __init__(self):
        self.seen, self.steps = [], set()

    def on_train_batch_begin(self, batch, logs=None):
        self.seen.append(("begin", batch))

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append(("end", batch))
        self.steps.add(int(self.model.state.step))
        self.loss = logs["loss"]

    def on_test_batch_end(self, batch, logs=None):
        self.seen.append(("test", batch))


def test_hooks_that_need_not_act_between_steps_leave_them_in_one_loop(monkeypatch):
    x, y = data(96)
    fetched = []
    for name in ("logs", "each"):
        original = getattr(compiled.Sums, name)
        monkeypatch.setattr(compiled.Sums, name, lambda *args, f=original: fetched.append(1) or f(*args))
    watch, model = Batches(), made()
    history = model.fit(x, y, batch_size=4, epochs=2, verbose=0, validation_data=(x[:4], y[:4]), callbacks=watch)
    for kind, count in (("begin", 24), ("end", 24), ("test", 1)):
        assert [n for what, n in watch.seen if what == kind] == 2 * list(range(count))
    assert len(watch.steps) < 24 and watch.loss == history.history["loss"][1]
    assert len(fetched) == len(watch.steps) + 2  # once for each loop and each validation
    fetched.clear()
    assert made().fit(x, y, batch_size=4, epochs=2, verbose=0).history["loss"] == history.history["loss"]
    assert len(fetched) == 2


class Stopping(Callback):
    def on_train_batch_end(self, batch, logs=None):
        self.model.stop_training = self.model.state.step == 5

    def on_epoch_end(self, epoch, logs=None):
        self.logs = logs

    def on_train_end(self, logs=None):
        assert logs == self.logs


def test_training_can_be_stopped_after_any_step():
    x, y = data()
    model, stop = made(), Stopping()
    assert model.fit(x, y, batch_size=8, epochs=9, verbose=0, validation_split=0.2, callbacks=[stop]).epoch == [0, 1]
    assert int(model.state.step) == 5 and set(stop.logs) == {"loss", "val_loss"}


def test_early_stopping_gives_back_weights_and_moving_statistics_and_training_goes_on():
    x, y = data()
    model, kept = made(kjax.optim.SGD(0.5, momentum=0.9), norm=True), []
    keep = callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: kept.append(weights(model)))
    stop = callbacks.EarlyStopping("loss", patience=2, restore_best_weights=True)
    history = model.fit(x, y, epochs=30, verbose=0, callbacks=[keep, stop]).history["loss"]
    assert stop.best_epoch == int(np.argmin(history)) == len(history) - 3 and stop.best == min(history)
    assert same(weights(model), kept[stop.best_epoch]) and not same(weights(model), kept[-1])
    model.fit(x, y, epochs=2, verbose=0, callbacks=[stop])
    assert np.isfinite(model.predict(x)).all()


def test_another_learning_rate_compiles_nothing(monkeypatch):
    traces = []
    original = train.Trainer.train_rows

    def train_rows(*args, **kwargs):
        traces.append(1)
        return original(*args, **kwargs)

    monkeypatch.setattr(train.Trainer, "train_rows", train_rows)
    x, y = data(25)
    model, rates = made(kjax.optim.Lookahead(kjax.optim.SGD(0.5))), []
    halve = callbacks.LearningRateScheduler(lambda epoch: np.float32(0.5**epoch))
    reduce = callbacks.ReduceLROnPlateau("val_loss", patience=1, min_delta=99, factor=0.5)
    watch = callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: rates.append(model.optimizer.lr))
    history = model.fit(x, y, epochs=4, verbose=0, validation_split=0.2, callbacks=[halve, watch, reduce])
    assert rates == history.history["learning_rate"] == [1.0, 0.5, 0.25, 0.125] and len(traces) == 1
    assert model.optimizer.lr == 0.0625
    assert callbacks.LearningRateScheduler(kjax.optimizers.schedules.ExponentialDecay(1.0, 1, 0.5)).schedule(1) == 0.5


def averages(model):
    with model.averaged_weights():
        return weights(model)


def test_averaged_weights_are_evaluated_and_training_does_not_notice():
    x, y = data()
    plain, swapped, after = (made(kjax.optim.SGD(0.1, use_ema=True, ema_momentum=0.8)) for _ in range(3))
    plain.fit(x, y, epochs=3, verbose=0)
    swap = callbacks.SwapEMAWeights()
    losses = swapped.fit(x, y, epochs=3, verbose=0, validation_data=(x, y), callbacks=[swap]).history["val_loss"]
    assert same(weights(plain), weights(swapped))
    with plain.averaged_weights():
        wanted, predicted = plain.evaluate(x, y, verbose=0), plain.predict(x)
    assert losses[-1] == wanted == swapped.evaluate(x, y, verbose=0, callbacks=swap) != plain.evaluate(x, y, verbose=0)
    np.testing.assert_array_equal(swapped.predict(x, callbacks=swap), predicted)
    seen = []
    look = callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(weights(after)))
    after.fit(x, y, epochs=3, verbose=0, callbacks=[callbacks.SwapEMAWeights(swap_on_epoch=True), look])
    assert same(weights(after), averages(plain)) and same(seen[-1], weights(after))
    assert len(after.fit(x, y, verbose=0).epoch) == 1


def test_a_timer_counts_the_steps_there_were():
    x, y = data(12)
    model, timer = made(), callbacks.Timer()
    stop = callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: setattr(model, "stop_training", batch == 1))
    for hooks, steps in (([timer], 5), ([timer, stop], 2)):
        model.fit(lambda: iter([(x, y)] * 5), verbose=0, callbacks=hooks)
        assert timer.steps[0] * steps == pytest.approx(timer.epochs[0])


def fails(*args):
    raise RuntimeError("of the callback")


@pytest.mark.parametrize("method", ["fit", "evaluate", "predict"])
def test_an_error_leaves_the_weights_and_not_their_averages(method):
    x, y = data()
    model = made(kjax.optim.SGD(0.1, use_ema=True))
    model.fit(x, y, 8, verbose=0)
    hook = "on_predict_batch_end" if method == "predict" else "on_test_batch_end"
    hooks = [callbacks.SwapEMAWeights(), callbacks.LambdaCallback(**{hook: fails})]
    arguments = {"fit": (x, y, 8), "evaluate": (x, y), "predict": (x,)}[method]
    options = {"validation_data": (x, y)} if method == "fit" else {}
    wanted = made(kjax.optim.SGD(0.1, use_ema=True))
    for _ in range(2 if method == "fit" else 1):
        wanted.fit(x, y, 8, verbose=0)
    with pytest.raises(RuntimeError, match="of the callback"):
        getattr(model, method)(*arguments, verbose=0, callbacks=hooks, **options)
    assert same(weights(model), weights(wanted))


def test_nan_ends_training(capsys):
    x, y = data()
    model = made(kjax.optim.SGD(1e30))
    assert len(model.fit(x, y, epochs=50, verbose=0, callbacks=[callbacks.TerminateOnNaN()]).epoch) < 5
    assert capsys.readouterr().out.count("ends training") == 1
    with pytest.raises(FloatingPointError, match="smaller learning rate"):
        model.fit(x, y, epochs=5, verbose=0, callbacks=[callbacks.TerminateOnNaN(raise_error=True)])


def test_a_prediction_shows_its_batches():
    x, _ = data(11)
    seen, model = [], made()
    watch = callbacks.LambdaCallback(on_predict_batch_end=lambda batch, logs: seen.append(logs["outputs"]))
    whole = model.predict(x, batch_size=4, callbacks=[watch])
    assert [part.shape for part in seen] == [(4, 1), (4, 1), (3, 1)]
    np.testing.assert_array_equal(np.concatenate(seen), whole)


def test_what_callbacks_print(capsys, tmp_path):
    x, y = data()
    rate = callbacks.LearningRateScheduler(lambda epoch: 0.5, verbose=1)
    reduce = callbacks.ReduceLROnPlateau("loss", patience=1, min_delta=99, verbose=1)
    save = callbacks.ModelCheckpoint(tmp_path / "best", "loss", 1, save_best_only=True, save_weights_only=True)
    stop = callbacks.EarlyStopping("loss", patience=1, min_delta=99, restore_best_weights=True, verbose=1)
    timer = callbacks.Timer()
    made().fit(x, y, epochs=3, verbose=0, callbacks=[rate, reduce, save, stop, timer])
    said = capsys.readouterr().out
    for part in (
        "Epoch 1: LearningRateScheduler sets the learning rate to 0.5.",
        "Epoch 2: ReduceLROnPlateau reduces the learning rate to 0.05.",
        "Epoch 1: loss improved to ", "Epoch 2: loss improved from ", "Epoch 1: saved ",
        "Epoch 2: early stopping", "Restoring the weights of the end of the best epoch: 1.",
    ):  # fmt: skip
        assert part in said, part
    assert re.fullmatch(r"Timer\(2 epochs, \S+ s each after the first\)", repr(timer))


def fit(*hooks, model=None, **options):
    x, y = data(8)
    return (model or made()).fit(x, y, verbose=0, callbacks=list(hooks), **options)


def custom(y_true, y_pred):
    return abs(y_true - y_pred)[:, 0]


def scheduled():
    return made(kjax.optim.SGD(kjax.optimizers.schedules.ExponentialDecay(0.1, 10, 0.9)))


C = callbacks
MISTAKES = {
    "monitor misspelt": (lambda: fit(C.EarlyStopping("val_los"), validation_split=0.5), ["'val_los'", "Did you mean 'val_loss'?", "There are: loss, val_loss"]),
    "monitor without validation": (lambda: fit(C.EarlyStopping()), ["EarlyStopping", "no 'val_loss'", "validation_split"]),
    "monitor of a rate": (lambda: fit(C.ReduceLROnPlateau("acc")), ["ReduceLROnPlateau", "'acc'"]),
    "monitor unknown": (lambda: C.EarlyStopping(3), ["monitor is a name", "3"]),
    "mode": (lambda: C.EarlyStopping(mode="highest"), ["mode", "'min'", "'highest'"]),
    "mode unknown": (lambda: fit(C.EarlyStopping("custom"), model=made(metrics=[custom])), ["'custom' is better high or low", "mode='max'"]),
    "patience": (lambda: C.EarlyStopping(patience=-1), ["EarlyStopping", "patience", "-1"]),
    "patience of a rate": (lambda: C.ReduceLROnPlateau(patience=-1), ["ReduceLROnPlateau", "patience"]),
    "cooldown": (lambda: C.ReduceLROnPlateau(cooldown=1.5), ["cooldown", "1.5"]),
    "factor": (lambda: C.ReduceLROnPlateau(factor=1.5), ["factor", "[0, 1)", "1.5"]),
    "min_lr": (lambda: C.ReduceLROnPlateau(min_lr=-1), ["min_lr", "-1"]),
    "rate that is a schedule": (lambda: fit(C.ReduceLROnPlateau("loss"), model=scheduled()), ["ReduceLROnPlateau", "ExponentialDecay", "SGD(lr=0.01)"]),
    "schedule that gives none": (lambda: fit(C.LearningRateScheduler(lambda epoch: None)), ["schedule(0)", "None"]),
    "schedule": (lambda: C.LearningRateScheduler(0.1), ["function of the epoch", "0.1"]),
    "swap without averages": (lambda: fit(C.SwapEMAWeights()), ["use_ema=True"]),
    "hook misspelt": (lambda: C.LambdaCallback(on_epoch_ends=print), ["on_epoch_ends", "Did you mean 'on_epoch_end'?"]),
    "hook that is no function": (lambda: C.LambdaCallback(on_epoch_end=3), ["on_epoch_end", "3"]),
    "no callback in evaluate": (lambda: made().evaluate(*data(), callbacks=[print]), ["evaluate", "Callback"]),
    "no callback in predict": (lambda: made().predict(data()[0], callbacks=[print]), ["predict", "Callback"]),
    "path's name misspelt": (lambda: fit(C.ModelCheckpoint("{epoch}-{los}", save_weights_only=True)), ["'los'", "Did you mean 'loss'?"]),
    "path's format": (lambda: C.ModelCheckpoint("{epoch:02q}"), ["ModelCheckpoint", "02q"]),
    "path's braces": (lambda: C.ModelCheckpoint("{epoch"), ["ModelCheckpoint", "'{epoch'"]),
    "path's batch": (lambda: C.ModelCheckpoint("{batch}"), ["{batch}", "save_freq"]),
    "save_freq": (lambda: C.ModelCheckpoint("a", save_freq="batch"), ["save_freq", "'batch'"]),
    "validation between batches": (lambda: fit(C.ModelCheckpoint("a", save_weights_only=True, save_best_only=True, save_freq=2), validation_split=0.5), ["'val_loss'", "There are: loss"]),
    "separator": (lambda: C.CSVLogger("a", ", "), ["separator", "', '"]),
    "root": (lambda: C.RemoteMonitor("host:1"), ["http://", "'host:1'"]),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_explained(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mistake, parts = MISTAKES[name]
    with pytest.raises((ValueError, TypeError)) as caught:
        mistake()
    assert all(part in str(caught.value) for part in parts), caught.value


def test_a_wrong_name_is_found_before_training_or_after_one_epoch():
    model = made()
    with pytest.raises(ValueError, match="'val_los'"):
        fit(callbacks.EarlyStopping("val_los"), model=model, validation_split=0.5, epochs=9)
    assert int(model.state.step) == 0
    adds = callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: logs.update(extra=1.0))
    with pytest.raises(ValueError, match=r"'extr'.*Did you mean 'extra'"):
        fit(adds, callbacks.EarlyStopping("extr", mode="min"), model=model, epochs=9)
    assert int(model.state.step) == 1
    assert fit(adds, callbacks.EarlyStopping("extra", mode="min"), model=model, epochs=9).epoch == [0, 1]


class Screen:
    """Stands in for IPython's display."""

    def __init__(self):
        self.shown = []

    def display(self, figure, display_id):
        self.shown.append(figure)
        return self

    def update(self, figure):
        self.shown.append(figure)


def test_the_live_plot_is_drawn_anew(monkeypatch):
    screen = Screen()
    monkeypatch.setattr("IPython.display.display", screen.display)
    fit(callbacks.LivePlot(seconds=0), epochs=2)
    assert screen.shown == []  # no notebook
    monkeypatch.setattr("IPython.core.getipython.get_ipython", lambda: screen)
    fit(callbacks.LivePlot(seconds=0, title="digits"), epochs=3)
    assert [len(figure.axes[0].lines[0].get_xdata()) for figure in screen.shown] == [1, 2, 3, 3]
    assert screen.shown[-1].get_suptitle() == "digits"
    screen.shown.clear()
    fit(callbacks.LivePlot(seconds=99), epochs=3)
    assert len(screen.shown) == 2  # the first epoch, and the end
    monkeypatch.setitem(sys.modules, "IPython.core.getipython", None)
    with pytest.raises(ImportError, match=r'pip install "kjax\[notebook\]"'):
        callbacks.LivePlot()


class Named(Callback):
    """A callback from elsewhere, whose own methods have names that mean something else to others."""

    def resume(self): ...
    def rest(self): ...
    def fault(self): ...
    def leave(self): ...


def test_methods_of_any_other_name_are_left_alone():
    assert len(fit(Named()).epoch) == 1
    with pytest.raises(TypeError, match="on_run_leave"):
        callbacks.LambdaCallback(on_run_leave=print)
