"""Where the time of kjax's train step goes, by kind of operation: JAX's profiler and XLA's own text of the program.

XLA's CPU runtime notes each operation while it runs, if asked to; a trace has them by thread, with the program's name
and the operation's. What an operation is, a fusion above all, is read from the optimised program that XLA writes out.
"""

import collections
import gzip
import json
import pathlib
import re
import tempfile
from collections.abc import Iterable, Iterator
from typing import Any

from benchmarks.client import Worker, WorkerError
from benchmarks.figures import OURS
from benchmarks.measure import Log
from benchmarks.workloads import find

FLAGS = "--xla_cpu_enable_xprof_traceme=true --xla_dump_hlo_as_text --xla_dump_hlo_module_re=.*train.* --xla_dump_to="
SHORTEN, LEAST = 8, 24
"""A trace has an eighth of a measurement's steps: it holds about a million events, an LSTM's step makes some 8,000."""
TOP = 4
CONTROL = ("while", "conditional", "call")
"""Operations that only run others; their own time is part of `BETWEEN`."""
BETWEEN = "between operations"
"""Loops, dispatch, waiting for the other thread, the program that calls."""
KINDS = {
    "convolutions": {"convolution"},
    "matrix products": {"dot"},
    "gathers, scatters": {"gather", "scatter"},
    "reductions": {"reduce", "reduce-window", "select-and-scatter", "sort"},
    "library calls": {"custom-call"},
}
"""The first kind of which an operation contains something is its kind."""
ELEMENTWISE, COPIES = "elementwise", "copies"
MOVES = {"parameter", "constant", "iota", "copy", "bitcast", "broadcast", "concatenate", "convert", "dynamic-slice"}
MOVES |= {"dynamic-update-slice", "tuple", "get-tuple-element", "pad", "reshape", "reverse", "slice", "transpose"}
MOVES |= {"fusion", "bitcast-convert"}
"""What only moves numbers; an operation of nothing else is a copy, any other is done element by element."""
ALL_KINDS = (*KINDS, ELEMENTWISE, COPIES, BETWEEN)
COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) .*\{$")
INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?([\w.\-]+) = .*? ([a-z][a-z0-9\-]*)\(")
CALLED = re.compile(r"(?:calls|to_apply)=%?([\w.\-]+)")


def workload(name: str, steps: int | None, log: Log) -> dict[str, Any]:
    """Milliseconds per step by kind of operation, and the longest operations; or why there are none."""
    steps = steps or max(LEAST, find(name).steps // SHORTEN)
    with tempfile.TemporaryDirectory() as folder:
        try:
            with Worker(OURS, name, {"XLA_FLAGS": f"{FLAGS}{folder}/programs"}) as worker:
                worker.ask("warm_up", steps=steps)
                seconds = worker.ask("profile", folder=f"{folder}/trace")["seconds"]
            found = told(operations(pathlib.Path(folder)), 1e6 * seconds, steps)
        except (WorkerError, OSError, ValueError) as error:
            found = {"failed": str(error)}
    log(f"{name}: {found.get('failed') or {kind: round(ms, 3) for kind, ms in found['kinds'].items()}}")
    return found


def told(seen: dict[str, tuple[str, int, float]], total: float, steps: int) -> dict[str, Any]:
    """What `workload` gives, of kinds, counts and microseconds of operations in an epoch of `total` microseconds."""
    if not seen:
        return {"failed": "the trace has no events of single operations on this device"}
    kinds = dict.fromkeys(ALL_KINDS, 0.0)
    for kind, _, time in seen.values():
        kinds[kind] += time / steps / 1e3
    kinds[BETWEEN] = max(0.0, total / steps / 1e3 - sum(kinds.values()))
    longest = sorted(seen.items(), key=lambda item: -item[1][2])[:TOP]
    top = [[name, kind, count / steps, time / steps / 1e3] for name, (kind, count, time) in longest]
    return {"kinds": kinds, "top": top, "ms": total / steps / 1e3}


def operations(folder: pathlib.Path) -> dict[str, tuple[str, int, float]]:
    """By operation: its kind, how often it ran, and the microseconds that count as its own."""
    kinds: dict[str, str] = {}
    for path in sorted(folder.glob("programs/*after_optimizations.txt")):
        kinds |= {f"{path.name.split('.')[1]}/{op}": kind for op, kind in kinds_in(path.read_text()).items()}
    traces = [json.loads(gzip.decompress(path.read_bytes())) for path in folder.glob("trace/**/*.trace.json.gz")]
    runs = list(intervals([event for trace in traces for event in trace["traceEvents"]]))
    counts = collections.Counter(name for name, _, _ in runs)
    own = shares(runs)
    return {name: (kinds.get(name, ELEMENTWISE), counts[name], own[name]) for name in counts}


def intervals(events: Iterable[dict[str, Any]]) -> Iterator[tuple[str, float, float]]:
    """For each run of an operation in a trace: the program's name and its own, when it began, when it ended.

    Some hand their work to other threads and return: their event is short, and another one, "end: …", tells the end.
    """
    complete = sorted((e for e in events if e.get("ph") == "X"), key=lambda event: event["ts"])
    ends = collections.defaultdict(collections.deque)
    for event in complete:
        if event["name"].startswith("end: "):
            ends[event["name"].removeprefix("end: ")].append(event["ts"])
    for event in complete:
        args, stop = event.get("args", {}), event["ts"] + event["dur"]
        if "hlo_op" in args and args["hlo_op"].split(".")[0] not in CONTROL:
            own = ends[args["hlo_op"]]
            while own and own[0] < event["ts"]:
                own.popleft()
            yield f"{args['hlo_module']}/{args['hlo_op']}", event["ts"], max(stop, own.popleft() if own else stop)


def shares(runs: list[tuple[str, float, float]]) -> dict[str, float]:
    """The time of each operation, where several run at once divided among them: the sum is the time that any ran."""
    edges = sorted([(began, 1, name) for name, began, _ in runs] + [(ended, -1, name) for name, _, ended in runs])
    running: collections.Counter[str] = collections.Counter()
    own: dict[str, float] = collections.defaultdict(float)
    last = 0.0
    for now, change, name in edges:
        active = sum(running.values())
        for other, times in running.items():
            own[other] += (now - last) * times / active
        running[name] += change
        running += collections.Counter()  # without what has ended
        last = now
    return own


def kinds_in(text: str) -> dict[str, str]:
    """The kind of each operation of a program in XLA's text."""
    codes, calls, inside = parsed(text)

    def contained(name: str) -> set[str]:
        called = inside.get(calls.get(name, ""), [])
        return {codes[name]}.union(*(contained(other) for other in called))

    return {name: kind_of(contained(name)) for name in codes}


def kind_of(codes: set[str]) -> str:
    found = (kind for kind, own in KINDS.items() if codes & own)
    return next(found, COPIES if codes <= MOVES else ELEMENTWISE)


def parsed(text: str) -> tuple[dict[str, str], dict[str, str], dict[str, list[str]]]:
    """By operation its code and the computation it calls; by computation its operations."""
    codes, calls, inside = {}, {}, collections.defaultdict(list)
    computation = ""
    for line in text.splitlines():
        if header := COMPUTATION.match(line):
            computation = header[1]
        elif found := INSTRUCTION.match(line):
            name, codes[found[1]] = found[1], found[2]
            inside[computation].append(name)
            if found[2] in ("fusion", "call") and (called := CALLED.search(line)):
                calls[name] = called[1]
    return codes, calls, inside
