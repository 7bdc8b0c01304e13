"""Where the time of kjax's train step goes, by kind of operation: JAX's profiler and XLA's own text of the program.

XLA's CPU runtime notes each operation that a thread begins, if asked to, with the program's name and the operation's,
and each task that a thread does for another one's operation. What an operation is, a fusion above all, is read from
the optimised program that XLA writes out.
"""

import collections
import pathlib
import re
import tempfile
from collections.abc import Iterator
from typing import Any, NamedTuple

from benchmarks.client import Worker, WorkerError
from benchmarks.figures import OURS
from benchmarks.measure import Log
from benchmarks.workloads import find

FLAGS = "--xla_cpu_enable_xprof_traceme=true --xla_dump_hlo_as_text --xla_dump_hlo_module_re=.*train.* --xla_dump_to="
SHORTEN, LEAST = 8, 24
"""A trace has an eighth of a measurement's steps: it grows by thousands of events with each."""
TOP = 4
HAND_OVER, START, STOP = HANDED = [f"ThreadpoolListener::{what}" for what in ("Record", "StartRegion", "StopRegion")]
"""A thread hands a task over to another one, one starts with a task, one has done it: moments, not spans."""
EXECUTOR = "ThunkExecutor::Execute"
"""Goes through a program's operations; not always inside the event of one that runs others."""
CONTROL = ("while", "conditional", "call")
"""Operations that only run others; their own time is part of `BETWEEN`."""
BETWEEN = "between operations"
"""Loops, dispatch, waiting for the other thread, the program that calls."""
KINDS = {
    "convolutions": {"convolution"},
    "matrix products": {"dot"},
    "gathers, scatters": {"gather", "scatter"},
    "reductions": {"reduce", "reduce-window", "select-and-scatter", "sort"},
    "other kernels in C": {"custom-call"},
}
"""The first kind of which an operation contains something is its kind."""
KERNELS = {"conv": "convolutions", "product": "matrix products"}
"""The kinds of kjax's own kernels whose names begin so."""
ELEMENTWISE, COPIES = "elementwise", "copies"
MOVES = {"parameter", "constant", "iota", "copy", "bitcast", "broadcast", "concatenate", "convert", "dynamic-slice"}
MOVES |= {"dynamic-update-slice", "tuple", "get-tuple-element", "pad", "reshape", "reverse", "slice", "transpose"}
MOVES |= {"fusion", "bitcast-convert"}
"""What only moves numbers; an operation of nothing else is a copy, any other is done element by element."""
ALL_KINDS = (*KINDS, ELEMENTWISE, COPIES, BETWEEN)
COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) .*\{$")
INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?([\w.\-]+) = .*? ([a-z][a-z0-9\-]*)\(")
KERNEL = re.compile(r'custom_call_target="kjax_(\w+?)_kernels_')
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
    kernels: dict[str, str] = {}
    for path in sorted(folder.glob("programs/*after_optimizations.txt")):
        program, text = path.name.split(".")[1], path.read_text()
        kinds |= {f"{program}/{op}": kind for op, kind in kinds_in(text).items()}
        kernels |= {f"{program}/{op}": f" {kernel}" for op, kernel in kernels_in(text).items()}
    events = [event for path in folder.glob("trace/**/*.xplane.pb") for event in recorded(path)]
    counts = collections.Counter(operation for event in events if (operation := event.operation))
    own = own_times(events)
    return {
        name + kernels.get(name, ""): (kinds.get(name, ELEMENTWISE), count, own.get(name, 0.0))
        for name, count in counts.items()
    }


class Event(NamedTuple):
    """What a thread did, from when to when in microseconds, and what XLA notes about it."""

    thread: str
    name: str
    began: float
    ended: float
    notes: dict[str, Any] = {}  # noqa: RUF012 - read only

    @property
    def operation(self) -> str:
        """The program's name and the operation's; "" for what is none, or only runs others."""
        op = self.notes.get("hlo_op", "")
        return f"{self.notes['hlo_module']}/{op}" if op and op.split(".")[0] not in CONTROL else ""

    @property
    def runs_others(self) -> bool:
        """Whether operations run inside, one after another."""
        return "hlo_op" in self.notes or self.name.startswith(EXECUTOR)


def recorded(path: pathlib.Path) -> Iterator[Event]:
    """The events of a trace that count here."""
    from jax.profiler import ProfileData

    for plane in ProfileData.from_file(str(path)).planes:
        for i, line in enumerate(plane.lines):
            for e in line.events:
                event = Event(f"{plane.name} {i}", e.name, e.start_ns / 1e3, e.end_ns / 1e3, dict(e.stats))
                if event.runs_others or event.name in HANDED:
                    yield event


def own_times(events: list[Event]) -> dict[str, float]:
    """The time of each operation; while several threads work it is divided among them, so the sum is when any did."""
    own: dict[str, float] = collections.defaultdict(float)
    threads, last = Threads(), 0.0
    for now, event, begins in edges(events):
        working = threads.working()
        for operation in working:
            own[operation] += (now - last) / len(working)
        (threads.begin if begins else threads.end)(event)
        last = now
    return own


def edges(events: list[Event]) -> list[tuple[float, Event, bool]]:
    """Where events begin and end, in order: what contains another begins before it."""
    spans = [e for e in events if e.ended > e.began and e.name not in HANDED]
    found = [(e.ended, 0, 0.0, e) for e in spans]
    found += [(e.began, 1, e.began - e.ended, e) for e in [*spans, *(e for e in events if e.name in HANDED)]]
    return [(now, event, bool(begins)) for now, begins, _, event in sorted(found, key=lambda edge: edge[:3])]


class Threads:
    """What each thread works on, as a trace is gone through.

    XLA splits an operation into tasks for its threads. The operation's own event tells only of the thread that begins
    it, and ends while others still work; the event "end: …" comes when the thread that did the last task has also
    done all that could run next, which may be the rest of the step. Each task is noted, though, where it is handed
    over and where it is done, with a number: a task belongs to the operation that handed it over.
    """

    def __init__(self) -> None:
        self._doing: dict[str, list[tuple[Any, str]]] = collections.defaultdict(list)
        self._tasks: dict[Any, str] = {}

    def working(self) -> list[str]:
        """The operations of the threads that work on one."""
        return [stack[-1][1] for stack in self._doing.values() if stack and stack[-1][1]]

    def begin(self, event: Event) -> None:
        stack = self._doing[event.thread]
        if event.name == HAND_OVER:
            self._tasks[event.notes["_p"]] = stack[-1][1] if stack else ""
        elif event.name == START:
            stack.append((START, self._tasks.pop(event.notes["_c"], "")))
        elif event.name == STOP:
            self._leave(event.thread, START)
        else:
            if stack and stack[-1][0] is START:
                stack[-1] = (START, "")  # the task is done: what follows is the operations that waited for it
            stack.append((event, event.operation))

    def end(self, event: Event) -> None:
        self._leave(event.thread, event)

    def _leave(self, thread: str, what: Any) -> None:
        """Takes the innermost of its kind away; a trace may begin within one."""
        stack = self._doing[thread]
        found = [i for i, (entered, _) in enumerate(stack) if entered is what]
        del stack[found[-1] if found else len(stack) :]


def kinds_in(text: str) -> dict[str, str]:
    """The kind of each operation of a program in XLA's text."""
    codes, calls, inside = parsed(text)

    def contained(name: str) -> set[str]:
        called = inside.get(calls.get(name, ""), [])
        return {codes[name]}.union(*(contained(other) for other in called))

    kernels = kernels_in(text).items()
    known = {name: kind for name, kernel in kernels for key, kind in KERNELS.items() if kernel.startswith(key)}
    return {name: known.get(name) or kind_of(contained(name)) for name in codes}


def kernels_in(text: str) -> dict[str, str]:
    """By operation of a program the kernel of kjax's that it calls: XLA has one name for all of them."""
    found = ((INSTRUCTION.match(line), KERNEL.search(line)) for line in text.splitlines())
    return {operation[1]: kernel[1] for operation, kernel in found if operation and kernel}


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
