"""The numbers of each epoch in files, or sent to a server."""

import csv
import json
import math
import os
import warnings
from typing import Any

from kjax.callbacks.base import Callback, Logs
from kjax.files import require_writable


class FileLogger(Callback):
    """Base of callbacks that add to a file after each epoch; it is open only while it is written to.

    Args:
        filename: the file.
        append: whether to go on behind what it holds, rather than to begin it anew with each `fit`.

    Raises:
        OSError: it cannot be written; before training.
    """

    def __init__(self, filename: str | os.PathLike[str], append: bool = False) -> None:
        self.filename, self.append = os.fspath(filename), append
        self._begun = False

    def on_train_begin(self, logs: Logs | None = None) -> None:
        require_writable(os.path.dirname(self.filename) or ".", self.filename, type(self).__name__)
        self._begun = False

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self.begin()

    def begin(self) -> None:
        """Empties the file unless it is appended to, once a run: not before all callbacks have agreed to it, nor where
        an earlier process had begun it."""
        if not self._begun:
            self._begun = True
            with open(self.filename, "a" if self.append else "w", encoding="utf-8"):
                pass

    def get_state(self) -> dict[str, Any]:
        with open(self.filename, "ab") as file:
            os.fsync(file.fileno())
            return {"begun": self._begun, "size": file.tell()}

    def set_state(self, state: dict[str, Any]) -> None:
        self._begun = state["begun"]
        with open(self.filename, "ab") as file:
            if file.tell() < state["size"]:
                warnings.warn(f"{type(self).__name__}: {self.filename} has lost its last epochs", stacklevel=2)
            else:
                file.truncate(state["size"])  # what the killed process wrote later is written again


class CSVLogger(FileLogger):
    """A table of the epochs: a column `epoch`, counted from 0, and one for each number, sorted by name.

    Args:
        filename: the file.
        separator: what is between the columns.
        append: whether to go on behind the rows it holds, rather than to begin it anew with each `fit`.

    Raises:
        OSError: the file cannot be written; before training.
        ValueError: the columns of the file that is appended to are others.

    Source: Keras's `CSVLogger`, whose files are the same. So a file of a `fit` without validation has columns for it,
    filled with NA: a later one may append to it.

    >>> import os, pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     log = CSVLogger(os.path.join(folder, "log.csv"))
    ...     log.on_train_begin()
    ...     log.on_epoch_end(0, {"loss": 0.5, "val_loss": 0.75})
    ...     print(pathlib.Path(log.filename).read_text())
    epoch,loss,val_loss
    0,0.5,0.75
    <BLANKLINE>
    """

    def __init__(self, filename: str | os.PathLike[str], separator: str = ",", append: bool = False) -> None:
        super().__init__(filename, append)
        if not isinstance(separator, str) or len(separator) != 1:
            raise ValueError(f"CSVLogger: separator is one character; got {separator!r}")
        self.separator = separator
        self._columns: list[str] = []

    def begin(self) -> None:
        if not self._begun:
            super().begin()
            self._read_columns()

    def set_state(self, state: dict[str, Any]) -> None:
        super().set_state(state)
        self._read_columns()

    def _read_columns(self) -> None:
        with open(self.filename, newline="", encoding="utf-8") as file:
            self._columns = next(csv.reader(file, delimiter=self.separator), [])

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self.begin()
        row = {"epoch": epoch, **(logs or {})}
        with open(self.filename, "a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, delimiter=self.separator)
            if not self._columns:
                self._columns = columns(sorted(logs or {}))
                writer.writerow(self._columns)
            self._require_columns(row)
            writer.writerow([row.get(name, "NA") for name in self._columns])

    def _require_columns(self, row: Logs) -> None:
        new = [name for name in row if name not in self._columns]
        if new and self.append:
            raise ValueError(
                f"CSVLogger: {self.filename} has the columns {', '.join(self._columns)}, and none for "
                f"{', '.join(new)}: give another file, or append=False"
            )


def columns(names: list[str]) -> list[str]:
    """The columns for logs with these names: room for validation too, which may come later."""
    held_out = [] if any(name.startswith("val_") for name in names) else [f"val_{name}" for name in names]
    return ["epoch", *names, *held_out]


class JSONLogger(FileLogger):
    """A JSON object a line for each epoch, numbered from 0; NaN and infinity, which JSON lacks, are null.

    Args:
        filename: the file.
        append: whether to go on behind the lines it holds, rather than to begin it anew with each `fit`.

    Raises:
        OSError: the file cannot be written; before training.

    >>> import os, pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     log = JSONLogger(os.path.join(folder, "log.jsonl"))
    ...     log.on_epoch_end(0, {"loss": 0.5, "val_loss": float("nan")})
    ...     print(pathlib.Path(log.filename).read_text())
    {"epoch": 0, "loss": 0.5, "val_loss": null}
    <BLANKLINE>
    """

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self.begin()
        with open(self.filename, "a", encoding="utf-8") as file:
            file.write(json.dumps(event(epoch, logs)) + "\n")


class RemoteMonitor(Callback):
    """Sends the numbers of each epoch to a server, by HTTP POST; where none answers, it warns and training goes on.

    Args:
        root: the server.
        path: what comes behind it.
        field: the form's field that holds the JSON, unless `send_as_json`.
        headers: HTTP headers to add.
        send_as_json: whether to send JSON itself rather than a form.
        timeout: for how many seconds to wait for the server.

    NaN and infinity, which JSON lacks, are sent as null.

    Raises:
        ValueError: `root` is no address of a web server.

    Source: Keras's `RemoteMonitor`.

    >>> RemoteMonitor("localhost:9000")
    Traceback (most recent call last):
    ...
    ValueError: RemoteMonitor: root is an address such as 'http://localhost:9000'; got 'localhost:9000'
    """

    def __init__(
        self,
        root: str = "http://localhost:9000",
        path: str = "/publish/epoch/end/",
        field: str = "data",
        headers: dict[str, str] | None = None,
        send_as_json: bool = False,
        *,
        timeout: float = 10.0,
    ) -> None:
        if not root.startswith(("http://", "https://")):
            raise ValueError(f"RemoteMonitor: root is an address such as 'http://localhost:9000'; got {root!r}")
        self.root, self.path, self.field, self.headers = root, path, field, dict(headers or {})
        self.send_as_json, self.timeout = send_as_json, timeout

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        from urllib import error, parse, request

        text = json.dumps(event(epoch, logs))
        kind = "json" if self.send_as_json else "x-www-form-urlencoded"
        data = (text if self.send_as_json else parse.urlencode({self.field: text})).encode()
        headers = {"Content-Type": f"application/{kind}", **self.headers}
        try:
            request.urlopen(request.Request(self.root + self.path, data, headers), timeout=self.timeout).close()
        except error.HTTPError as refused:
            refused.close()
            warnings.warn(f"RemoteMonitor: {self.root} answers {refused.code} {refused.reason}", stacklevel=2)
        except OSError as failed:
            warnings.warn(f"RemoteMonitor: {self.root} cannot be reached ({failed})", stacklevel=2)


def event(epoch: int, logs: Logs | None) -> dict[str, Any]:
    """An epoch as JSON has it."""
    numbers = {name: float(value) for name, value in (logs or {}).items()}
    return {"epoch": epoch, **{name: value if math.isfinite(value) else None for name, value in numbers.items()}}
