"""What the report says, computed from the raw figures."""

import statistics
from collections.abc import Sequence
from typing import Any, NamedTuple

from benchmarks.measure import same_work
from benchmarks.peers import PEERS, YARDSTICK

OURS = "kjax"
BEST_PEER_TARGETS = {"tiny_mlp": 0.8, "mnist_mlp": 0.8, "mnist_cnn": 0.8, "char_gpt": 0.8}
YARDSTICK_TARGET = 1.05
DEVICE_TARGET = 1.03
"""Of the time on a GPU or TPU, over raw JAX's."""
CALL_TARGET = 1.3
"""Of single calls, over raw JAX's."""
IMPORT_TARGET = 0.2
"""Seconds that importing kjax may add to importing JAX."""


class Spread(NamedTuple):
    """A median with the ends."""

    median: float
    least: float
    most: float


def spread(values: Sequence[float]) -> Spread:
    return Spread(statistics.median(values), min(values), max(values))


def times(workload: dict[str, Any]) -> dict[str, Spread]:
    """Milliseconds per step of the peers that ran, in the order of `PEERS`."""
    ran = workload["peers"]
    return {peer: spread(ran[peer]["ms"]) for peer in PEERS if ran.get(peer, {}).get("ms")}


def differs(workload: dict[str, Any], peer: str) -> bool:
    """Whether a peer was checked, and its losses are not the yardstick's."""
    return "check" in workload and peer in times(workload) and not same_work(workload["check"], peer)


def best_peer(workload: dict[str, Any]) -> str | None:
    """The fastest besides kjax and the yardstick."""
    others = {peer: t.median for peer, t in times(workload).items() if peer not in (OURS, YARDSTICK)}
    return min(others, key=others.__getitem__) if others else None


def ratio(workload: dict[str, Any], peer: str | None) -> Spread | None:
    """kjax's time over a peer's, round by round."""
    ran = workload["peers"]
    if peer is None or not all(ran.get(p, {}).get("ms") for p in (OURS, peer)):
        return None
    return spread([a / b for a, b in zip(ran[OURS]["ms"], ran[peer]["ms"], strict=True)])


def share_of_peak(workload: dict[str, Any], peer: str) -> float | None:
    """The part of what the machine gives in matrix products that a peer's step uses."""
    timed, peak = times(workload).get(peer), workload.get("peak_flops")
    return workload["flops"] / (timed.median / 1e3) / peak if timed and peak else None


def missed(name: str, workload: dict[str, Any]) -> list[str]:
    """The targets that a workload misses, in words."""
    limits = ((best_peer(workload), BEST_PEER_TARGETS.get(name, 1.0)), (YARDSTICK, YARDSTICK_TARGET))
    found = [(peer, ratio(workload, peer), limit) for peer, limit in limits]
    return [
        f"{r.median:.2f} times {PEERS[peer].title}, wanted {limit}"
        for peer, r, limit in found
        if r and r.median > limit
    ]


def versions(results: dict[str, Any]) -> dict[str, str]:
    """The packages' versions, as the workers reported them last."""
    workloads = sorted(results.get("workloads", {}).values(), key=lambda w: w["date"])
    found = [ran.get("versions", {}) for w in workloads for ran in w["peers"].values()]
    return {name: version for one in found for name, version in one.items()}


def misses_on_device(workload: dict[str, Any]) -> bool:
    """Whether raw JAX is faster on a GPU or TPU by more than is wanted."""
    found = ratio(workload, YARDSTICK)
    return found is not None and found.median > DEVICE_TARGET


def device_megabytes(workload: dict[str, Any], peer: str) -> float | None:
    """What a peer took at most of a GPU's or TPU's memory."""
    taken = workload["peers"].get(peer, {}).get("device_bytes")
    return taken / 2**20 if taken else None


def memory(results: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Megabytes at the peak, by workload and peer."""
    ran = {name: w["peers"] for name, w in results.get("workloads", {}).items()}
    return {n: {p: peers[p]["bytes"] / 2**20 for p in PEERS if "bytes" in peers.get(p, {})} for n, peers in ran.items()}


class Goal(NamedTuple):
    """A figure beside what is wanted of it at most."""

    title: str
    value: Spread
    limit: float

    @property
    def met(self) -> bool:
        return self.value.median <= self.limit


def startup_goals(measures: dict[str, Any]) -> list[Goal]:
    """Of single calls, the import and the first epoch; of those that were measured."""
    seconds = {name: measure["seconds"] for name, measure in measures.items()}
    goals = [call_goal(order, seconds.get(in_turns(order), {})) for order in ("predict", "train_on_batch")]
    goals += [import_goal(seconds.get("import", {})), first_epoch_goal(seconds)]
    return [goal for goal in goals if goal]


def in_turns(order: str) -> str:
    """Under what name the calls of kjax and raw JAX in one process are kept."""
    return f"{order}_in_turns"


def call_goal(order: str, seconds: dict[str, list[float]]) -> Goal | None:
    value = quotient(seconds.get(OURS), seconds.get(YARDSTICK))
    return value and Goal(f"`{order}`: kjax / the jitted call on the same arrays", value, CALL_TARGET)


def import_goal(seconds: dict[str, list[float]]) -> Goal | None:
    if not seconds.get(OURS) or not seconds.get(YARDSTICK):
        return None
    added = [a - b for a, b in zip(seconds[OURS], seconds[YARDSTICK], strict=True)]
    return Goal("import: what kjax adds to JAX, s", spread(added), IMPORT_TARGET)


def first_epoch_goal(seconds: dict[str, dict[str, list[float]]]) -> Goal | None:
    """Against the quickest peer, with its cache where it has one."""
    found = seconds.get("first_epoch_cold", {}) | seconds.get("first_epoch_warm", {})
    others = {p: statistics.median(v) for p, v in found.items() if v and p not in (OURS, YARDSTICK)}
    quickest = min(others, key=others.__getitem__) if others else ""
    value = quotient(found.get(OURS), found.get(quickest))
    return value and Goal(f"first epoch, cached: kjax / {PEERS[quickest].title}", value, 1.0)


def memory_goals(results: dict[str, Any]) -> dict[str, Goal]:
    """Of each workload: the peak over that of the smallest peer on JAX."""
    goals = {}
    for name, peaks in memory(results).items():
        others = {p: m for p, m in peaks.items() if PEERS[p].on_jax and p not in (OURS, YARDSTICK)}
        if others and OURS in peaks:
            smallest = min(others, key=others.__getitem__)
            goals[name] = Goal(PEERS[smallest].title, spread([peaks[OURS] / others[smallest]]), 1.0)
    return goals


def quotient(a: Sequence[float] | None, b: Sequence[float] | None) -> Spread | None:
    """One over the other, round by round."""
    return spread([x / y for x, y in zip(a, b, strict=True)]) if a and b else None
