"""Each kernel of kjax on CPU against XLA's own operation, on the shapes of the benchmark's workloads: the runner's end.

`kernel_cases` has the cases and times them, in a process of its own.
"""

import json
import pathlib
import statistics
import subprocess
import sys
import tomllib
from typing import Any

from benchmarks import figures
from benchmarks.client import ROOT, environment
from benchmarks.figures import OURS
from benchmarks.measure import Log
from benchmarks.tables import range_of, table

Cases = dict[str, dict[str, Any]]
NOTES = pathlib.Path(__file__).with_name("notes.toml")
LIMIT = 1.0
"""Of kjax's time over XLA's."""


def measured(log: Log) -> dict[str, Cases]:
    """By family, then by case: milliseconds of kjax's and of XLA's in each round, and whose kernel was called."""
    command = [sys.executable, "-m", "benchmarks.kernel_timing"]
    env = environment(OURS, {"JAX_PLATFORMS": "cpu"})
    with subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True) as process:
        found = gathered(map(json.loads, process.stdout), log)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command[1:])} ended with status {process.returncode}")
    return found


def gathered(told: Any, log: Log) -> dict[str, Cases]:
    """What the process tells, one case after the other."""
    found: dict[str, Cases] = {}
    for case in told:
        found.setdefault(case.pop("family"), {})[case.pop("title")] = case
        log(f"kernels: {case['ours'][-1]:.3f} ms, XLA's {case['theirs'][-1]:.3f}")
    return found


def section(found: dict[str, Any]) -> str:
    """The part of the report."""
    header = ["", "by", "kjax, µs", "XLA's own, µs", "kjax / XLA"]
    tables = [
        f"### {family}\n\n{table(header, [row(t, c) for t, c in own['cases'].items()])}"
        for family, own in found.items()
    ]
    return f"""## Kernels on CPU

Each operation as kjax's layers call it, and as it is written in plain JAX, on the shapes of the workloads above, in
float32: in a compiled loop, in turns in one process, which keeps its pages; median (least–most). XLA's own gradients of
convolutions are timed outside of the loop, where they are up to 80 times faster. *C* is a kernel of kjax's own, *JAX* a
lowering in JAX; where it is *XLA*, both sides are the same, and what the ratio is then is chance.

{told(found)}
{chr(10).join(tables)}"""


def told(found: dict[str, Any]) -> str:
    """How many there are, how fast, and which are slower than XLA's own."""
    ratios = {
        f"{family}, {title}": ratio(case)
        for family, own in found.items()
        for title, case in own["cases"].items()
        if case["by"] != "XLA"
    }
    slower = {title: value for title, value in ratios.items() if value.median > LIMIT}
    always = sum(value.least > LIMIT for value in slower.values())
    median = f"{statistics.median(value.median for value in ratios.values()):.2f}" if ratios else "unknown"
    text = f"{len(ratios)} cases with a kernel or lowering of kjax's own, at a median ratio of {median}. {len(slower)} "
    text += f"are above {LIMIT:g}, {always} of them in every round:\n\n"
    lines = "".join(f"- {title}: {range_of(value)}\n" for title, value in slower.items())
    return f"{text}{lines}\n{tomllib.loads(NOTES.read_text())['kernels'].strip()}\n" if slower else text


def ratio(case: dict[str, Any]) -> figures.Spread:
    return figures.spread([a / b for a, b in zip(case["ours"], case["theirs"], strict=True)])


def row(title: str, case: dict[str, Any]) -> list[str]:
    both = [figures.spread([1e3 * ms for ms in case[side]]) for side in ("ours", "theirs")]
    return [title, case["by"], *map(range_of, both), range_of(ratio(case))]
