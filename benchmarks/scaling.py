"""Curves: time per step, time to compile and memory as a multilayer perceptron or its data grow along one axis."""

import statistics
from contextlib import ExitStack
from typing import Any

from benchmarks.measure import Log, alternate, warmed_up
from benchmarks.workloads import find

AXES = {
    "batch_size": (8, 32, 128, 512, 2048),
    "width": (64, 256, 1024, 2048),
    "depth": (1, 4, 16, 64),
    "dataset_size": (1024, 8192, 65536, 262144),
}
PEERS = ("kjax", "raw", "keras-jax")


def along(axis: str, rounds: int, log: Log, shortened: bool = False) -> dict[str, Any]:
    """For each size, each peer's figures; `shortened` takes two sizes only."""
    sizes = (AXES[axis][0], AXES[axis][-2]) if shortened else AXES[axis]
    return {str(size): point(axis, size, rounds, log) for size in sizes}


def point(axis: str, size: int, rounds: int, log: Log) -> dict[str, Any]:
    """Milliseconds per step, seconds to the end of the first epoch beyond another one, bytes; by peer."""
    name = f"{axis}={size}"
    steps = find(name).steps
    with ExitStack() as stack:
        workers, first, failures = warmed_up(stack, name, PEERS, steps, log)
        timed, _ = alternate(workers, rounds, failures, log)
        return {peer: figures(timed[peer], first[peer], steps) | workers[peer].ask("memory") for peer in timed}


def figures(seconds: list[float], first: float, steps: int) -> dict[str, Any]:
    return {"ms": [1e3 * s / steps for s in seconds], "compile": max(0.0, first - statistics.median(seconds))}
