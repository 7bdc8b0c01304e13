"""What the callbacks cost: the time spent in their hooks and in fetching numbers for them, beside that of the epoch.

    python tests/reliability/callback_cost.py [epochs]

An MLP 784-512-512-10 with dropout, batches of 128, 100 of them an epoch. Whole epochs differ by more from one another
than any callback takes; a clock around the hooks tells tenths of a percent.
"""

import pathlib
import sys
import tempfile
import time

import numpy as np

import kjax
from kjax import callbacks, layers, loop
from kjax.callbacks.base import Hooks


def variants(folder: pathlib.Path) -> dict:
    """Lists of callbacks."""
    found = {
        "ProgbarLogger": [callbacks.ProgbarLogger()],
        "EarlyStopping": [callbacks.EarlyStopping("loss", patience=99, restore_best_weights=True)],
        "ReduceLROnPlateau": [callbacks.ReduceLROnPlateau("loss", patience=99)],
        "LearningRateScheduler": [callbacks.LearningRateScheduler(lambda epoch: 1e-3)],
        "TerminateOnNaN": [callbacks.TerminateOnNaN()],
        "CSVLogger": [callbacks.CSVLogger(folder / "log.csv")],
        "JSONLogger": [callbacks.JSONLogger(folder / "log.jsonl")],
        "Timer": [callbacks.Timer()],
    }
    together = [callback for hooks in found.values() for callback in hooks]
    kept = [callbacks.BackupAndRestore(folder / "backup")]
    best = [callbacks.ModelCheckpoint(folder / "best", "loss", save_best_only=True)]
    return {**found, "all of these": together, "BackupAndRestore": kept, "ModelCheckpoint": best}


class Clock:
    """The seconds spent in some methods, those they call included."""

    def __init__(self, *methods: tuple[type, str]):
        self.seconds, self._inside = 0.0, False
        for owner, name in methods:
            setattr(owner, name, self._timed(getattr(owner, name)))

    def _timed(self, method):
        def timed(*args, **options):
            if self._inside:
                return method(*args, **options)
            self._inside, began = True, time.perf_counter()
            try:
                return method(*args, **options)
            finally:
                self._inside = False
                self.seconds += time.perf_counter() - began

        return timed


def main() -> int:
    """Prints the table."""
    epochs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((12800, 784)).astype("float32"), rng.integers(0, 10, 12800)
    inner = [layers.Dropout(0.2), layers.Dense(512, "relu"), layers.Dropout(0.2), layers.Dense(10, "softmax")]
    model = kjax.Sequential([layers.Dense(512, "relu", input_shape=(784,)), *inner])
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    clock = Clock((Hooks, "call"), (Hooks, "call_run"), (Hooks, "call_each"), (loop.Pass, "logs"))

    def run(hooks: list) -> tuple[float, float]:
        clock.seconds, began = 0.0, time.perf_counter()
        model.fit(x, y, batch_size=128, epochs=epochs, verbose=0, callbacks=hooks)
        return clock.seconds / epochs, (time.perf_counter() - began) / epochs

    run([])
    with tempfile.TemporaryDirectory() as name:
        for variant, hooks in {"none (the history)": [], **variants(pathlib.Path(name))}.items():
            own, whole = run(hooks)
            print(f"{variant:24} {1e3 * own:7.2f} ms of {1e3 * whole:.0f} ms an epoch, {100 * own / whole:.2f} %")
    return 0


if __name__ == "__main__":
    sys.exit(main())
