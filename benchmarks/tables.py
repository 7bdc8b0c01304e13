"""What all parts of the report are made of: tables in Markdown, figures in them."""

from collections.abc import Sequence
from typing import Any

from benchmarks import figures
from benchmarks.figures import Spread
from benchmarks.measure import same_work


def cell(workload: dict[str, Any], peer: str) -> str:
    """A peer's time, bold for the best, marked where its losses differ."""
    timed = figures.times(workload).get(peer)
    if timed is None:
        return "fails" if peer in workload["peers"] else "–"
    median = f"**{number(timed.median)}**" if peer == figures.best_peer(workload) else number(timed.median)
    different = "check" in workload and not same_work(workload["check"], peer)
    return f"{median}{' ≠' if different else ''} ({number(timed.least)}–{number(timed.most)})"


def described(machine: dict[str, Any]) -> str:
    processor = f" of {machine['processor']}" if machine.get("processor") else ""
    return f"{machine['cores']} cores{processor}, {machine['memory_gb']} GB of memory"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """In Markdown, numbers to the right."""
    lines = [header, [":---", *["---:"] * (len(header) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def number(value: float) -> str:
    """Three digits, never an exponent."""
    return (
        f"{value:.0f}"
        if value >= 100
        else f"{value:.1f}"
        if value >= 10
        else f"{value:.2f}"
        if value >= 1
        else f"{value:.3f}"
    )


def range_of(value: Spread | None) -> str:
    return "–" if value is None else f"{number(value.median)} ({number(value.least)}–{number(value.most)})"
