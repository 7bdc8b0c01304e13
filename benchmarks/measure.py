"""Training speed: all peers on a workload, in alternation."""

import os
import pathlib
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

from benchmarks.client import Worker, WorkerError
from benchmarks.peers import YARDSTICK
from benchmarks.workloads import find

TOLERANCE = 1e-3
"""How far a loss may be from the yardstick's, relatively, for the work to count as the same."""
PAUSE = 0.2
"""Seconds between measurements, in which the last peer's threads go to sleep."""
TOGETHER = 2
"""How many peers build and compile at once; what is timed is always alone."""
STAT = pathlib.Path("/proc/stat")
Log = Callable[[str], None]


def workload(
    name: str,
    peers: Sequence[str],
    rounds: int,
    steps: int | None,
    checked: bool,
    log: Log,
    limits: dict[str, str] | None = None,
) -> dict:
    """The figures of all peers on one workload; of processes with `limits` in their environment, if there are any."""
    peers = [YARDSTICK, *(p for p in peers if p != YARDSTICK)]
    steps = steps or find(name).steps
    result: dict[str, Any] = {"steps": steps, "rounds": rounds, "flops": find(name).flops, "peers": {}}
    with ExitStack() as stack:
        meter = stack.enter_context(Worker(YARDSTICK, name, limits))
        workers, _, failures = warmed_up(stack, name, peers, steps, log, TOGETHER, limits)
        peak = meter.ask("peak")
        timed, quiet = alternate(workers, rounds, failures, log)
        result |= {"peak_flops": max(peak["flops"], meter.ask("peak")["flops"]), "device": peak["device"], **quiet}
        for peer, seconds in timed.items():
            figures = {"ms": [1e3 * s / steps for s in seconds], **workers[peer].ask("memory")}
            seen = workers[peer].ask("instructions") if limits else {}
            result["peers"][peer] = figures | seen | {"versions": workers[peer].ask("versions")}
        if checked:  # afterwards, for the memory that it takes is none of the training's
            result["check"] = check(name, {peer: workers[peer] for peer in timed}, log)
    result["peers"] |= {peer: {"failed": why} for peer, why in failures.items()}
    return result


def check(name: str, workers: dict[str, Worker], log: Log) -> dict[str, Any]:
    """The first losses of each peer, of a network made anew."""
    losses = dict(zip(workers, ThreadPoolExecutor(TOGETHER).map(first_losses, workers.values()), strict=True))
    for peer, found in losses.items():
        log(f"{name}: {peer}'s losses: {found if isinstance(found, str) else [round(v, 5) for v in found]}")
    return losses


def first_losses(worker: Worker) -> list[float] | str:
    """The losses, or why there are none."""
    try:
        return worker.ask("check")["losses"]
    except WorkerError as error:
        return str(error)


def same_work(losses: dict[str, Any], peer: str) -> bool:
    """Whether a peer's losses are the yardstick's."""
    own, wanted = losses.get(peer), losses.get(YARDSTICK)
    if not isinstance(own, list) or not isinstance(wanted, list):
        return False
    return all(abs(a - b) <= TOLERANCE * abs(b) for a, b in zip(own, wanted, strict=True))


def warmed_up(
    stack: ExitStack,
    name: str,
    peers: Sequence[str],
    steps: int,
    log: Log,
    together: int = 1,
    limits: dict[str, str] | None = None,
) -> Any:
    """The workers that are ready with the seconds of their first epoch, and why others are not.

    Where `together` is 1, one starts after the other, and the seconds are figures.
    """

    def warm(peer: str) -> tuple[str, Worker, float | str]:
        worker = stack.enter_context(Worker(peer, name, limits))
        try:
            first = worker.ask("warm_up", steps=steps)["seconds"]
            log(f"{name}: {peer} is warm after {first:.1f} s")
        except WorkerError as error:
            log(f"{name}: {peer} fails: {error}")
            return peer, worker, str(error)
        return peer, worker, first

    found = list(ThreadPoolExecutor(together).map(warm, peers))
    failures = {peer: first for peer, _, first in found if isinstance(first, str)}
    workers = {peer: worker for peer, worker, _ in found if peer not in failures}
    return workers, {peer: first for peer, _, first in found if peer not in failures}, failures


def alternate(workers: dict[str, Worker], rounds: int, failures: dict[str, str], log: Log) -> Any:
    """Seconds of each peer in each round, and how quiet it was. Each round begins with another; who fails drops out."""
    timed: dict[str, list[float]] = {peer: [] for peer in workers}
    others, idle = [0.0], [0.0]
    for number in range(rounds):
        for peer in rotated(list(timed), number):
            time.sleep(PAUSE)
            try:
                answer, rest = watched(lambda peer=peer: workers[peer].ask("epoch"))
            except WorkerError as error:
                failures[peer] = str(error)
                del timed[peer]
                continue
            timed[peer].append(answer["seconds"])
            others.append(rest)
            idle.append(answer["idle"])
        log(f"round {number + 1}: " + ", ".join(f"{peer} {seconds[-1]:.2f} s" for peer, seconds in timed.items()))
    return timed, {"others": others[1:], "idle": max(idle)}


def watched(order: Callable[[], dict[str, Any]]) -> tuple[dict[str, Any], float]:
    """An order's answer, and the part of the machine that anything but the worker took meanwhile, from 0 to 1."""
    before, began = processor_seconds(), time.perf_counter()
    answer = order()
    wall, taken = time.perf_counter() - began, processor_seconds() - before
    return answer, max(0.0, taken - answer["busy"]) / (wall * (os.cpu_count() or 1))


def processor_seconds() -> float:
    """What all programs have taken since the machine started, and its host on top; 0 where the system does not say."""
    if not STAT.exists():
        return 0.0
    user, nice, system, _, _, *interrupts = map(int, STAT.read_text().split("\n")[0].split()[1:9])
    return (user + nice + system + sum(interrupts)) / os.sysconf("SC_CLK_TCK")


def rotated(items: list[str], number: int) -> list[str]:
    """The same items, beginning with another one."""
    start = number % max(1, len(items))
    return items[start:] + items[:start]
