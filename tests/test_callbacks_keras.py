"""Callbacks decide as Keras's do: both are driven with the same logs, and with the same small trainings."""

import keras
import numpy as np
import pytest
from conftest import keras_allowed

import kjax
from kjax import callbacks, layers, metrics
from kjax.callbacks import monitor
from kjax.metrics.registry import CLASSES
from kjax.train import TrainState


class Stub:
    """What callbacks want of a model, for either library: its one weight is the number of the epoch."""

    def __init__(self, lr=1.0):
        self.stop_training, self.saved = False, []
        self.state = TrainState({"w": np.zeros(())}, {}, (), np.int32(0), None)
        self.optimizer = kjax.optim.SGD(lr)

    def get_weights(self):
        return [self.state.params["w"].copy()]

    def set_weights(self, weights):
        self.state = self.state.replace(params={"w": np.asarray(weights[0])})

    def save_weights(self, path, overwrite=True):
        self.saved.append(str(path))

    save = save_weights


class Rate:
    """What Keras's callbacks want of an optimizer."""

    def __init__(self, lr):
        self.learning_rate = lr


def driven(library, name, options, values, batches=0):
    """What a callback did with such values of the monitored number; stops where it stops."""
    callback, stub, seen = getattr(library, name)(**options), Stub(), []
    stub.optimizer = Rate(1.0) if library is keras.callbacks else stub.optimizer
    callback.set_model(stub)
    callback.set_params({"epochs": len(values)})
    callback.on_train_begin({})
    for epoch, value in enumerate(values):
        callback.on_epoch_begin(epoch, {})
        stub.set_weights([np.array(epoch + 1.0)])
        for batch in range(batches):
            callback.on_train_batch_begin(batch, {})
            callback.on_train_batch_end(batch, {"loss": value + batch})
        logs = {"loss": value, "val_score": -value}
        callback.on_epoch_end(epoch, logs)
        seen.append({**logs, "rate": float(stub.optimizer.learning_rate)})
        if stub.stop_training:
            break
    callback.on_train_end({})
    facts = {n: getattr(callback, n, None) for n in ("best", "best_epoch", "wait", "stopped_epoch", "cooldown_counter")}
    return seen, stub.saved, float(stub.get_weights()[0]), {n: v if v is None else float(v) for n, v in facts.items()}


def compare(name, options, values, batches=0):
    with keras_allowed():
        theirs = driven(keras.callbacks, name, options, values, batches)
    ours = driven(callbacks, name, options, values, batches)
    assert len(ours[0]) == len(theirs[0]), (options, values)
    for mine, other in zip(ours[0], theirs[0], strict=True):
        assert mine == pytest.approx(other, rel=1e-6), (options, values)  # Keras computes in float32
    assert ours[1:3] == theirs[1:3], (options, values)
    assert ours[3] == pytest.approx(theirs[3]), (options, values)


PATH = {"filepath": "run/{epoch:02d}-{loss:.2f}.weights.h5", "save_weights_only": True, "monitor": "loss"}
CASES = {
    "EarlyStopping": [
        {"monitor": "loss"},
        {"monitor": "loss", "patience": 2, "restore_best_weights": True},
        {"monitor": "loss", "patience": 1, "min_delta": 0.25, "start_from_epoch": 2},
        {"monitor": "loss", "patience": 2, "min_delta": -0.25, "restore_best_weights": True},
        {"monitor": "loss", "patience": 3, "baseline": 0.5, "restore_best_weights": True},
        {"monitor": "val_score", "mode": "max", "patience": 1, "restore_best_weights": True},
        {"monitor": "val_score", "mode": "min", "patience": 2, "start_from_epoch": 1},
    ],
    "ReduceLROnPlateau": [
        {"monitor": "loss", "patience": 0},
        {"monitor": "loss", "patience": 2, "factor": 0.5},
        {"monitor": "loss", "patience": 1, "factor": 0.5, "cooldown": 2, "min_delta": 0.25},
        {"monitor": "loss", "patience": 1, "factor": 0.25, "min_lr": 0.125},
        {"monitor": "val_score", "mode": "max", "patience": 1, "factor": 0.5, "cooldown": 1, "min_delta": 0},
    ],
    "ModelCheckpoint": [
        PATH,
        {**PATH, "save_best_only": True},
        {**PATH, "save_best_only": True, "initial_value_threshold": 0.5},
        {**PATH, "save_best_only": True, "monitor": "val_score", "mode": "max"},
        {**PATH, "filepath": "run/model.keras", "save_weights_only": False, "save_best_only": True},
    ],
    "LearningRateScheduler": [
        {"schedule": lambda epoch: 1.0 / (epoch + 1)},
        {"schedule": lambda epoch, lr: lr * 0.5},
        {"schedule": lambda epoch, lr=0.1: float(lr)},
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_decisions_are_those_of_keras(name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for options in CASES[name]:
        for values in ([1, 0.5, 0.5, 0.75, 0.25, 0.25, 0.25, 0.25], [0.5, 1, 1, 1], *rng.integers(0, 8, (4, 9)) / 8):
            compare(name, options, [float(value) for value in values])


@pytest.mark.parametrize("frequency", [1, 3, 4, 7])
def test_saves_after_batches_are_those_of_keras(frequency, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    path = {**PATH, "filepath": "run/{epoch}-{batch:02d}-{loss:.2f}.weights.h5", "save_freq": frequency}
    compare("ModelCheckpoint", path, [1.0, 0.5, 0.25], batches=4)
    if frequency > 1:  # where Keras has no best one yet, it fails
        compare("ModelCheckpoint", {**path, "save_best_only": True}, [1.0, 2.0, 0.25], batches=4)


def test_nan_is_never_best():
    """Keras 3 takes a NaN in the first epoch for the best there can be; Keras 2 did not."""
    nan = float("nan")
    _, saved, _, facts = driven(callbacks, "ModelCheckpoint", {**PATH, "save_best_only": True}, [nan, 1.0, nan, 0.5])
    assert saved == ["run/02-1.00.weights.h5", "run/04-0.50.weights.h5"] and facts["best"] == 0.5
    options = {"monitor": "loss", "patience": 2, "restore_best_weights": True}
    _, _, weight, facts = driven(callbacks, "EarlyStopping", options, [nan, 0.5, nan, nan, nan])
    assert weight == 2 and facts["stopped_epoch"] == 3


@pytest.mark.parametrize("fits", [[{}], [{"append": True}, {"append": True}], [{}, {}], [{"separator": ";"}]])
def test_csv_files_are_those_of_keras(fits, tmp_path):
    files = {}
    for library in (keras.callbacks, callbacks):
        path = tmp_path / library.__name__
        for i, options in enumerate(fits):
            logger = library.CSVLogger(path, **options)
            logger.set_model(Stub())
            logger.on_train_begin({})
            for epoch in range(2):
                logs = {"loss": 0.5 / (epoch + 1), "accuracy": 0.1}
                logger.on_epoch_end(epoch, {**logs, "val_loss": float("nan"), "val_accuracy": 0.0} if i else logs)
            logger.on_train_end({})
        files[library] = path.read_bytes()
    assert files[keras.callbacks] == files[callbacks]


def test_better_is_what_keras_thinks_better():
    counts = {"TruePositives", "TrueNegatives", "FalsePositives", "FalseNegatives"}
    assert {cls.__name__ for cls in (*monitor.HIGHER, *monitor.LOWER)} == set(CLASSES) - counts - {"F1Score"}
    assert issubclass(metrics.F1Score, monitor.HIGHER)
    for cls in (*monitor.HIGHER, *monitor.LOWER):
        known = {"MeanIoU": {"num_classes": 2}}.get(cls.__name__, {})
        theirs = getattr(getattr(keras.metrics, cls.__name__)(**known), "_direction", None)
        assert theirs in (None, "up" if cls in monitor.HIGHER else "down"), cls


@pytest.mark.parametrize(
    ("wanted", "metric", "name"),
    [
        ("max", "acc", "val_acc"), ("max", "accuracy", "accuracy"), ("min", "mse", "val_mse"), ("min", "mae", "loss"),
        ("min", metrics.MeanOf(kjax.losses.huber), "huber"), ("auto", lambda y, p: p[:, 0], "<lambda>"),
    ],
)  # fmt: skip
def test_better_is_known_by_the_metrics_kind(wanted, metric, name):
    model = kjax.Sequential([layers.Dense(1, input_shape=(2,))])
    model.compile("sgd", "mse", metrics=[metric])
    assert monitor.direction(model, name) == wanted


KINDS = ("train", "test", "predict")
HOOKS = [f"on_{kind}_{when}" for kind in KINDS for when in ("begin", "end")]
NUMBERED = [f"on_{what}_{when}" for what in ("epoch", *(f"{k}_batch" for k in KINDS)) for when in ("begin", "end")]


def recorder(base, seen):
    """A callback that notes every hook with its number and the names in its logs."""

    def noting(hook):
        if hook in HOOKS:
            return lambda self, logs=None: seen.append((hook, sorted(logs)))
        return lambda self, number, logs=None: seen.append((hook, number, sorted(logs)))

    return type("Recorder", (base,), {hook: noting(hook) for hook in [*HOOKS, *NUMBERED]})()


def test_all_hooks_are_called_in_the_order_and_with_the_logs_of_keras():
    x, y = np.ones((10, 2), "float32"), np.zeros((10, 1), "float32")
    both = []
    for library, dense in ((keras, keras.layers.Dense(1)), (kjax, layers.Dense(1))):
        seen = []
        watch = recorder(library.callbacks.Callback, seen)
        with keras_allowed():
            model = library.Sequential([dense])
            model.compile("sgd", "mse")
            options = {"batch_size": 4, "verbose": 0, "callbacks": [watch]}
            model.fit(x, y, epochs=2, validation_data=(x[:5], y[:5]), **options)
            model.evaluate(x, y, **options)
            model.predict(x, **options)
        both.append(seen)
    assert both[0] == both[1] and len(both[0]) > 40
