"""Training speed: all peers on a workload, in alternation."""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

from benchmarks.client import Worker, WorkerError
from benchmarks.peers import YARDSTICK
from benchmarks.workloads import find

TOLERANCE = 1e-3
"""How far a loss may be from the yardstick's, relatively, for the work to count as the same."""
PAUSE = 0.2
"""Seconds between measurements, in which the last peer's threads go to sleep."""
Log = Callable[[str], None]


def workload(name: str, peers: Sequence[str], rounds: int, steps: int | None, checked: bool, log: Log) -> dict:
    """The figures of all peers on one workload."""
    peers = [YARDSTICK, *(p for p in peers if p != YARDSTICK)]
    steps = steps or find(name).steps
    result: dict[str, Any] = {"steps": steps, "rounds": rounds, "flops": find(name).flops, "peers": {}}
    if checked:
        result["check"] = check(name, peers, log)
    with ExitStack() as stack:
        meter = stack.enter_context(Worker(YARDSTICK, name))
        workers, _, failures = warmed_up(stack, name, peers, steps, log)
        peak = meter.ask("peak")["flops"]
        timed = alternate(workers, rounds, failures, log)
        result["peak_flops"] = max(peak, meter.ask("peak")["flops"])
        for peer, seconds in timed.items():
            figures = {"ms": [1e3 * s / steps for s in seconds], **workers[peer].ask("memory")}
            result["peers"][peer] = figures | {"versions": workers[peer].ask("versions")}
    result["peers"] |= {peer: {"failed": why} for peer, why in failures.items()}
    return result


def check(name: str, peers: Sequence[str], log: Log) -> dict[str, Any]:
    """The first losses of each peer, each from a process of its own."""
    losses: dict[str, Any] = {}
    for peer in peers:
        with Worker(peer, name) as worker:
            try:
                losses[peer] = worker.ask("check")["losses"]
                log(f"{name}: {peer} gives losses {', '.join(f'{v:.5f}' for v in losses[peer])}")
            except WorkerError as error:
                losses[peer] = str(error)
                log(f"{name}: {peer} fails in the check: {error}")
    return losses


def same_work(losses: dict[str, Any], peer: str) -> bool:
    """Whether a peer's losses are the yardstick's."""
    own, wanted = losses.get(peer), losses.get(YARDSTICK)
    if not isinstance(own, list) or not isinstance(wanted, list):
        return False
    return all(abs(a - b) <= TOLERANCE * abs(b) for a, b in zip(own, wanted, strict=True))


def warmed_up(stack: ExitStack, name: str, peers: Sequence[str], steps: int, log: Log) -> Any:
    """The workers that are ready with the seconds of their first epoch, and why others are not.

    One starts after the other.
    """
    workers, first, failures = {}, {}, {}
    for peer in peers:
        worker = stack.enter_context(Worker(peer, name))
        try:
            first[peer] = worker.ask("warm_up", steps=steps)["seconds"]
            workers[peer] = worker
            log(f"{name}: {peer} is warm after {first[peer]:.1f} s")
        except WorkerError as error:
            failures[peer] = str(error)
            log(f"{name}: {peer} fails: {error}")
    return workers, first, failures


def alternate(workers: dict[str, Worker], rounds: int, failures: dict[str, str], log: Log) -> dict[str, list[float]]:
    """Seconds of each peer in each round; every round begins with another. Who fails drops out."""
    timed: dict[str, list[float]] = {peer: [] for peer in workers}
    for number in range(rounds):
        for peer in rotated(list(timed), number):
            time.sleep(PAUSE)
            try:
                timed[peer].append(workers[peer].ask("epoch")["seconds"])
            except WorkerError as error:
                failures[peer] = str(error)
                del timed[peer]
        log(f"round {number + 1}: " + ", ".join(f"{peer} {seconds[-1]:.2f} s" for peer, seconds in timed.items()))
    return timed


def rotated(items: list[str], number: int) -> list[str]:
    """The same items, beginning with another one."""
    start = number % max(1, len(items))
    return items[start:] + items[:start]
