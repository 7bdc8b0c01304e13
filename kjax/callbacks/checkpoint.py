"""Models on disk while they train."""

import os
import string
from typing import Any

from kjax.callbacks.base import Logs
from kjax.callbacks.monitor import Monitor
from kjax.files import require_writable
from kjax.frozen import is_int, suggest


class ModelCheckpoint(Monitor):
    """Saves the model, or its weights, after epochs or every so many batches.

    Args:
        filepath: where to; `{epoch:02d}`, `{val_loss:.2f}` and other names of the logs in it are filled in (epochs
            count from 1 there, and `{batch}` too). Folders are made. A file is written whole or not at all.
        monitor, mode: see `Monitor`; they matter with `save_best_only`.
        verbose: 1 prints what is saved and why.
        save_best_only: whether to save only what is better than all before.
        save_weights_only: whether to write a file for `model.load_weights`; else one with the whole model.
        save_freq: "epoch", or after how many batches; steps then run one at a time.
        initial_value_threshold: with `save_best_only`, a number that the first one to be saved must beat.

    `best` is the best number so far; another `fit` goes on from it.

    Raises:
        ValueError: an unknown mode or `save_freq`, or a name in the path or to monitor that the logs do not have.
        OSError: nothing can be written there; before training.
        RuntimeError: a model that cannot be saved whole, without `save_weights_only`; before training.

    Source: Keras's `ModelCheckpoint`.

    >>> import kjax, numpy as np, os, tempfile
    >>> model = kjax.Sequential([kjax.layers.Dense(1, input_shape=(2,))])
    >>> model.compile(kjax.optim.SGD(0.1), "mse")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save = ModelCheckpoint(folder + "/{epoch:02d}.weights.safetensors", save_weights_only=True)
    ...     _ = model.fit(np.eye(2), np.ones((2, 1)), epochs=2, verbose=0, callbacks=[save])
    ...     sorted(os.listdir(folder))
    ['01.weights.safetensors', '02.weights.safetensors']
    """

    saved_attributes = ("best", "_epoch", "_unsaved")

    def __init__(
        self,
        filepath: str | os.PathLike[str],
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        save_weights_only: bool = False,
        mode: str = "auto",
        save_freq: str | int = "epoch",
        initial_value_threshold: float | None = None,
    ) -> None:
        super().__init__(monitor, mode)
        self.filepath = os.fspath(filepath)
        self.verbose, self.best = verbose, initial_value_threshold
        self.save_best_only, self.save_weights_only = save_best_only, save_weights_only
        self.save_freq, self._epoch, self._unsaved = save_freq, 0, 0
        self._fields = fields(self.filepath, self.name)
        if save_freq != "epoch":
            if not is_int(save_freq) or save_freq < 1:  # type: ignore[operator]
                raise ValueError(f"{self.name}: save_freq is 'epoch' or a number of batches; got {save_freq!r}")
            self.on_train_batch_end = self._after_batch  # type: ignore[method-assign]
        elif "batch" in self._fields:
            raise ValueError(f"{self.name}: {{batch}} in a path goes with save_freq=100, say, not with 'epoch'")

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._unsaved = 0
        if not self.save_weights_only and not hasattr(self.model, "save"):
            raise RuntimeError(f"{self.name}: this model cannot be saved whole: give save_weights_only=True")
        if self.save_freq != "epoch" and self.params.get("metrics"):
            self.params["metrics"] = [n for n in self.params["metrics"] if not n.startswith("val_")]
        known = self.params.get("metrics")
        for field in self._fields:
            if known is not None and field not in [*known, "epoch", "batch", "learning_rate"]:
                raise self._unknown(field, known)
        if self.save_best_only:
            self.prepare()
        fixed = self.filepath.partition("{")[0]
        require_writable(os.path.dirname(fixed) or ".", self.filepath, self.name)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._epoch = epoch

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if self.save_freq == "epoch":
            self._save({"epoch": epoch + 1, **(logs or {})})

    def _after_batch(self, batch: int, logs: Logs | None = None) -> None:
        self._unsaved += 1
        if self._unsaved >= self.save_freq:  # type: ignore[operator]
            self._unsaved = 0
            self._save({"epoch": self._epoch + 1, "batch": batch + 1, **(logs or {})})

    def _save(self, logs: Logs) -> None:
        missing = [field for field in self._fields if field not in logs]
        if missing:
            raise self._unknown(missing[0], list(logs))
        path = self.filepath.format(**logs)
        if not self.save_best_only or self._better(logs, path):
            os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
            (self.model.save_weights if self.save_weights_only else self.model.save)(path)
            if self.verbose:
                print(f"Epoch {logs['epoch']}: saved {path}")

    def _better(self, logs: Logs, path: str) -> bool:
        value, best = self.current(logs), self.best
        better = self.improves(value, best)
        self.best = value if better else best
        if self.verbose:
            before = "" if best is None else f" from {best:.5f}"
            said = f"improved{before} to {value:.5f}" if better else f"did not improve{before}"
            print(f"\nEpoch {logs['epoch']}: {self.monitor} {said}")
        return better

    def _unknown(self, field: str, known: list[str]) -> ValueError:
        return ValueError(
            f"{self.name}: the path {self.filepath!r} names {field!r}, which the logs do not have."
            f"{suggest(field, [*known, 'epoch', 'batch'])}"
        )


def fields(path: str, owner: str) -> list[str]:
    """The names in a path that are to be filled in.

    Raises:
        ValueError: braces that do not pair, names left out, a format that numbers do not have.

    >>> fields("{epoch:02d}-{val_loss:.2f}.safetensors", "ModelCheckpoint")
    ['epoch', 'val_loss']
    """
    try:
        found = [name for _, name, _, _ in string.Formatter().parse(path) if name is not None]
        numbers: dict[str, Any] = {name: 1 if name in ("epoch", "batch") else 0.5 for name in found}
        path.format(**numbers)
    except (ValueError, IndexError, KeyError) as error:
        raise ValueError(f"{owner}: the path {path!r} cannot be filled in ({error})") from None
    return found
