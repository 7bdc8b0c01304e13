"""Trains small models hundreds of times, and prints how much memory, how many threads and open files that leaves.

python tests/reliability/memory_growth.py [fits] [different models]
"""

import gc
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

import kjax
from kjax import layers

X = np.random.default_rng(0).standard_normal((64, 8)).astype("float32")
Y = X[:, :1]
MEGABYTE = 2**20


class Held(NamedTuple):
    """What the process holds: resident memory in MB, threads, open files, arrays on the device."""

    megabytes: float
    threads: int
    files: int
    arrays: int


def held() -> Held:
    gc.collect()
    with open("/proc/self/statm") as file:
        resident = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    with open("/proc/self/status") as file:
        threads = next(int(line.split()[1]) for line in file if line.startswith("Threads:"))
    return Held(
        resident / MEGABYTE,
        max(threads, threading.active_count()),
        len(os.listdir("/proc/self/fd")),
        len(jax.live_arrays()),
    )


def made(units: int = 16) -> Any:
    model = kjax.Sequential([layers.Dense(units, "relu", input_shape=(8,)), layers.Dropout(0.2), layers.Dense(1)])
    model.compile("adam", "mse", metrics=["mae"])
    return model


def use(model: Any) -> None:
    """Trains, evaluates and predicts."""
    model.fit(X, Y, 16, epochs=2, verbose=0, validation_split=0.25, check_finite=True)
    model.evaluate(X, Y, verbose=0)
    model.predict(X)


def report(name: str, run: Callable[[int], None], times: int, warm: int) -> Held:
    """Runs something `warm` times and then `times` times more; prints and returns the growth over the latter."""
    for number in range(warm):
        run(number)
    before, began = held(), time.perf_counter()
    for number in range(warm, warm + times):
        run(number)
    after = held()
    grown = Held(*(b - a for a, b in zip(before, after, strict=True)))
    print(
        f"{name}: {times} fits after the first {warm}: {grown.megabytes:+.1f} MB on {before.megabytes:.0f}, "
        f"{grown.threads:+d} threads, {grown.files:+d} open files, {grown.arrays:+d} arrays "
        f"({(time.perf_counter() - began) / times * 1e3:.0f} ms each)", flush=True,
    )  # fmt: skip
    return grown


def main(times: int = 500, different: int = 200) -> int:
    same = made()
    found = [
        report("the same model", lambda number: use(same), times, 50),
        report("a new, equal model each time", lambda number: use(made()), times, 50),
    ]
    for start in range(0, 2 * different, different):
        report(
            f"a new, different model each time, from {start}",
            lambda n, start=start: use(made(20 + start + n)),
            different,
            0,
        )
    return 0 if all(g.megabytes < 20 and g.threads <= 0 and g.files <= 0 and g.arrays <= 0 for g in found) else 1


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
