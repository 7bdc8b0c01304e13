"""What the report says, computed from the raw figures."""

import statistics
from collections.abc import Sequence
from typing import Any, NamedTuple

from benchmarks.peers import PEERS, YARDSTICK

OURS = "kjax"
BEST_PEER_TARGETS = {"tiny_mlp": 0.8, "mnist_mlp": 0.8, "mnist_cnn": 0.8, "char_gpt": 0.8}
YARDSTICK_TARGET = 1.05


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


def memory(results: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Megabytes at the peak, by workload and peer."""
    ran = {name: w["peers"] for name, w in results.get("workloads", {}).items()}
    return {n: {p: peers[p]["bytes"] / 2**20 for p in PEERS if "bytes" in peers.get(p, {})} for n, peers in ran.items()}
