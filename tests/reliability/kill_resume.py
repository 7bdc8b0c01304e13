"""Kills trainings at random moments and starts them again: what comes out is what an uninterrupted one gives.

    python tests/reliability/kill_resume.py [kills] [seed]

Each round is one training in a process of its own, killed (SIGKILL) after random times and started again until it has
finished. In some rounds the newest checkpoint is damaged before a start. Then everything is compared to the last bit:
weights, moving statistics, the optimizer's state and rate, the history, and the log files.
"""

import itertools
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time

MODES: dict[str, dict] = {
    "single steps": {"save_freq": 7, "shuffle": True, "single": True},
    "loops": {"save_freq": 5, "shuffle": True, "single": False},
    "batches shuffled, saved after epochs": {"save_freq": "epoch", "shuffle": "batch", "single": False},
    "saved by time": {"save_freq": "0.02s", "shuffle": True, "single": True},
    "a mapped file in chunks": {"save_freq": 9, "shuffle": True, "single": True, "mapped": True},
    "a generator": {"save_freq": 6, "steps_per_epoch": 47, "single": True},
}


def train(folder: pathlib.Path, mode: str) -> None:
    """The script that is killed: dropout, moving statistics, validation, callbacks that change the rate and stop."""
    import numpy as np

    import kjax
    from kjax import callbacks, feed, layers

    options = dict(MODES[mode])
    x, y = np.random.default_rng(0).standard_normal((2, 1500, 8)).astype("float32")
    if options.pop("mapped", False):
        feed.CHUNK_BYTES = 4096
        if not (folder / "x.npy").exists():
            np.save(folder / "x.tmp.npy", x)
            os.replace(folder / "x.tmp.npy", folder / "x.npy")
        x = np.load(folder / "x.npy", mmap_mode="r")
    net = [
        layers.Dense(32, "relu", input_shape=(8,)),
        layers.BatchNormalization(),
        layers.Dropout(0.3),
        layers.Dense(8),
    ]
    model = kjax.Sequential(net, seed=3)
    model.compile(kjax.optim.Adam(0.02, use_ema=True), "mse", metrics=["mae"])
    hooks = [
        callbacks.CSVLogger(folder / "log.csv"),
        callbacks.ReduceLROnPlateau("loss", factor=0.7, patience=1, min_delta=0.01),
        callbacks.LearningRateScheduler(lambda epoch, lr: lr * 0.98),
        slow(options.pop("single")),
        callbacks.SwapEMAWeights(),
        callbacks.EarlyStopping("val_loss", patience=6, restore_best_weights=True),
        callbacks.JSONLogger(folder / "log.jsonl"),
        callbacks.ModelCheckpoint(folder / "best.safetensors", "val_loss", save_best_only=True, save_weights_only=True),
        callbacks.BackupAndRestore(folder / "backup", options.pop("save_freq"), delete_checkpoint=False),
    ]
    held_out = (x[:100], y[:100])
    if "steps_per_epoch" in options:
        data = {"x": ((np.roll(x, i, 0)[:32], np.roll(y, i, 0)[:32]) for i in itertools.count())}
    else:
        data = {"x": x, "y": y, "batch_size": 32}
    history = model.fit(**data, epochs=12, verbose=0, validation_data=held_out, callbacks=hooks, **options)
    kjax.checkpoints.save(
        folder / "result", (model.state, model.optimizer), history=history.history, epochs=history.epoch
    )


def slow(single: bool):
    """A callback that lets a training of milliseconds be killed in its midst; it counts, and remembers the count."""
    from kjax import callbacks

    class Slow(callbacks.Callback):
        between_steps, saved_attributes = single, ("count",)

        def on_train_begin(self, logs=None):
            self.count = 0

        def on_train_batch_end(self, batch, logs=None):
            self.count += 1
            time.sleep(0.001)

        def on_epoch_end(self, epoch, logs=None):
            logs["count"] = self.count

    return Slow()


def start(folder: pathlib.Path, mode: str) -> subprocess.Popen:
    """The training as a process."""
    command = [sys.executable, __file__, "--train", str(folder), mode]
    return subprocess.Popen(command, stderr=subprocess.PIPE, env={**os.environ, "JAX_PLATFORMS": "cpu"})


def finish(process: subprocess.Popen) -> str:
    """Waits for it; what it said."""
    said = process.communicate()[1].decode()
    if process.returncode not in (0, -signal.SIGKILL):
        raise AssertionError(f"it ended with {process.returncode}: {said}")
    return said


def outcome(folder: pathlib.Path) -> dict[str, bytes]:
    """Everything that a training leaves, to the last bit."""
    return {name: (folder / name).read_bytes() for name in ("result", "log.csv", "log.jsonl", "best.safetensors")}


def damage(folder: pathlib.Path, rng: random.Random) -> bool:
    """Flips a bit of the newest checkpoint, or cuts it off, if there is an older one."""
    paths = sorted((folder / "backup").glob("checkpoint-*.safetensors"))
    if len(paths) < 2:
        return False
    data = bytearray(paths[-1].read_bytes())
    if rng.random() < 0.5:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    else:
        data = data[: rng.randrange(len(data))]
    paths[-1].write_bytes(data)
    return True


def measure(mode: str) -> tuple[dict[str, bytes], float, float]:
    """What an uninterrupted training leaves, and when it begins to save and ends, in seconds."""
    with tempfile.TemporaryDirectory() as name:
        folder, began = pathlib.Path(name), time.perf_counter()
        process, first = start(folder, mode), 0.0
        while process.poll() is None:
            if not first and any((folder / "backup").glob("checkpoint-*")):
                first = time.perf_counter() - began
            time.sleep(0.01)
        finish(process)
        return outcome(folder), first, time.perf_counter() - began


def survive(mode: str, wanted: dict[str, bytes], span: tuple[float, float], kills: int, rng: random.Random) -> dict:
    """One training, killed up to so many times. Half of the kills come while it trains, the others at any time."""
    found = {"kills": 0, "starts": 0, "damaged": 0, "fell back": 0}
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        finished = False
        while not finished:
            damaged = found["kills"] > 0 and rng.random() < 0.3 and damage(folder, rng)
            process = start(folder, mode)
            found["starts"] += 1
            if found["kills"] < kills:
                low = span[0] if rng.random() < 0.5 else 0.0
                try:
                    process.wait(rng.uniform(low, span[1]))
                except subprocess.TimeoutExpired:
                    process.kill()
            said = finish(process)
            finished = process.returncode == 0
            found["kills"] += process.returncode == -signal.SIGKILL
            found["damaged"] += damaged
            found["fell back"] += "is damaged and was set aside" in said
        got = outcome(folder)
    differing = [name for name in wanted if got[name] != wanted[name]]
    if differing:
        raise AssertionError(f"{mode}: other bits in {', '.join(differing)} after {found}")
    return found


def run(kills: int, seed: int = 0, modes: list[str] | None = None) -> dict:
    """Survives so many kills, over all modes in turn; the figures."""
    rng, began = random.Random(seed), time.perf_counter()
    known: dict = {}
    total = {"kills": 0, "starts": 0, "damaged": 0, "fell back": 0, "trainings": 0}
    for mode in itertools.cycle(modes or list(MODES)):
        if total["kills"] >= kills:
            break
        if mode not in known:
            known[mode] = measure(mode)
        wanted, first, end = known[mode]
        found = survive(mode, wanted, (first, end), min(rng.randint(1, 8), kills - total["kills"]), rng)
        total = {**total, **{name: total[name] + n for name, n in found.items()}, "trainings": total["trainings"] + 1}
    return {**total, "seconds": time.perf_counter() - began}


def main() -> int:
    """Prints the figures; an error if a bit differs."""
    if sys.argv[1:2] == ["--train"]:
        train(pathlib.Path(sys.argv[2]), sys.argv[3])
        return 0
    kills, seed = (int(a) for a in [*sys.argv[1:], *["100", "0"][len(sys.argv) - 1 :]])
    got = run(kills, seed)
    print("kills survived {kills}, in {trainings} trainings with {starts} starts: all bits equal".format(**got))
    print("newest checkpoint damaged {damaged} times, the one before taken {fell back} times".format(**got))
    print("{seconds:.0f} s".format(**got))
    return 0


if __name__ == "__main__":
    sys.exit(main())
