"""How soon a script trains when it is started for the first time, and again: prints the table of docs/reliability.md.

python -m benchmarks.restart
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

ROUNDS = 5
PROGRAM = """
import json, sys, time
began, name = float(sys.argv[1]), sys.argv[2]
import jax
jax_imported = time.time()
import kjax, numpy as np
from kjax.layers import *
imported = time.time()
NETWORKS = {
    "MNIST MLP": lambda: [Dense(512, activation="relu", input_shape=(784,)), Dropout(0.2),
                          Dense(512, activation="relu"), Dropout(0.2)],
    "MNIST CNN": lambda: [Conv2D(32, 3, activation="relu", input_shape=(28, 28, 1)), Conv2D(64, 3, activation="relu"),
                          MaxPooling2D(), Dropout(0.25), Flatten(), Dense(128, activation="relu"), Dropout(0.5)],
}
model = kjax.Sequential([*NETWORKS[name](), Dense(10, activation="softmax")])
model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
x, y = np.ones((128, *model.input_shape[1:]), "float32"), np.zeros(128, "int32")
model.fit(x, y, batch_size=128, verbose=0)
trained = time.time()
print(json.dumps([jax_imported - began, imported - jax_imported, trained - imported, trained - began]))
"""


def seconds(network: str, setting: str) -> list[float]:
    """From the start of a process: importing JAX, importing kjax, up to the end of the first step, all together.

    `setting` is "off", a folder, or "new" for an empty one.
    """
    if setting == "new":
        with tempfile.TemporaryDirectory() as folder:
            return seconds(network, folder)
    env = {**os.environ, "KJAX_COMPILATION_CACHE": setting}
    command = [sys.executable, "-c", PROGRAM, str(time.time()), network]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def medians(network: str, setting: str) -> list[float]:
    return [statistics.median(part) for part in zip(*(seconds(network, setting) for _ in range(ROUNDS)), strict=True)]


def main() -> None:
    print("| network | start | import JAX | import kjax | build, compile, first step | all |")
    print("|---|---|---:|---:|---:|---:|")
    for network in ("MNIST MLP", "MNIST CNN"):
        with tempfile.TemporaryDirectory() as folder:
            seconds(network, folder)
            for start, setting in (("cache off", "off"), ("cache empty", "new"), ("again", folder)):
                row = " | ".join(f"{value:.2f}" for value in medians(network, setting))
                print(f"| {network} | {start} | {row} |", flush=True)


if __name__ == "__main__":
    main()
