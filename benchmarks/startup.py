"""What a user waits for besides training: single calls, imports, the first epoch."""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

from benchmarks.client import ROOT, Worker, WorkerError, environment
from benchmarks.figures import OURS, in_turns
from benchmarks.measure import PAUSE, TOGETHER, Log, rotated, warmed_up
from benchmarks.peers import LATENCY, PEERS, YARDSTICK
from benchmarks.workloads import find

SINGLE_CALLS, FIRST_EPOCH = "tiny_mlp", "mnist_mlp"
"""The workloads that these measures are taken on."""
ORDERS = ("predict", "train_on_batch")
CALLS, BLOCK = 300, 50
"""How many calls each peer's median is taken over, and how many follow each other where two take turns."""
TIMED_IMPORT = "import time; began = time.perf_counter(); import {}; print(time.perf_counter() - began)"
Figures = dict[str, list[float]]


def all_measures(peers: Sequence[str], rounds: int, steps: int | None, log: Log) -> dict[str, Any]:
    """Seconds by measure, then by peer, one for each round."""
    calls = single_calls(peers, rounds, log)
    return {**calls, "import": imports(peers, rounds, log), **first_epochs(peers, rounds, steps, log)}


def single_calls(peers: Sequence[str], rounds: int, log: Log) -> dict[str, Figures]:
    """Of all peers, each in a process of its own, and of kjax and raw JAX in turns in one."""
    single = [p for p in peers if p in LATENCY]
    with ExitStack() as stack:
        workers, _, _ = warmed_up(stack, SINGLE_CALLS, single, 1, log, TOGETHER)
        calls = {order: latency(order, workers, rounds, log) for order in ORDERS}
        worker = workers.get(OURS)
        return calls | ({in_turns(order): overhead(order, worker, rounds, log) for order in ORDERS} if worker else {})


def overhead(order: str, worker: Worker, rounds: int, log: Log) -> Figures:
    """Median seconds of one call of kjax and of the jitted call of raw JAX, which take turns in kjax's process."""
    figures: Figures = {OURS: [], YARDSTICK: []}
    for _ in range(rounds):
        time.sleep(PAUSE)
        seconds = worker.ask("in_turns", what=order, other=YARDSTICK, calls=BLOCK)["seconds"]
        for peer, own in figures.items():
            own.append(seconds[peer])
    log(f"{order} in turns: " + ", ".join(f"{peer} {statistics.median(own):.4g} s" for peer, own in figures.items()))
    return figures


def latency(order: str, workers: dict[str, Worker], rounds: int, log: Log) -> Figures:
    """Median seconds of one call; the first calls, which compile, do not count."""

    def once(peer: str) -> float:
        time.sleep(PAUSE)
        return statistics.median(workers[peer].ask(order, calls=CALLS)["seconds"])

    for peer in workers:
        once(peer)
    return alternated(order, list(workers), rounds, once, log)


def imports(peers: Sequence[str], rounds: int, log: Log) -> Figures:
    """Seconds that the import takes in a fresh process."""

    def once(peer: str) -> float:
        command = [sys.executable, "-c", TIMED_IMPORT.format(PEERS[peer].imports)]
        done = subprocess.run(command, cwd=ROOT, env=environment(peer), capture_output=True, text=True, check=True)
        return float(done.stdout.split()[-1])

    own = [peer for peer in peers if not PEERS[peer].options]  # the others import the same
    for peer in own:
        once(peer)  # files that were not read yet
    return alternated("import", own, rounds, once, log)


def first_epochs(peers: Sequence[str], rounds: int, steps: int | None, log: Log) -> dict[str, Figures]:
    """Seconds from the process's start to the end of its first epoch, without and with a compilation cache."""
    steps = steps or find(FIRST_EPOCH).steps
    with tempfile.TemporaryDirectory() as folder:
        caching = {peer: cache(peer, f"{folder}/{peer}") for peer in peers if cache(peer, folder)}
        cold = alternated("first epoch", peers, rounds, lambda peer: in_empty_cache(peer, steps), log)
        for peer, env in caching.items():
            first_epoch(peer, env, steps)
        warm = alternated("cached", list(caching), rounds, lambda peer: first_epoch(peer, caching[peer], steps), log)
    return {"first_epoch_cold": cold, "first_epoch_warm": warm}


def cache(peer: str, folder: str) -> dict[str, str]:
    """The environment that has a peer keep all that it compiles in a folder; nothing for those that cannot."""
    if peer == "torch-compile":
        return {"TORCHINDUCTOR_CACHE_DIR": folder}
    everything = {"MIN_COMPILE_TIME_SECS": "0", "MIN_ENTRY_SIZE_BYTES": "-1"}
    settings = {f"JAX_PERSISTENT_CACHE_{name}": value for name, value in everything.items()}
    own = {"KJAX_COMPILATION_CACHE": folder} if peer == "kjax" else {}
    return {"JAX_COMPILATION_CACHE_DIR": folder, **settings, **own} if PEERS[peer].on_jax else {}


def in_empty_cache(peer: str, steps: int) -> float:
    """PyTorch's compiler always caches: it gets an empty folder. The others compile without a cache."""
    with tempfile.TemporaryDirectory() as folder:
        return first_epoch(peer, cache(peer, folder) if peer == "torch-compile" else {}, steps)


def first_epoch(peer: str, env: dict[str, str], steps: int) -> float:
    began = time.perf_counter()
    with Worker(peer, FIRST_EPOCH, env) as worker:
        worker.ask("warm_up", steps=steps)
        return time.perf_counter() - began


def alternated(what: str, peers: Sequence[str], rounds: int, once: Callable[[str], float], log: Log) -> Figures:
    """Figures of peers in turns, every round beginning with another. Who fails drops out."""
    figures: Figures = {peer: [] for peer in peers}
    for number in range(rounds):
        for peer in rotated(list(figures), number):
            try:
                figures[peer].append(once(peer))
            except (WorkerError, subprocess.CalledProcessError) as error:
                log(f"{what}: {peer} fails: {error}")
                del figures[peer]
    log(f"{what}: " + ", ".join(f"{peer} {statistics.median(values):.4g} s" for peer, values in figures.items()))
    return figures
