"""The runner's end of a worker: starts the process, gives orders, reads answers."""

import json
import os
import pathlib
import select
import subprocess
import sys
import tempfile
from typing import Any

from benchmarks.peers import PEERS

ROOT = pathlib.Path(__file__).resolve().parent.parent
LIMIT = 900
"""Seconds after which a worker counts as hung."""


class WorkerError(Exception):
    """An order failed; says why in one line."""


class Worker:
    """One peer on one workload, in a process of its own."""

    def __init__(self, peer: str, workload: str, env: dict[str, str] | None = None):
        self.peer, self.workload = peer, workload
        self._errors = tempfile.TemporaryFile(mode="w+")  # noqa: SIM115 - closed with the process
        command = [sys.executable, "-m", "benchmarks.worker", peer, workload]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self._errors, "text": True}
        self._process = subprocess.Popen(command, cwd=ROOT, env=environment(peer, env), **pipes)

    def ask(self, order: str, **arguments: Any) -> dict[str, Any]:
        """Gives an order and waits for the answer.

        Raises:
            WorkerError: it failed, the process ended, or it took too long.
        """
        self._send({"do": order, **arguments})
        answer = self._receive()
        if "error" in answer:
            raise WorkerError(answer["error"])
        return answer

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.communicate()
        self._errors.close()

    def errors(self) -> str:
        """What the process has written to its error stream."""
        self._errors.seek(0)
        return self._errors.read()

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def _send(self, order: dict[str, Any]) -> None:
        try:
            print(json.dumps(order), file=self._process.stdin, flush=True)
        except BrokenPipeError:
            raise WorkerError(self._last_words()) from None

    def _receive(self) -> dict[str, Any]:
        if not select.select([self._process.stdout], [], [], LIMIT)[0]:
            raise WorkerError(f"no answer within {LIMIT} s")
        line = self._process.stdout.readline()
        if not line:
            raise WorkerError(self._last_words())
        return json.loads(line)

    def _last_words(self) -> str:
        lines = self.errors().strip().splitlines()
        return lines[-1][:200] if lines else f"ended with status {self._process.poll()}"


SHARED_GPU = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "TF_FORCE_GPU_ALLOW_GROWTH": "true"}
"""All peers of a workload hold their memory at once: none may take the whole device."""
CACHES = ("JAX_COMPILATION_CACHE_DIR", "JAX_PERSISTENT_CACHE_", "TORCHINDUCTOR_CACHE_DIR", "KJAX_COMPILATION_CACHE")
"""Beginnings of the names of all settings of the peers' compilation caches."""
UNCOMPILED = "PYTHONDONTWRITEBYTECODE"
"""With this setting kjax alone would be compiled to bytecode at each start: pip has done so with the peers."""
NO_CACHE = {"KJAX_COMPILATION_CACHE": "off"}
"""kjax's is the only one that is on by itself and would outlive a run that is to compile."""


def environment(peer: str, more: dict[str, str] | None = None) -> dict[str, str]:
    """This process's environment with what the peer needs; no compilation cache unless `more` names one."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith((*CACHES, UNCOMPILED))}
    return {**inherited, **SHARED_GPU, **NO_CACHE, **PEERS[peer].env, **(more or {})}
