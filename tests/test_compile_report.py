"""What compiles again is told with the reason, once; what is natural to compile is not."""

import copy
import itertools
import pickle
import re
import threading
import warnings

import jax
import numpy as np
import pytest

import kjax
from kjax import RecompileWarning, optim
from kjax.compile_report import Spec
from kjax.layers import Dense

ExponentialDecay = kjax.optimizers.schedules.ExponentialDecay
X, Y = np.random.default_rng(0).random((40, 8), np.float32), np.ones((40, 1), np.float32)
WIDTHS = itertools.count(1)


@pytest.fixture
def model():
    """A network that no other test has: equal ones share their programs."""
    made = kjax.Sequential([Dense(next(WIDTHS), input_shape=(8,)), Dense(1)])
    made.compile(optim.SGD(0.01), "mse")
    return made


def on_batch(n, x=X, y=Y, **options):
    return lambda model: model.train_on_batch(x[:n], y[:n], **options)


def fitted(n, batch_size=8, **options):
    return lambda model: model.fit(X[:n], Y[:n], batch_size, verbose=0, **options)


def optimized(optimizer):
    def change(model):
        model.optimizer = optimizer
        model.train_on_batch(X, Y)

    return change


AGAIN = {
    "the size of a batch": ((on_batch(40), on_batch(30)), "train_step compiles again (2nd time, _ s): x changed from "
        "float32[40,8] to float32[30,8], y changed from float32[40,1] to float32[30,1]. Each batch size compiles once"),
    "a dtype": ((on_batch(40), on_batch(40, X.astype("uint8"))), "train_step compiles again (2nd time, _ s): x changed "
        "from float32[40,8] to uint8[40,8]. Convert it to one dtype beforehand"),
    "the size of a batch in fit": ((fitted(40), fitted(40, 5)), "train_rows compiles again (2nd time, _ s): "
        "(steps, batch size) changed from int32[8,8] to int32[13,5]. Each batch size compiles once"),
    "the length of the data": ((fitted(40), fitted(24)), "train_rows compiles again (2nd time, _ s): "
        "x changed from float32[64,8] to float32[32,8]"),
    "a structure": ((on_batch(40), optimized(optim.SGD(ExponentialDecay(0.1, 10, 0.9)))), "train_step compiles again "
        "(2nd time, _ s): optimizer changed from SGD() to SGD(lr=ExponentialDecay(initial_learning_rate=0.1, "),
    "a batch to predict": ((lambda m: m.predict_on_batch(X[:9]), lambda m: m.predict_on_batch(X[:11])),
        "predict compiles again (2nd time, _ s): x changed from float32[9,8] to float32[11,8]. Each batch size"),
    "a third time": ((on_batch(40), on_batch(30), on_batch(20)), "train_step compiles again (3rd time, _ s): x changed "
        "from float32[30,8] to float32[20,8]"),
}  # fmt: skip


@pytest.mark.parametrize("name", AGAIN)
def test_a_step_that_compiles_again_says_why_and_says_it_once(name, model):
    calls, message = AGAIN[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RecompileWarning)
        for call in calls[:-1]:
            call(model)
    with pytest.warns(RecompileWarning) as said:
        calls[-1](model)
    text = re.sub(r"\d+\.\d s\)", "_ s)", str(said[0].message))
    assert len(said) == 1 and text.startswith(message), text
    assert said[0].filename == __file__  # the user's line, not one of ours
    with warnings.catch_warnings():
        warnings.simplefilter("error", RecompileWarning)
        for call in calls:
            if name != "a structure":
                call(model)
    assert " changed from " in model.compile_report()[len(calls)].changes[0]


def test_what_is_natural_compiles_without_a_word(model):
    with warnings.catch_warnings():
        warnings.simplefilter("error", RecompileWarning)
        model.fit(X, Y, 8, verbose=0, validation_split=0.2)
        model.fit(X[:30], Y[:30], 8, verbose=0)  # with padding
        model.fit(X, Y, 8, verbose=0, validation_split=0.2, sample_weight=np.ones(40))
        model.evaluate(X, Y, 10, verbose=0)
        model.evaluate(X[:16], Y[:16], 8, verbose=0)
        for n in (1, 2, 7, 40):
            model.predict(X[:n])
        model.predict(X, batch_size=33)
        model.train_on_batch(X, Y)
        model.test_on_batch(X, Y)
        model.optimizer = model.optimizer.replace(lr=0.5)
        model.train_on_batch(X, Y)
        model.compile("adam", "mae")  # asked for: whatever comes may be new
        model.train_on_batch(X[:16], Y[:16])
        model.freeze("dense")
        model.train_on_batch(X[:8], Y[:8])
    functions = [one.function for one in model.compile_report()]
    assert [functions.count(name) for name in ("train_rows", "eval_rows", "train_step", "eval_step")] == [3, 4, 3, 1]


def test_the_report_lists_all_that_was_compiled(model, compiling):
    model.fit(X, Y, 8, verbose=0)
    with pytest.warns(RecompileWarning):
        model.fit(X, Y, 5, verbose=0)
    report = model.compile_report()
    assert [one.function for one in report] == ["init", "train_rows", "train_rows"]
    assert all(0 < one.seconds < 60 and not one.cached for one in report)
    assert report.seconds == sum(one.seconds for one in report)
    lines = repr(report).splitlines()
    assert lines[0].split() == ["function", "seconds", "from", "because"] and lines[-1].startswith("3 in all")
    assert re.fullmatch(r"train_rows +\d+\.\d\d  compiler +\(steps, batch size\) changed from .*", lines[3])


def test_an_equal_network_has_nothing_to_compile_and_a_copy_a_report_of_its_own(model):
    model.train_on_batch(X, Y)
    twin = kjax.Sequential([Dense(model.net.layers[0].units, input_shape=(8,)), Dense(1)])
    twin.compile(optim.SGD(0.5), "mse")
    twin.train_on_batch(X, Y)
    assert len(model.compile_report()) == 2 and len(twin.compile_report()) == 0
    for other in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        other.train_on_batch(X[:3], Y[:3])  # the first time for it, so no warning
        assert {one.function for one in other.compile_report()} <= {"train_step"} and len(model.compile_report()) == 2


def test_as_an_error_it_comes_before_the_step(model):
    model.train_on_batch(X, Y)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RecompileWarning)
        with pytest.raises(RecompileWarning, match="float32"):
            model.train_on_batch(X[:30], Y[:30])
    assert int(model.state.step) == 1
    model.train_on_batch(X, Y)
    assert int(model.state.step) == 2


def test_an_error_within_a_layer_is_no_compilation():
    model = kjax.Sequential([kjax.layers.Lambda(lambda x: x if x.shape[0] != 5 else x @ x), Dense(1)])
    model.compile("sgd", "mse")
    model.train_on_batch(X, Y)
    with pytest.raises((TypeError, ValueError)):
        model.train_on_batch(X[:5], Y[:5])
    jax.jit(lambda x: x + 0.875)(1.0)  # another's compilation
    assert [one.function for one in model.compile_report()] == ["init", "train_step"]


def test_each_thread_notes_its_own(model):
    other = kjax.Sequential([Dense(next(WIDTHS), input_shape=(8,)), Dense(1)])
    other.compile("sgd", "mse")
    threads = [threading.Thread(target=m.train_on_batch, args=(X, Y)) for m in (model, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for m in (model, other):
        assert [one.function for one in m.compile_report()] == ["init", "train_step"]


def test_a_python_number_is_told_from_an_array():
    assert str(Spec("float32", (), True)) == "float32[] of a Python number"
    assert str(Spec("int32", (2, 3), False)) == "int32[2,3]"


def test_a_step_that_does_not_compile_runs_nothing_of_this(model, monkeypatch):
    model.train_on_batch(X, Y), model.predict(X[:1])
    for name in ("signature", "finished", "tracing"):
        monkeypatch.setattr(f"kjax.compile_report.{name}", None)
    model.train_on_batch(X, Y), model.predict(X[:1])
