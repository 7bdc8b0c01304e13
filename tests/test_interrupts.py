"""Ctrl-C: what is left of a model, and that fits leave nothing behind. `make interrupt` and `make memory` do more."""

import gc
import signal
import threading

import jax
import numpy as np

import kjax
from kjax import layers, loop
from kjax.callbacks import Callback, LambdaCallback

X = np.random.default_rng(0).standard_normal((48, 3)).astype("float32")
Y = X[:, :1]


def made():
    model = kjax.Sequential([layers.Dense(4, "relu", input_shape=(3,)), layers.Dense(1)])
    model.compile("adam", "mse")
    return model


class Presses(Callback):
    """Presses Ctrl-C some times in one of its hooks."""

    def __init__(self, hook, batch, times):
        self.batch, self.times, self.seen = batch, times, []
        setattr(self, hook, self.press)

    def press(self, batch, logs=None):
        self.seen.append(batch)
        for _ in range(self.times if batch == self.batch else 0):
            signal.raise_signal(signal.SIGINT)


def usable(model, steps):
    assert int(model.state.step) == steps
    assert np.isfinite(model.predict(X)).all() and np.isfinite(model.evaluate(X, Y, verbose=0))
    assert len(model.fit(X, Y, 8, verbose=0).epoch) == 1


def test_one_waits_for_the_step_and_two_do_not(capsys):
    for times, steps in ((1, 3), (2, 2)):
        model = made()
        model.fit(X, Y, 8, epochs=3, verbose=0, callbacks=Presses("on_train_batch_begin", 2, times))
        assert "Interrupted in epoch 1" in capsys.readouterr().err
        usable(model, steps)


def test_two_within_a_step_wait_for_its_weights():
    model = made()
    real = model.compiled.train_rows

    def run(*args, **options):
        found = real(*args, **options)
        for _ in range(3):
            signal.raise_signal(signal.SIGINT)
        return found

    model.compiled.train_rows = run
    model.fit(X, Y, 8, epochs=3, verbose=0)
    model.compiled.train_rows = real
    usable(model, 1)


def test_what_else_ctrl_c_does_it_goes_on_doing():
    pressed, before = [], signal.getsignal(signal.SIGINT)
    try:
        for handler, times in ((lambda *_: pressed.append(1), 1), (signal.SIG_IGN, 0)):
            signal.signal(signal.SIGINT, handler)
            pressed.clear()
            history = made().fit(X, Y, 8, verbose=0, callbacks=Presses("on_train_batch_begin", 2, 1))
            assert len(pressed) == times and len(history.epoch) == 1
            assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_handler_that_python_does_not_know_stays(monkeypatch):
    monkeypatch.setattr(loop.signal, "getsignal", lambda number: None)
    assert len(made().fit(X, Y, 8, verbose=0).epoch) == 1


def test_a_fit_within_a_fit_takes_its_own_interrupt(capsys):
    outer, inner = made(), made()
    press = Presses("on_train_batch_begin", 2, 1)
    within = LambdaCallback(on_epoch_begin=lambda epoch, logs: inner.fit(X, Y, 8, verbose=0, callbacks=press))
    assert len(outer.fit(X, Y, 8, verbose=0, callbacks=within).epoch) == 1
    assert int(inner.state.step) == 3 and "Interrupted in epoch 1" in capsys.readouterr().err


def test_a_validation_ends_at_once():
    model, presses = made(), Presses("on_test_batch_begin", 1, 1)
    model.fit(X, Y, 8, epochs=3, verbose=0, validation_data=(X, Y), callbacks=presses)
    assert presses.seen == [0, 1]
    usable(model, 6)


def test_fits_leave_nothing_behind():
    model, held = made(), []
    for number in range(12):
        model.fit(X, Y, 8, epochs=2, verbose=0, validation_split=0.25, check_finite=True)
        model.predict(X)
        if number in (2, 11):
            gc.collect()
            held.append((len(jax.live_arrays()), threading.active_count()))
    assert held[0] == held[1]
