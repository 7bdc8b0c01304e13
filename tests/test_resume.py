"""Runs that are broken off and go on: everything is as if they had not been, to the last bit."""

import contextlib
import errno
import importlib.util
import io
import itertools
import os
import pathlib
import random
import signal

import jax
import numpy as np
import pytest
from jax._src.array import ArrayImpl
from test_checkpoints import Full, another_process, same

import kjax
from kjax import callbacks, compiled, layers, resume
from kjax.callbacks import BackupAndRestore, Callback
from kjax.files import Lock
from kjax.progress import Progress

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((50, 3)).astype("float32"), RNG.standard_normal((50, 1)).astype("float32")


class Killed(Exception):
    """What stands in for the end of a process."""


class Kill(Callback):
    """Ends the run after so many steps, or (-3) when the callbacks before this one have seen the end of epoch 3."""

    def __init__(self, at):
        self.at = at

    def on_train_batch_begin(self, batch, logs=None):
        if int(self.model.state.step) == self.at:
            raise Killed

    def on_epoch_end(self, epoch, logs=None):
        if epoch == -self.at:
            raise Killed


class Counter(Callback):
    """A user's callback: it counts batches, draws by its own generator, and puts both into the logs."""

    def on_train_begin(self, logs=None):
        self.seen, self.drawn = 0, np.random.default_rng(0)

    def on_train_batch_end(self, batch, logs=None):
        self.seen += 1

    def on_epoch_end(self, epoch, logs=None):
        logs["seen"], logs["drawn"] = self.seen, np.float32(self.drawn.random())

    def get_state(self):
        return {"seen": self.seen, "drawn": self.drawn.bit_generator.state}

    def set_state(self, state):
        self.seen = state["seen"]
        self.drawn.bit_generator.state = state["drawn"]


def made(optimizer=None, units=4, seed=0, **options):
    net = [layers.Dense(units, "tanh", input_shape=(3,)), layers.BatchNormalization(), layers.Dropout(0.4)]
    model = kjax.Sequential([*net, layers.Dense(1)], seed=seed)
    model.compile(optimizer or kjax.optim.Adam(0.1, use_ema=True), **{"loss": "mse", "metrics": ["mae"], **options})
    return model


def everything(folder):
    """All callbacks that remember something, with files in a folder."""
    return [
        callbacks.LearningRateScheduler(lambda epoch, lr: lr * 0.9),
        callbacks.ReduceLROnPlateau("loss", factor=0.5, patience=0, min_delta=0.05, cooldown=1),
        Counter(),
        callbacks.SwapEMAWeights(swap_on_epoch=True),
        callbacks.EarlyStopping("val_loss", patience=2, restore_best_weights=True),
        callbacks.CSVLogger(folder / "log.csv"),
        callbacks.JSONLogger(folder / "log.jsonl"),
        callbacks.ModelCheckpoint(
            folder / "best.safetensors", "loss", save_best_only=True, save_weights_only=True, save_freq=3
        ),
    ]


def run(folder, hooks, model=None, backup=None, **options):
    """A training, with a backup in the folder unless that is None."""
    folder.mkdir(exist_ok=True)
    model = model or made()
    kept = [] if backup is None else [BackupAndRestore(folder / "backup", **backup)]
    options = {"batch_size": 8, "epochs": 6, "verbose": 0, "validation_data": (X[:9], Y[:9]), **options}
    history = model.fit(X, Y, callbacks=[*kept, *hooks], **options)
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    return history, (model.state, model.optimizer), files


def broken(folder, hooks, kills, **options):
    """The same training, broken off at some places and begun again by the same script."""
    for kill in kills:
        with pytest.raises(Killed):
            run(folder, [*hooks(folder), Kill(kill)], **options)
    return run(folder, hooks(folder), **options)


PLACES = {
    "in the first epoch": [4],
    "in the middle and at the end": [12, -3, 34],
    "before a checkpoint": [1, 1, 14],
    "twice in one epoch": [17, 20],
}


@pytest.mark.parametrize("place", PLACES)
def test_a_broken_run_gives_what_a_whole_one_gives(place, tmp_path):
    history, state, files = run(tmp_path / "whole", everything(tmp_path / "whole"))
    found = broken(tmp_path / "broken", everything, PLACES[place], backup={"save_freq": 2})
    assert found[0].history == history.history and found[0].epoch == history.epoch
    assert same(found[1], state) and found[2] == files and len(files) == 3
    assert not (tmp_path / "broken" / "backup").exists()


def die(epoch, logs):
    if epoch == 2:
        raise Killed


@pytest.mark.parametrize("options", [{"shuffle": "batch"}, {"initial_epoch": 1}, {"validation_data": None}])
def test_loops_of_many_steps_go_on_too(options, tmp_path):
    history, state, _ = run(tmp_path / "whole", [], **options)
    for freq in (1, "epoch", "0.001s"):
        folder = tmp_path / str(freq)
        with pytest.raises(Killed):
            run(folder, [callbacks.LambdaCallback(on_epoch_end=die)], backup={"save_freq": freq}, **options)
        assert list((folder / "backup").glob("checkpoint-*"))
        found = run(folder, [], backup={"save_freq": freq}, **options)
        assert found[0].history == history.history and same(found[1], state)


def test_recurrent_states_and_the_rows_of_mapped_files_go_on(tmp_path, monkeypatch):
    monkeypatch.setattr("kjax.feed.CHUNK_BYTES", 300)
    x = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", "float32", (24, 4, 3))
    x[:] = np.random.default_rng(0).standard_normal(x.shape)

    def trained(folder, *hooks):
        model = kjax.Sequential([layers.LSTM(3, stateful=True, batch_input_shape=(4, 4, 3)), layers.Dense(1)])
        model.compile("rmsprop", "mse")
        model.fit(x, np.ones((24, 1)), batch_size=4, epochs=3, verbose=0, callbacks=list(hooks))
        return model.state

    whole = trained(tmp_path)
    with pytest.raises(Killed):
        trained(tmp_path, BackupAndRestore(tmp_path / "run", 1), Kill(10))
    assert same(trained(tmp_path, BackupAndRestore(tmp_path / "run", 1)), whole)


class Numbered:
    """Batches by number."""

    def __len__(self):
        return 7

    def __getitem__(self, i):
        return X[8 * i : 8 * i + 8], Y[8 * i : 8 * i + 8]


class Read:
    """Batches that are read again in each pass, in another order each time."""

    def __init__(self):
        self.drawn = np.random.default_rng(0)

    def __iter__(self):
        for i in self.drawn.permutation(7):
            yield Numbered()[i]


def endless():
    for i in itertools.count():
        yield X[: 8 + i % 3] + np.float32(i), Y[: 8 + i % 3]


STREAMS = {"numbered": (Numbered, {}), "read": (Read, {}), "endless": (endless, {"steps_per_epoch": 7})}


@pytest.mark.parametrize("name", STREAMS)
def test_streams_go_on_where_they_were(name, tmp_path):
    make, options = STREAMS[name]

    def streamed(folder, *hooks):
        model, kept = made(), BackupAndRestore(folder, 2)
        history = model.fit(make(), epochs=4, verbose=0, callbacks=[kept, *hooks], **options)
        return history.history, model.state

    whole = streamed(tmp_path / "whole")
    for kill in (12, 17):
        with pytest.raises(Killed):
            streamed(tmp_path / "it", Kill(kill))
    found = streamed(tmp_path / "it")
    assert found[0] == whole[0] and same(found[1], whole[1])


def test_the_loss_scale_of_float16_goes_on(tmp_path):
    def half():
        return made(precision="mixed_float16")

    whole = run(tmp_path / "whole", [], model=half(), epochs=3)
    with pytest.raises(Killed):
        run(tmp_path / "it", [Kill(11)], model=half(), backup={"save_freq": 2}, epochs=3)
    found = run(tmp_path / "it", [], model=half(), backup={"save_freq": 2}, epochs=3)
    assert found[0].history == whole[0].history and same(found[1], whole[1])


def test_a_finished_run_trains_nothing_more_unless_it_is_given_more_epochs(tmp_path, capsys):
    kept = {"delete_checkpoint": False, "save_freq": 100}
    history, state, files = run(tmp_path / "it", everything(tmp_path / "it"), backup=kept)
    again = run(tmp_path / "it", everything(tmp_path / "it"), backup=kept, verbose=2)
    assert again[0].history == history.history and same(again[1], state) and again[2] == files
    said = capsys.readouterr().out
    assert f"after {len(history.epoch)} epochs." in said and "Epoch 1/" not in said
    run(tmp_path / "more", [], backup=kept, epochs=2)
    longer = run(tmp_path / "more", [], backup=kept, epochs=4)
    assert longer[0].history == run(tmp_path / "whole", [], epochs=4)[0].history


def test_an_interrupt_keeps_the_checkpoint_and_fit_goes_on(tmp_path):
    class Press(Callback):
        def on_train_batch_end(self, batch, logs=None):
            if self.model.state.step == 10:
                signal.raise_signal(signal.SIGINT)

    history, state, _ = run(tmp_path / "whole", [])
    first = run(tmp_path / "it", [Press()], backup={"save_freq": 2})
    assert first[0].epoch == [0]
    found = run(tmp_path / "it", [], backup={"save_freq": 2})
    assert found[0].history == history.history and same(found[1], state)


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(tmp_path):
    history, state, _ = run(tmp_path / "whole", [])
    with pytest.raises(Killed):
        run(tmp_path / "it", [Kill(23)], backup={})
    newest = max((tmp_path / "it" / "backup").glob("checkpoint-*"))
    newest.write_bytes(newest.read_bytes()[:-9])
    with pytest.warns(UserWarning, match="BackupAndRestore: .* is damaged and was set aside"):
        found = run(tmp_path / "it", [], backup={})
    assert found[0].history == history.history and same(found[1], state)


SCRIPTS = {
    "a layer": (lambda: made(units=5), {}, ["net was ", "Dense(4, ", "Dense(5, "]),
    "the optimizer": (lambda: made(kjax.optim.SGD(0.1)), {}, ["optimizer was Adam(", "is SGD("]),
    "the rate": (lambda: made(kjax.optim.Adam(0.2, use_ema=True)), {}, ["optimizer was Adam(lr=0.1", "is Adam(lr=0.2"]),
    "the loss": (lambda: made(loss="mae"), {}, ["loss was "]),
    "the seed": (lambda: made(seed=7), {}, ["seed was 0, is 7"]),
    "the batch size": (made, {"batch_size": 4}, ["batch_size was 8, is 4", "steps was 7, is 13"]),
    "the data": (made, {"validation_split": 0.5, "validation_data": None}, ["samples was 50, is 25"]),
    "the order": (made, {"shuffle": False}, ["shuffle was True, is False"]),
    "the callbacks": (made, {"extra": [callbacks.Timer()]}, ["callbacks was History, is Timer, History"]),
    "a later fit": (lambda: after(made()), {}, ["steps the model had made before fit was 0, is 1"]),
}


def after(model):
    model.fit(X, Y, batch_size=64, verbose=0)
    return model


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    folder = tmp_path_factory.mktemp("started")
    with pytest.raises(Killed):
        run(folder, [Kill(14)], backup={})
    return folder


@pytest.mark.parametrize("name", SCRIPTS)
def test_another_script_is_refused_and_told_what_differs(name, started):
    make, options, parts = SCRIPTS[name]
    model, options = make(), dict(options)
    before = jax.tree.map(np.array, model.get_weights())
    (started / "log.csv").write_text("mine")
    hooks = [*options.pop("extra", []), callbacks.CSVLogger(started / "log.csv")][: 1 + ("callbacks" in name)]
    hooks = hooks if "callbacks" in name else []
    with pytest.raises(ValueError) as caught:
        run(started, hooks[:1], model=model, backup={}, **options)
    said = str(caught.value)
    for part in [*parts, "is of another run: ", "to start afresh", "started"]:
        assert part in said, said
    assert all(map(np.array_equal, before, model.get_weights()))
    assert (started / "log.csv").read_text() == "mine"


class Subclassed(kjax.Model):
    def __init__(self, rate):
        super().__init__()
        self.drop, self.head = layers.Dropout(rate), layers.Dense(1)

    def call(self, x):
        return self.head(self.drop(x))


def graph(rate):
    x = kjax.Input(shape=(3,))
    return kjax.Model(x, layers.Dense(1)(layers.Dropout(rate)(x)))


def test_layers_are_compared_where_a_network_is_printed_in_short():
    nets = {
        "a subclass": lambda rate: Subclassed(rate).net,
        "a graph": lambda rate: graph(rate).net,
        "a graph within": lambda rate: kjax.Sequential([graph(rate), layers.Dense(1)]).net,
    }
    for name, make in nets.items():
        assert resume.network(make(0.1)) == resume.network(make(0.1)), name
        was, now = resume.apart(resume.network(make(0.1)), resume.network(make(0.2)))
        assert "Dropout(0.1)" in was and "Dropout(0.2)" in now, name


def test_an_optimizer_that_a_callback_exchanges_is_refused(tmp_path):
    model = made(kjax.optim.Adam(kjax.optimizers.schedules.ExponentialDecay(0.1, 10, 0.5)))

    def exchange(epoch, logs):
        model.optimizer = model.optimizer.replace(lr=0.1)

    with pytest.raises(ValueError, match=r"the optimizer has become Adam\(lr=0.1\): .* nothing but its numbers may"):
        run(tmp_path, [callbacks.LambdaCallback(on_epoch_end=exchange)], model=model, backup={})


def test_a_model_that_draws_its_seed_goes_on(tmp_path):
    with pytest.raises(Killed):
        run(tmp_path, [Kill(7)], model=made(seed=None), backup={})
    assert len(run(tmp_path, [], model=made(seed=None), backup={})[0].epoch) == 6


def test_two_processes_in_one_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(Lock.__init__, "__defaults__", (0.0,))
    model = made()
    with another_process(tmp_path) as other:
        with pytest.raises(BlockingIOError, match=f"BackupAndRestore: another process, {other.pid}, is at work in"):
            model.fit(X, Y, verbose=0, callbacks=[BackupAndRestore(tmp_path)])
        assert int(model.state.step) == 0
    assert len(model.fit(X, Y, verbose=0, callbacks=[BackupAndRestore(tmp_path)]).epoch) == 1


def test_a_disk_that_a_log_fills_is_a_warning_too(tmp_path, monkeypatch):
    def full(self):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Counter, "get_state", full)  # as a log that cannot be written to the end
    with pytest.warns(UserWarning, match=r"after 1 epochs nothing could be saved .* No space left on device"):
        assert run(tmp_path, [Counter()], backup={}, epochs=1)[0].epoch == [0]


def test_a_full_disk_is_a_warning_and_the_last_checkpoint_stays(tmp_path, monkeypatch):
    class Fills(Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                Full(monkeypatch, left=0)

    said = r"BackupAndRestore: after 3 epochs nothing could be saved \(\[Errno 28\] No space left on device"
    with pytest.warns(UserWarning, match=said):
        history = run(tmp_path, [Fills()], backup={"delete_checkpoint": False}, epochs=3)[0]
    assert history.epoch == [0, 1, 2] and len(list((tmp_path / "backup").glob("checkpoint-*"))) == 2
    monkeypatch.undo()
    again = run(tmp_path, [], backup={}, epochs=3)[0]
    assert again.history == history.history


def test_where_nothing_can_be_written_training_does_not_begin(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")

    def read_only(dir):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    for folder in (tmp_path / "file" / "run", tmp_path / "read-only"):
        model = made()
        with pytest.raises(OSError, match="BackupAndRestore cannot write"):
            model.fit(X, Y, verbose=0, callbacks=[BackupAndRestore(folder)])
        assert int(model.state.step) == 0
        monkeypatch.setattr("tempfile.TemporaryFile", read_only)


def test_tensorboard_shows_each_epoch_once(tmp_path):
    pytest.importorskip("tensorboardX")
    from test_callbacks_files import events, numbers

    def hooks(folder):
        return [callbacks.TensorBoard(folder / "board"), callbacks.Timer()]

    history = broken(tmp_path, hooks, [17, -3], backup={})[0].history
    train, held_out = (events(tmp_path / "board" / name) for name in ("train", "validation"))
    assert sorted(train["epoch_loss"]) == sorted(held_out["epoch_loss"]) == [*range(6)]
    written = b"".join(file.read_bytes() for file in (tmp_path / "board" / "train").iterdir())
    assert written.count(b"epoch_loss") == 6 and written.count(b"model") == 1
    np.testing.assert_allclose(numbers(train, "epoch_loss"), history["loss"], rtol=1e-6)
    assert len(list((tmp_path / "board").glob("*/events*"))) <= 12


def test_a_lost_log_is_a_warning(tmp_path):
    def hooks(folder):
        return [callbacks.CSVLogger(folder / "log.csv")]

    with pytest.raises(Killed):
        run(tmp_path, [*hooks(tmp_path), Kill(14)], backup={})
    (tmp_path / "log.csv").unlink()
    with pytest.warns(UserWarning, match=r"log\.csv has lost its last epochs"):
        run(tmp_path, hooks(tmp_path), backup={})
    assert [line[:2] for line in (tmp_path / "log.csv").read_text().splitlines()] == ["ep", "2,", "3,", "4,", "5,"]


def test_nothing_is_fetched_for_backups_but_when_one_is_made(tmp_path, monkeypatch):
    fetched, saved = [], []
    logs, save = compiled.Sums.logs, callbacks.backup.Checkpoints.save
    monkeypatch.setattr(compiled.Sums, "logs", lambda self, totals: fetched.append(1) or logs(self, totals))
    monkeypatch.setattr(callbacks.backup.Checkpoints, "save", lambda *a, **b: saved.append(1) or save(*a, **b))
    run(tmp_path, [], backup={}, validation_data=None)
    assert len(fetched) == len(saved) == 6


def test_callbacks_fetch_nothing_more_than_an_epochs_numbers(tmp_path, monkeypatch):
    """Counts every array that comes from the device, in whatever way."""
    count, original = [0], ArrayImpl._value.fget

    def value(self):
        count[0] += self._npy_value is None
        return original(self)

    monkeypatch.setattr(ArrayImpl, "_value", property(value))
    fetched = {}
    for name in ("none", "many"):
        for epochs in (2, 5):
            hooks = quiet(tmp_path) if name == "many" else []
            count[0] = 0
            run(tmp_path, hooks, batch_size=1, epochs=epochs, validation_data=None)
            fetched[name, epochs] = count[0]
    # Two means, and what decides the order: the number of steps before the epoch, and the key.
    assert fetched["none", 2] == fetched["many", 2] == 2 * 4
    assert fetched["none", 5] == fetched["many", 5] == 5 * 4


def quiet(folder):
    """Callbacks that look at epochs."""
    return [
        callbacks.EarlyStopping("loss", patience=9, restore_best_weights=True),
        callbacks.ReduceLROnPlateau("loss", patience=9),
        callbacks.LearningRateScheduler(lambda epoch: 0.1),
        callbacks.CSVLogger(folder / "log.csv"),
        callbacks.JSONLogger(folder / "log.jsonl"),
        callbacks.Timer(),
        callbacks.ProgbarLogger(),
    ]


def test_a_bar_as_a_callback_is_shown_once(tmp_path, capsys):
    for verbose in (0, 1):
        for mode in ("steps", "samples"):
            run(tmp_path, [callbacks.ProgbarLogger(mode)], epochs=2, verbose=verbose)
            said = capsys.readouterr().out
            assert said.count("Epoch 2/2") == 1 and said.count("val_loss") == 2
            assert said.count("50/50 - ") == (2 if (verbose, mode) == (0, "samples") else 0)
    made().evaluate(X, Y, verbose=0, callbacks=[callbacks.ProgbarLogger()])
    assert capsys.readouterr().out == ""


class Terminal(io.StringIO):
    """Where a bar moves."""

    def isatty(self):
        return True


def test_a_bar_as_a_callback_moves_and_goes_on_in_the_middle_of_an_epoch(tmp_path, monkeypatch):
    def shown(*hooks):
        terminal, moved = Terminal(), []
        monkeypatch.setattr("sys.stdout", terminal)
        monkeypatch.setattr(Progress, "update", lambda self, step, logs: moved.append(step))
        kept, bar = BackupAndRestore(tmp_path / "run", 2), callbacks.ProgbarLogger("samples")
        with contextlib.suppress(Killed):
            made().fit(X, Y, batch_size=8, epochs=2, verbose=0, callbacks=[kept, bar, *hooks])
        return moved, terminal.getvalue()

    moved, said = shown(Kill(11))
    assert moved == [8, 16, 24, 32, 40, 48, 50, 8, 16, 24, 32] and "Epoch 2/2" in said
    moved, said = shown()
    assert moved == [32, 40, 48, 50] and "50/50 - " in said and "Epoch" not in said


def test_kills_that_are_real(tmp_path):
    path = pathlib.Path(__file__).parent / "reliability" / "kill_resume.py"
    spec = importlib.util.spec_from_file_location("kill_resume", path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    wanted, first, end = script.measure("loops")
    found = script.survive("loops", wanted, (first, end), 2, random.Random(0))
    assert found["starts"] == found["kills"] + 1
