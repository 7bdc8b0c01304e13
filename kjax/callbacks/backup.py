"""Runs that survive the process they began in."""

import os
import re
import time
import warnings
from typing import Any

import jax

from kjax import resume
from kjax.callbacks.base import Callback
from kjax.checkpoints import Checkpoints
from kjax.frozen import is_int, require_int

UNITS = {"s": 1.0, "sec": 1.0, "min": 60.0, "h": 3600.0}


class BackupAndRestore(Callback):
    """Lets a run that was killed go on, to the last bit, when the same script is started again.

    Args:
        backup_dir: a folder for this run alone; it is made.
        save_freq: when to save: "epoch", after how many batches, or a time: "30s", "5min", "2h". Steps stay in their
            compiled loops: it is saved at the first end of one, so up to about a second later.
        double_checkpoint: Keras's name for `keep=2`.
        delete_checkpoint: whether to delete what was saved when training has ended. With False, a script that is
            started again after that trains nothing more, and its history is that of the finished run.
        keep: how many of the last checkpoints to keep. A damaged one is passed over for the one before it.

    A checkpoint holds the model's state, the optimizer's with its numbers, the position in the shuffled epoch, the
    sums behind the logs, and what callbacks remember (`Callback.get_state`), the history among it. Log files are cut
    back to where they were then, so that no epoch stands in them twice. What the script itself draws or counts is not
    known here.

    The script must be the same: network, loss, optimizer, seed, sizes of the data and batches; `epochs` may be another
    number. A run that was broken off by Ctrl-C or an error goes on too, from its last checkpoint, with a new model.

    A full disk is a warning, and training goes on.

    Raises:
        ValueError: an unknown `save_freq`; before training, what another script has saved (says what differs), or
            checkpoints that are all damaged; in training, an optimizer that a callback has exchanged.
        OSError: nothing can be written in the folder; before training.
        BlockingIOError: another process is training with this folder; before training.

    Source: Keras's `BackupAndRestore`.

    >>> import kjax, numpy as np, tempfile
    >>> def train(*callbacks):
    ...     model = kjax.Sequential([kjax.layers.Dense(1, input_shape=(2,))])
    ...     model.compile("adam", "mse")
    ...     return model.fit(np.eye(2), np.ones((2, 1)), epochs=4, verbose=0, callbacks=callbacks).history
    >>> def fail(epoch, logs):
    ...     assert epoch < 2, "something went wrong"
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     try:
    ...         train(BackupAndRestore(folder), kjax.callbacks.LambdaCallback(on_epoch_begin=fail))
    ...     except AssertionError:
    ...         train(BackupAndRestore(folder)) == train()
    True
    """

    def __init__(
        self,
        backup_dir: str | os.PathLike[str],
        save_freq: str | int = "epoch",
        double_checkpoint: bool = True,
        delete_checkpoint: bool = True,
        *,
        keep: int | None = None,
    ) -> None:
        self.backup_dir, self.save_freq = os.fspath(backup_dir), save_freq
        self.keep = (2 if double_checkpoint else 1) if keep is None else keep
        require_int(self.keep, "keep", "BackupAndRestore")
        self.delete_checkpoint = delete_checkpoint
        self._batches, self._seconds = frequency(save_freq)
        self._kept: Checkpoints | None = None

    def on_run_resume(self, run: Any) -> None:
        self._script = resume.script(self.model, self.params, run.callbacks)
        self._kept = Checkpoints(self.backup_dir, self.keep, "BackupAndRestore")
        found = self._kept.newest()
        if found is not None:
            run.earlier = resume.earlier(found, self._script, self.model, "BackupAndRestore")
            if self.params.get("verbose"):
                at = run.earlier.meta["run"]
                print(f"Going on from {found.path}, after {done(at['epoch'], at['step'])}.")
        self._kind: Any = jax.tree.structure(self.model.optimizer)
        self._done, self._unsaved, self._last = 0, 0, time.monotonic()

    def on_run_rest(self, run: Any) -> None:
        if self._due(run):
            self._save(run)

    def _due(self, run: Any) -> bool:
        self._unsaved += max(0, run.step - self._done)
        self._done = run.step
        if run.step and self.model.stop_training:
            return False  # the end of the epoch is still to come, and belongs to it
        ended = not run.step and (self.model.stop_training or run.epoch >= run.plan.epochs)
        if ended and not self.delete_checkpoint:
            return True
        if self._seconds:
            return time.monotonic() - self._last >= self._seconds
        return self._unsaved >= self._batches if self._batches else not run.step

    def _save(self, run: Any) -> None:
        if jax.tree.structure(self.model.optimizer) != self._kind:
            raise ValueError(
                f"BackupAndRestore: the optimizer has become {self.model.optimizer!r}: in training, nothing but its "
                "numbers may change"
            )
        try:
            meta = resume.taken(run, self.model)  # log files go to the disk
            self._kept.save(self.model.state, script=self._script, **meta)  # type: ignore[union-attr]
        except OSError as error:
            said = f"after {done(run.epoch, run.step)} nothing could be saved ({error}); training goes on"
            warnings.warn(f"BackupAndRestore: {said}", stacklevel=2)
        self._unsaved, self._last = 0, time.monotonic()

    def on_run_leave(self, run: Any) -> None:
        if self._kept is not None and run is not None:
            if run.ended and self.delete_checkpoint:
                self._kept.delete()
            self._kept.close()
            self._kept = None


def done(epoch: int, step: int) -> str:
    """How far a run has come.

    >>> done(3, 0), done(3, 7)
    ('3 epochs', '3 epochs and 7 steps')
    """
    return f"{epoch} epochs{f' and {step} steps' if step else ''}"


def frequency(save_freq: Any) -> tuple[int, float]:
    """After how many batches, or seconds, to save; both 0: after epochs.

    >>> frequency("epoch"), frequency(100), frequency("1.5min")
    ((0, 0.0), (100, 0.0), (0, 90.0))
    """
    if save_freq == "epoch":
        return 0, 0.0
    if is_int(save_freq) and save_freq >= 1:
        return int(save_freq), 0.0
    time = re.fullmatch(r"(\d+(?:\.\d+)?) ?([a-z]+)", save_freq) if isinstance(save_freq, str) else None
    if time is None or time[2] not in UNITS or not float(time[1]):
        raise ValueError(
            f"BackupAndRestore: save_freq is 'epoch', a number of batches, or a time such as '5min'; got {save_freq!r}"
        )
    return 0, float(time[1]) * UNITS[time[2]]
