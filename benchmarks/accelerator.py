"""On a GPU or a TPU: the same networks with batches that fill it, in float32 and in bfloat16, beside raw JAX.

The data lies on the device for all. Both precisions of a network are made ready at once, for compiling is most of the
time, and then measured one after the other.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

from benchmarks.client import Worker
from benchmarks.measure import Log, alternate, check, warmed_up
from benchmarks.peers import YARDSTICK
from benchmarks.workloads import find

PRECISIONS = ("float32", "bfloat16")
PEERS = ("kjax", YARDSTICK, "torch", "torch-compile")
"""Those that are written for a device, and in both precisions."""
PEAK_SIZE = 8192


def network(
    name: str, peers: Sequence[str], rounds: int, steps: int | None, checked: bool, log: Log
) -> Iterator[tuple[str, dict[str, Any]]]:
    """For each precision the workload's name, and the figures of those peers that are in `PEERS`."""
    names = [f"{name}@{precision}" for precision in PRECISIONS]
    able = [peer for peer in PEERS if peer in peers]
    with ExitStack() as stack:

        def ready(name: str) -> Any:
            return warmed_up(stack, name, able, steps or find(name).steps, log, len(able))

        both = list(ThreadPoolExecutor(2).map(ready, names))
        for name, (workers, first, failures) in zip(names, both, strict=True):
            figures = measured(name, workers, rounds, steps or find(name).steps, failures, log)
            for peer, seconds in first.items():
                figures["peers"].get(peer, {})["first"] = seconds
            if checked:
                figures["check"] = check(name, workers, log)
            yield name, figures


def measured(
    name: str, workers: dict[str, Worker], rounds: int, steps: int, failures: dict[str, str], log: Log
) -> dict[str, Any]:
    """The figures of all peers that are ready."""
    peak = workers[YARDSTICK].ask("peak", size=PEAK_SIZE, dtype=find(name).precision)
    timed, quiet = alternate(workers, rounds, failures, log)
    found = {"steps": steps, "rounds": rounds, "flops": find(name).flops, "peak_flops": peak["flops"], **quiet}
    peers: dict[str, Any] = {peer: {"failed": why} for peer, why in failures.items()}
    for peer, seconds in timed.items():
        own = {"ms": [1e3 * s / steps for s in seconds], **workers[peer].ask("memory")}
        peers[peer] = own | {"versions": workers[peer].ask("versions")}
    return {**found, "device": peak["device"], "peers": peers}
