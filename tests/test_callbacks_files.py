"""What callbacks write and send."""

import http.server
import json
import pathlib
import struct
import sys
import threading
import urllib.parse

import jax
import numpy as np
import pytest

import kjax
from kjax import callbacks, layers


def made(seed=0):
    model = kjax.Sequential([layers.Dense(1, input_shape=(3,))], seed=seed)
    model.compile(kjax.optim.SGD(0.1), "mse")
    return model


X, Y = np.random.default_rng(0).standard_normal((12, 3)).astype("float32"), np.ones((12, 1), "float32")


def fit(*hooks, model=None, **options):
    return (model or made()).fit(X, Y, verbose=0, callbacks=list(hooks), **options)


def test_checkpoints_hold_the_weights_of_their_time(tmp_path):
    seen = []
    model, path = made(), tmp_path / "{epoch:03d}" / "{batch}.safetensors"
    look = callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: seen.append(model.get_weights()))
    fit(look, callbacks.ModelCheckpoint(path, save_weights_only=True, save_freq=2), model=model, batch_size=4, epochs=2)
    files = sorted(tmp_path.rglob("*.safetensors"))
    assert [(file.parent.name, file.stem) for file in files] == [("001", "2"), ("002", "1"), ("002", "3")]
    for file, step in zip(files, (1, 3, 5), strict=True):
        model.load_weights(file)
        np.testing.assert_array_equal(model.get_weights()[0], seen[step][0])


class Whole(kjax.Sequential):
    """A model that writes itself whole."""

    def save(self, path):
        pathlib.Path(path).write_text("whole")


class Unsaved(kjax.Sequential):
    """A model that cannot do so."""

    @property
    def save(self):
        raise AttributeError("save")


def test_whole_models_are_saved_by_the_model(tmp_path):
    whole, unsaved = (kind([layers.Dense(1, input_shape=(3,))]) for kind in (Whole, Unsaved))
    whole.compile("sgd", "mse")
    unsaved.compile("sgd", "mse")
    fit(callbacks.ModelCheckpoint(tmp_path / "new" / "whole.kjax"), model=whole)
    assert (tmp_path / "new" / "whole.kjax").read_text() == "whole"
    with pytest.raises(RuntimeError, match="save_weights_only=True"):
        fit(callbacks.ModelCheckpoint(tmp_path / "whole.kjax"), model=unsaved)


@pytest.mark.parametrize(
    "make",
    [
        lambda path: callbacks.ModelCheckpoint(path, save_weights_only=True),
        callbacks.CSVLogger,
        callbacks.JSONLogger,
        lambda path: callbacks.TensorBoard(path.parent),
    ],
)
def test_where_nothing_can_be_written_training_does_not_begin(make, tmp_path, monkeypatch):
    monkeypatch.setattr("kjax.callbacks.tensorboard.writer_class", lambda: None)
    (tmp_path / "file").write_text("")
    model = made()
    with pytest.raises(OSError, match=r"(ModelCheckpoint|CSVLogger|JSONLogger|TensorBoard) cannot write"):
        fit(make(tmp_path / "file" / "log"), model=model)
    assert int(model.state.step) == 0


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(IsADirectoryError, match="CSVLogger writes files, but"):
        fit(callbacks.CSVLogger(tmp_path))


def test_tables_and_lines_are_those_of_the_history(tmp_path):
    table, lines = callbacks.CSVLogger(tmp_path / "log.csv", append=True), callbacks.JSONLogger(tmp_path / "a.jsonl")
    rate = callbacks.LearningRateScheduler(lambda epoch: 0.5**epoch)
    history = fit(rate, table, lines, epochs=3, validation_split=0.5).history
    read = np.genfromtxt(tmp_path / "log.csv", delimiter=",", names=True)
    events = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    for name in ("loss", "val_loss", "learning_rate"):
        assert read[name].tolist() == history[name] == [event[name] for event in events]
    fit(rate, table, lines, epochs=2)
    assert (tmp_path / "log.csv").read_text().splitlines()[-1].endswith(",NA")
    assert len((tmp_path / "a.jsonl").read_text().splitlines()) == 2
    more = callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: logs.update(extra=1))
    with pytest.raises(ValueError, match=r"has the columns epoch, learning_rate.* and none for extra"):
        fit(more, table)


class Server(http.server.BaseHTTPRequestHandler):
    """Keeps what it is sent; refuses paths it does not know."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.server.got.append((self.path, self.headers["Content-Type"], self.headers["X-Run"], body))
        self.send_response(200 if self.path.startswith("/publish") else 404)
        self.end_headers()

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    with http.server.HTTPServer(("127.0.0.1", 0), Server) as made:
        made.got = []
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def test_a_server_gets_the_numbers(server, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    root = f"http://127.0.0.1:{server.server_port}"
    form = callbacks.RemoteMonitor(root, headers={"X-Run": "7"})
    plain = callbacks.RemoteMonitor(root, path="/publish/json", send_as_json=True)
    history = fit(form, plain, epochs=2).history["loss"]
    plain.on_epoch_end(2, {"loss": np.float32("nan")})
    path, kind, run, body = server.got[2]
    assert (path, kind, run) == ("/publish/epoch/end/", "application/x-www-form-urlencoded", "7")
    assert json.loads(urllib.parse.parse_qs(body)["data"][0]) == {"epoch": 1, "loss": history[1]}
    assert server.got[3][1] == "application/json" and json.loads(server.got[3][3]) == {"epoch": 1, "loss": history[1]}
    assert json.loads(server.got[4][3]) == {"epoch": 2, "loss": None}
    with pytest.warns(UserWarning, match="answers 404"):
        fit(callbacks.RemoteMonitor(root, path="/nowhere"))


def test_a_server_that_is_not_there_stops_nothing(server, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server.server_close()
    with pytest.warns(UserWarning, match="cannot be reached"):
        history = fit(callbacks.RemoteMonitor(f"http://127.0.0.1:{server.server_port}", timeout=1))
    assert history.epoch == [0]


def events(folder):
    """The values in TensorBoard's files: `{tag: {step: value}}`. A record: length, checksum, bytes, checksum."""
    from tensorboardX.proto.event_pb2 import Event

    found = {}
    for file in folder.glob("events.*"):
        data = file.read_bytes()
        while data:
            size = struct.unpack("<Q", data[:8])[0]
            event, data = Event.FromString(data[12 : 12 + size]), data[16 + size :]
            for value in event.summary.value:
                found.setdefault(value.tag, {})[event.step] = value
    return found


def numbers(found, tag):
    return [value.simple_value for _, value in sorted(found[tag].items())]


def test_tensorboard_shows_scalars_histograms_pictures_and_the_table(tmp_path, monkeypatch):
    pytest.importorskip("tensorboardX")
    profiled = []
    monkeypatch.setattr(jax.profiler, "start_trace", lambda folder: profiled.append(folder))
    monkeypatch.setattr(jax.profiler, "stop_trace", lambda: profiled.append("end"))
    model = made()
    board = callbacks.TensorBoard(
        tmp_path, histogram_freq=2, write_images=True, write_steps_per_second=True, update_freq=2, profile_batch=(2, 3)
    )
    history = fit(board, model=model, batch_size=4, epochs=3, validation_data=(X, Y)).history
    train, held_out = events(tmp_path / "train"), events(tmp_path / "validation")
    np.testing.assert_allclose(numbers(train, "epoch_loss"), history["loss"], rtol=1e-6)
    np.testing.assert_allclose(numbers(held_out, "epoch_loss"), history["val_loss"], rtol=1e-6)
    np.testing.assert_allclose(numbers(held_out, "evaluation_loss_vs_iterations"), history["val_loss"], rtol=1e-6)
    assert numbers(train, "epoch_learning_rate") == pytest.approx([0.1] * 3)
    assert min(numbers(train, "epoch_steps_per_second")) > 0
    assert sorted(train["batch_loss"]) == [2, 4, 6, 8] and profiled == [str(tmp_path), "end"]
    assert sorted(train["dense/kernel/histogram"]) == sorted(train["dense/bias/image"]) == [0, 2]
    assert train["dense/kernel/histogram"][0].histo.num == 3 and train["dense/kernel/image"][0].image.height == 3
    assert b"Total params" in train["model/text_summary"][0].tensor.string_val[0]
    loss = model.evaluate(X, Y, verbose=0, callbacks=[callbacks.TensorBoard(tmp_path / "later")])
    later = events(tmp_path / "later" / "validation")
    np.testing.assert_allclose(numbers(later, "evaluation_loss_vs_iterations"), [loss], rtol=1e-6)


def test_tensorboard_leaves_nothing_open_after_an_error(tmp_path, monkeypatch):
    pytest.importorskip("tensorboardX")
    profiled = []
    monkeypatch.setattr(jax.profiler, "start_trace", lambda folder: profiled.append("start"))
    monkeypatch.setattr(jax.profiler, "stop_trace", lambda: profiled.append("end"))
    board, model = callbacks.TensorBoard(tmp_path, profile_batch=(1, 9)), made()

    def fail(batch, logs):
        model.evaluate(X, Y, verbose=0, callbacks=[board])
        assert board._writers and profiled == ["start"]  # an evaluation is not the end of it
        raise RuntimeError("of the callback")

    with pytest.raises(RuntimeError, match="of the callback"):
        fit(board, callbacks.LambdaCallback(on_train_batch_end=fail), model=model)
    assert not board._writers and profiled == ["start", "end"]


def test_tensorboard_explains_what_is_wrong(monkeypatch):
    monkeypatch.setattr("kjax.callbacks.tensorboard.writer_class", lambda: None)
    for options, part in (
        ({"update_freq": "step"}, "'step'"),
        ({"profile_batch": (5, 3)}, r"\(5, 3\)"),
        ({"embeddings_freq": 1}, "embeddings_freq=0"),
        ({"histogram_freq": -1}, "histogram_freq"),
    ):
        with pytest.raises(ValueError, match=part):
            callbacks.TensorBoard(**options)
    monkeypatch.undo()
    callbacks.tensorboard.writer_class.cache_clear()
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(ImportError, match=r'pip install "kjax\[tensorboard\]"'):
        callbacks.TensorBoard()
