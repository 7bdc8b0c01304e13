"""Trains with backups, a log and saved models on a disk that fills up: what was whole stays whole, and it goes on.

python tests/reliability/full_disk.py      (as root: it mounts a disk of 1 MB in memory)
"""

import os
import pathlib
import subprocess
import sys
import tempfile
import warnings

import numpy as np

import kjax
from kjax import callbacks, layers


def train(folder: pathlib.Path, *hooks: callbacks.Callback) -> kjax.callbacks.History:
    """A training of six epochs; each of its checkpoints is about 200 kB."""
    x, y = np.random.default_rng(0).standard_normal((2, 64, 64)).astype("float32")
    model = kjax.Sequential([layers.Dense(128, "tanh", input_shape=(64,)), layers.Dense(64)])
    model.compile("adam", "mse")
    kept = callbacks.BackupAndRestore(folder / "run", keep=2, delete_checkpoint=False)
    return model.fit(x, y, epochs=6, verbose=0, callbacks=[kept, *hooks])


def fill(disk: pathlib.Path, epoch: int) -> None:
    """Takes what is left of the disk in the third epoch."""
    if epoch == 3:
        with open(disk / "other", "wb", buffering=0) as file:
            try:
                while file.write(bytes(4096)):
                    pass
            except OSError:
                pass


def main() -> int:
    """Prints what happened; an error if anything was lost."""
    with tempfile.TemporaryDirectory() as name:
        disk, elsewhere = pathlib.Path(name, "disk"), pathlib.Path(name, "elsewhere")
        disk.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], check=True)
        try:
            wanted = train(elsewhere).history
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always")
                fills = callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: fill(disk, epoch))
                assert train(disk, fills).history == wanted
            whole = kjax.checkpoints.Checkpoints(disk / "run")
            found = whole.newest()
            whole.close()
            assert found is not None and found.meta["run"]["epoch"] == 3, found
            (disk / "other").unlink()
            assert train(disk).history == wanted
            names = sorted(os.listdir(disk / "run"))
        finally:
            subprocess.run(["umount", disk], check=True)
    print(f"full from the fourth epoch on: {len(said)} warnings, training went on; {said[0].message}")
    print(f"the checkpoint of the third epoch stayed whole; with room again the run went on to equal history: {names}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
