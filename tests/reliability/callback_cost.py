"""What the callbacks cost: epochs with none, with each, and with all that need no file but a log, side by side.

    python tests/reliability/callback_cost.py [rounds]

An MLP 784-512-512-10 with dropout, batches of 128, 100 of them an epoch. Each round runs every variant once, in an
order of its own, and the median over the rounds of the ratio to the round's run without callbacks is printed.
"""

import pathlib
import random
import statistics
import sys
import tempfile
import time

import numpy as np

import kjax
from kjax import callbacks, layers

EPOCHS = 2


def variants(folder: pathlib.Path) -> dict:
    """Lists of callbacks, made anew."""
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


def main() -> int:
    """Prints the table."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((12800, 784)).astype("float32"), rng.integers(0, 10, 12800)
    inner = [layers.Dropout(0.2), layers.Dense(512, "relu"), layers.Dropout(0.2), layers.Dense(10, "softmax")]
    model = kjax.Sequential([layers.Dense(512, "relu", input_shape=(784,)), *inner])
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])

    def seconds(hooks: list) -> float:
        began = time.perf_counter()
        model.fit(x, y, batch_size=128, epochs=EPOCHS, verbose=0, callbacks=hooks)
        return (time.perf_counter() - began) / EPOCHS

    seconds([])
    ratios: dict[str, list[float]] = {}
    plain = []
    with tempfile.TemporaryDirectory() as name:
        for i in range(rounds):
            own = {"none": [], "none again": [], **variants(pathlib.Path(name, str(i)))}
            took = {n: seconds(own[n]) for n in random.Random(i).sample(list(own), len(own))}
            plain.append(took["none"])
            for n in own:
                ratios.setdefault(n, []).append(took[n] / took["none"])
    print(f"an epoch without callbacks: {statistics.median(plain):.3f} s; medians of {rounds} rounds")
    for n, found in ratios.items():
        print(f"{n:24} {100 * (statistics.median(found) - 1):+.1f} %")
    return 0


if __name__ == "__main__":
    sys.exit(main())
