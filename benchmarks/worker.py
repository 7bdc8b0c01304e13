"""A process that holds one peer: reads orders as JSON lines, answers each with one.

    python -m benchmarks.worker PEER WORKLOAD

An order is `{"do": name, …}` with a function's name from `ORDERS` and its arguments; the answer has "error" where
it failed. Between orders the process blocks on its input and computes nothing.
"""

import dataclasses
import json
import os
import resource
import statistics
import sys
import time
import traceback
from functools import partial
from importlib.metadata import version
from typing import Any

import numpy as np

from benchmarks import peers, workloads
from benchmarks.instructions import used_avx512
from benchmarks.peers import PEERS
from benchmarks.spec import without_dropout

CHECKED_STEPS = 5
BLOCKS = 20
LONGEST = 1.0
"""Seconds that a series of single calls may take."""


class Held:
    """The peer, its workload, its data."""

    def __init__(self, name: str, workload: workloads.Workload):
        self.name, self.workload, self.peer, self.data = name, workload, None, None
        self.busy = 0.0

    def built(self) -> Any:
        self.peer = self.peer or peers.make(self.name, self.workload)
        return self.peer


def check(held: Held) -> dict[str, Any]:
    """The losses of the first steps, in the data's order, with nothing dropped: an epoch of one batch for each."""
    workload = dataclasses.replace(held.workload, spec=without_dropout(held.workload.spec))
    peer = peers.make(held.name, workload)
    x, y = workload.data(CHECKED_STEPS * workload.batch)
    batches = zip(*(np.split(a, CHECKED_STEPS) for a in (x, y)), strict=True)
    return {"losses": [float(peer.epoch(peer.prepare(*batch), shuffle=False)) for batch in batches]}


def warm_up(held: Held, steps: int) -> dict[str, Any]:
    """Builds the model and the data and trains once over it."""
    peer = held.built()
    held.data = peer.prepare(*held.workload.data(steps * held.workload.batch))
    return epoch(held)


def epoch(held: Held) -> dict[str, Any]:
    """Trains once over the data."""
    began, busy = time.perf_counter(), time.process_time()
    loss = float(held.peer.epoch(held.data))
    seconds, idle, held.busy = time.perf_counter() - began, busy - held.busy, time.process_time()
    return {"seconds": seconds, "busy": held.busy - busy, "idle": idle, "loss": loss}


def profile(held: Held, folder: str) -> dict[str, Any]:
    """Trains once over the data while JAX's profiler writes into a folder."""
    import jax

    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = 0
    with jax.profiler.trace(folder, profiler_options=options):
        return epoch(held)


def predict(held: Held, calls: int) -> dict[str, Any]:
    """Seconds of each of some calls of `predict` on one row."""
    x, _ = held.workload.data(1)
    return {"seconds": each(lambda: held.peer.predict(x), calls)}


def train_on_batch(held: Held, calls: int) -> dict[str, Any]:
    """Seconds of each of some calls of `train_on_batch`."""
    x, y = held.workload.data(held.workload.batch)
    return {"seconds": each(lambda: held.peer.train_on_batch(x, y), calls)}


def in_turns(held: Held, what: str, other: str, calls: int) -> dict[str, Any]:
    """Seconds of a call of this peer and of another one in this process, on the same arrays, in short blocks in turns.

    A call takes 12 or 50 µs as XLA's threads happen to be awake, for minutes on end: in processes of their own, the
    ratio of two peers says which of them was luckier.
    """
    data = held.workload.data(1)[:1] if what == "predict" else held.workload.data(held.workload.batch)
    both = {held.name: held.built(), other: peers.make(other, held.workload)}
    run = {name: partial(getattr(peer, what), *data) for name, peer in both.items()}
    found: dict[str, list[float]] = {name: [] for name in run}
    for block in range(BLOCKS + 1):
        for name in list(run)[:: 1 if block % 2 else -1]:
            found[name].append(statistics.median(each(run[name], calls)))
    return {"seconds": {name: statistics.median(medians[1:]) for name, medians in found.items()}}  # the first compiles


def each(function: Any, calls: int) -> list[float]:
    """How long each call takes; fewer calls where they take over a second together."""
    times = [time.perf_counter()]
    while len(times) <= calls and times[-1] - times[0] < LONGEST:
        function()
        times.append(time.perf_counter())
    return np.diff(times).tolist()


def peak(held: Held, size: int = 2048, dtype: str = "float32", repeats: int = 5) -> dict[str, Any]:
    """What the machine gives in matrix products, in operations per second: the best of some."""
    import jax
    import jax.numpy as jnp

    a = jnp.asarray(np.random.default_rng(0).random((size, size), dtype=np.float32)).astype(dtype)
    product = jax.jit(jnp.matmul)
    jax.block_until_ready(product(a, a))  # compiled
    seconds = each(lambda: jax.block_until_ready(product(a, a)), repeats)
    return {"flops": 2 * size**3 / min(seconds), "device": jax.devices()[0].device_kind}


def memory(held: Held) -> dict[str, Any]:
    """The largest resident memory so far, in bytes, and that of the device where it has its own."""
    unit = 1 if sys.platform == "darwin" else 1024
    own = {"device_bytes": taken} if (taken := device_bytes(held.name)) else {}
    return {"bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit, **own}


def device_bytes(name: str) -> int:
    """The most that was taken of the memory of a GPU or TPU; 0 without one."""
    if "torch" in PEERS[name].packages:
        import torch

        return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
    if not PEERS[name].on_jax:
        return 0
    import jax

    return (jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use", 0)


def instructions(held: Held) -> dict[str, Any]:
    """Whether AVX-512 was used so far, where the system tells."""
    used = used_avx512()
    return {} if used is None else {"avx512": used}


def versions(held: Held) -> dict[str, Any]:
    """Of the packages that count for this peer."""
    return {name: version_of(name) for name in PEERS[held.name].packages}


def version_of(package: str) -> str:
    """The version of an installed package; kjax's own is that of the sources beside this."""
    if package == "kjax":
        import kjax

        return kjax.__version__
    return version({"tensorflow": "tensorflow-cpu"}.get(package, package))


ORDERS = {
    f.__name__: f
    for f in (check, warm_up, epoch, profile, predict, train_on_batch, in_turns, peak, memory, instructions, versions)
}


def answer(held: Held, line: str) -> dict[str, Any]:
    order = json.loads(line)
    try:
        return ORDERS[order.pop("do")](held, **order)
    except Exception as error:
        traceback.print_exc()
        return {"error": f"{type(error).__name__}: {str(error).strip().splitlines()[0][:200] if str(error) else ''}"}


def keep_pages_if_told() -> None:
    """As a program of kjax's does at its beginning; `pages` says so in the environment."""
    if os.environ.get("BENCHMARKS_KEEP_PAGES"):
        from kjax import utils

        utils.keep_pages()


def main(name: str, workload: workloads.Workload) -> None:
    """Answers until the input ends. What a peer prints goes to the error stream, not among the answers."""
    keep_pages_if_told()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    held = Held(name, workload)
    for line in sys.stdin:
        print(json.dumps(answer(held, line)), file=answers, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], workloads.find(sys.argv[2]))
