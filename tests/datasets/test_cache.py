"""Data sets: where they are looked for, and downloads from a real server on this machine, good and bad."""

import gzip
import http.server
import io
import os
import threading
from typing import ClassVar

import numpy as np
import pytest

from kjax.datasets import cache, fashion_mnist, mnist

REAL = cache.folders()  # of the user, before the tests hide them
SMALL = {
    "x_train": np.arange(4 * 9, dtype=np.uint8).reshape(4, 3, 3),
    "y_train": np.arange(4, dtype=np.uint8),
    "x_test": np.ones((2, 3, 3), np.uint8),
    "y_test": np.zeros(2, np.uint8),
}


def npz(arrays):
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def idx(array):
    return gzip.compress(bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes() + array.tobytes())


@pytest.fixture
def server():
    """A web server with `files` to offer; `cut` makes it announce more bytes than it sends."""

    class Handler(http.server.BaseHTTPRequestHandler):
        files: ClassVar[dict] = {}
        cut = 0

        def do_GET(self):
            body = self.files.get(self.path.strip("/"))
            if body is None:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(body) + self.cut))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Handler.host = f"http://127.0.0.1:{running.server_port}/"
    thread = threading.Thread(target=running.serve_forever)
    thread.start()
    yield Handler
    running.shutdown()
    thread.join()
    running.server_close()


@pytest.fixture(autouse=True)
def empty_caches(tmp_path, monkeypatch):
    monkeypatch.delenv("KJAX_DATASETS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))


def get(server, download=mnist.download, name="mnist", digest=None):
    (x, y), (x_test, y_test) = cache.load(name, digest or cache.content(SMALL), download, server.host)
    return {"x_train": x, "y_train": y, "x_test": x_test, "y_test": y_test}


def left(folder):
    return [p.name for p in folder.rglob("*") if p.is_file()]


def test_a_download_is_checked_kept_and_not_repeated(server, tmp_path):
    server.files = {"mnist.npz": npz(SMALL)}
    for _ in range(2):
        got = get(server)
        for name, array in SMALL.items():
            np.testing.assert_array_equal(got[name], array)
        server.files = {}
    assert left(tmp_path) == ["mnist.npz"]


def test_four_idx_files_become_one(server, tmp_path):
    server.files = {file: idx(SMALL[name]) for name, file in fashion_mnist.FILES.items()}
    got = get(server, fashion_mnist.download, "fashion_mnist")
    np.testing.assert_array_equal(got["x_train"], SMALL["x_train"])
    assert left(tmp_path) == ["fashion_mnist.npz"]


@pytest.mark.parametrize(
    ("prepare", "said"),
    [
        (lambda s: None, "404"),
        (lambda s: setattr(s, "files", {"mnist.npz": npz(SMALL)[:-50]}), "could not get mnist"),
        (lambda s: (setattr(s, "files", {"mnist.npz": npz(SMALL)}), setattr(s, "cut", 99)), "bytes"),
        (
            lambda s: setattr(s, "files", {"mnist.npz": npz({**SMALL, "y_test": np.ones(2, np.uint8)})}),
            "another content",
        ),
        (lambda s: setattr(s, "files", {"mnist.npz": b"<html>"}), "could not get mnist"),
        (lambda s: setattr(s, "host", "http://127.0.0.1:9/"), "127.0.0.1:9"),
    ],
    ids=["missing", "truncated", "cut off", "other content", "no archive", "no server"],
)
def test_a_failed_download_says_what_to_do_and_leaves_nothing(server, tmp_path, prepare, said):
    prepare(server)
    with pytest.raises(cache.DownloadError) as caught:
        get(server)
    message = str(caught.value)
    assert (
        said in message
        and server.host in message
        and str(tmp_path / "cache" / "kjax" / "datasets" / "mnist.npz") in message
    )
    assert "by hand" in message and "KJAX_DATASETS" in message
    assert left(tmp_path) == []


def test_an_interrupt_leaves_nothing(server, tmp_path, monkeypatch):
    server.files = {"mnist.npz": npz(SMALL)}

    def interrupted(number):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        get(server)
    assert left(tmp_path) == []


def test_a_full_disk_is_explained(server, tmp_path, monkeypatch):
    server.files = {"mnist.npz": npz(SMALL)}

    def full(number):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(cache.DownloadError, match="No space left"):
        get(server)
    assert left(tmp_path) == []


def test_two_at_once_end_right(server, tmp_path):
    server.files = {"mnist.npz": npz(SMALL)}
    results = []
    threads = [threading.Thread(target=lambda: results.append(get(server))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4 and left(tmp_path) == ["mnist.npz"]


@pytest.mark.parametrize("where", ["KJAX_DATASETS", "cache", "keras"])
def test_files_on_this_machine_are_found(where, tmp_path, monkeypatch):
    folder = {
        "KJAX_DATASETS": tmp_path / "mine",
        "cache": tmp_path / "cache/kjax/datasets",
        "keras": tmp_path / "keras/datasets",
    }[where]
    folder.mkdir(parents=True)
    (folder / "mnist.npz").write_bytes(npz(SMALL))
    if where == "KJAX_DATASETS":
        monkeypatch.setenv(where, str(folder))
    np.testing.assert_array_equal(mnist.load_data()[0][1], SMALL["y_train"])


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", npz(SMALL)[:-30], npz({"x": np.ones(3)})])
def test_a_damaged_cached_file_is_named(data, tmp_path):
    path = tmp_path / "cache/kjax/datasets/mnist.npz"
    path.parent.mkdir(parents=True)
    path.write_bytes(data)
    with pytest.raises(ValueError, match="delete it") as caught:
        mnist.load_data()
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("module", [mnist, fashion_mnist])
def test_the_real_files_where_they_are_at_hand(module, monkeypatch):
    name = module.__name__.rsplit(".", 1)[-1]
    real = [folder for folder in REAL if (folder / f"{name}.npz").is_file()]
    if not real:
        pytest.skip(f"set KJAX_DATASETS to a folder that holds {name}.npz")
    monkeypatch.setenv("KJAX_DATASETS", str(real[0]))
    (x, y), (x_test, y_test) = module.load_data()
    assert x.shape == (60000, 28, 28) and len(x_test) == 10000
    assert cache.content({"x_train": x, "y_train": y, "x_test": x_test, "y_test": y_test}) == module.DIGEST
