"""The raw figures in a file: what is measured anew replaces its own part, the rest stays."""

import datetime
import json
import os
import pathlib
from typing import Any


def load(path: pathlib.Path) -> dict[str, Any]:
    """What the file holds, or nothing."""
    return json.loads(path.read_text()) if path.exists() else {}


def save(path: pathlib.Path, results: dict[str, Any]) -> None:
    """Writes the file anew."""
    path.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")


def merged(old: Any, new: Any) -> Any:
    """`old` with what `new` has. Down to single workloads and measures, which are replaced as a whole."""
    return {**old, **{part: {**old.get(part, {}), **values} for part, values in new.items()}}


def stamped(figures: dict[str, Any]) -> dict[str, Any]:
    """Figures with the day they were taken on and the machine, as far as it matters."""
    return {**figures, "date": datetime.date.today().isoformat(), "machine": machine()}


def machine() -> dict[str, Any]:
    """Cores that this process may use, and memory."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {"cores": cores, "memory_gb": round(memory), "processor": processor()}


def processor() -> str:
    """The processor's name, where the system tells it."""
    path = pathlib.Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
