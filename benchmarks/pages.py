"""What `kjax.utils.keep_pages` gains and costs: kjax with and without it, in alternation.

`fit` runs its steps in one compiled loop, which asks for memory once; `train_on_batch` asks at every step.
"""

import statistics
import time
from contextlib import ExitStack
from typing import Any

from benchmarks import figures
from benchmarks.client import Worker
from benchmarks.figures import OURS
from benchmarks.measure import PAUSE, Log, alternate
from benchmarks.tables import number, range_of, table
from benchmarks.workloads import WORKLOADS, find

NAMES = ("mnist_cnn", "char_gpt")
KINDS = {"as it is": {}, "kept": {"BENCHMARKS_KEEP_PAGES": "1"}}
"""What the processes are given in their environment; see `worker.main`."""
CALLS = 16
"""Single steps of a measurement."""


def workload(name: str, rounds: int, steps: int | None, log: Log) -> dict[str, Any]:
    """By kind: milliseconds per step of `fit` and of `train_on_batch` in each round, and bytes at the peak."""
    steps = steps or find(name).steps
    with ExitStack() as stack:
        workers = {kind: stack.enter_context(Worker(OURS, name, env)) for kind, env in KINDS.items()}
        for worker in workers.values():
            worker.ask("warm_up", steps=steps)
            worker.ask("train_on_batch", calls=1)
        timed, _ = alternate(workers, rounds, {}, log)
        single = {kind: [] for kind in workers}
        for number_of_round in range(rounds):
            for kind in list(workers)[:: 1 if number_of_round % 2 else -1]:
                single[kind].append(one_by_one(workers[kind]))
        return {
            kind: {"fit": [1e3 * s / steps for s in timed[kind]], "single": single[kind], **worker.ask("memory")}
            for kind, worker in workers.items()
        }


def one_by_one(worker: Worker) -> float:
    """Milliseconds of a step by itself, the median of some."""
    time.sleep(PAUSE)
    return 1e3 * statistics.median(worker.ask("train_on_batch", calls=CALLS)["seconds"])


def section(found: dict[str, Any]) -> str:
    """The part of the report."""
    header = ["", "pages", "`fit`, ms per step", "kept / as it is", "`train_on_batch`, ms", "kept / as it is", "MB"]
    rows = [row(name, kind, found[name]["kinds"]) for name in NAMES if name in found for kind in KINDS]
    return f"""## Kept pages

kjax alone, with and without `kjax.utils.keep_pages()`, which has the C library keep freed memory for the next step:
`fit` (one compiled loop), `train_on_batch` (each step asks for memory anew), and the most that was resident. Medians
(least–most).

{table(header, rows)}"""


def row(name: str, kind: str, kinds: dict[str, Any]) -> list[str]:
    plain, own = kinds["as it is"], kinds[kind]
    cells = []
    for measure in ("fit", "single"):
        ratio = figures.quotient(own[measure], plain[measure]) if own is not plain else None
        cells += [range_of(figures.spread(own[measure])), range_of(ratio)]
    return [WORKLOADS[name].title, kind, *cells, number(own["bytes"] / 2**20)]
