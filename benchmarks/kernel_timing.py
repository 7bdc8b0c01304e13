"""Times two ways to compute the same, in turns in one process.

    python -m benchmarks.kernel_timing

writes one line of JSON for each case of `kernel_cases`.
"""

import dataclasses
import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

ROUNDS = 7
LENGTH = 0.015
"""Seconds of a measurement at least: so many runs in a row."""
TOGETHER = 2
"""How many programs compile at once; what is timed is always alone."""


@dataclasses.dataclass(frozen=True)
class Numbers:
    """An array that is yet to be drawn: normal numbers around a mean, or whole ones below a bound."""

    shape: tuple[int, ...]
    dtype: Any = np.float32
    mean: float = 0.0
    below: int = 0

    def drawn(self, seed: int) -> np.ndarray:
        generator = np.random.default_rng([seed, *self.shape])
        if self.below:
            return generator.integers(0, self.below, self.shape, self.dtype)
        return np.float32(self.mean) + np.float32(0.1) * generator.standard_normal(self.shape, np.float32)


@dataclasses.dataclass(frozen=True)
class Case:
    """Two functions of the same arrays.

    Args:
        family, title: what the report calls it.
        ours, theirs: with kjax's kernels, and in plain JAX.
        operands: what is drawn for both.
        place: what is done to the operands for ours.
        looped: whether theirs runs in a loop too.
        lowered: whether kjax has a lowering in JAX where it calls no kernel.
    """

    family: str
    title: str
    ours: Callable[..., Any]
    theirs: Callable[..., Any]
    operands: Sequence[Numbers]
    place: Callable[[Any], Any] = jnp.asarray
    looped: bool = True
    lowered: bool = False

    def drawn(self) -> list[np.ndarray]:
        return [numbers.drawn(seed) for seed, numbers in enumerate(self.operands)]


Run = Callable[[int], float]
"""Runs an operation so many times; the seconds of one."""


def compiled(case: Case) -> tuple[Case, Run, Run, str]:
    """Both of a case's functions, ready to run, and by what kjax's is carried out."""
    operands = case.drawn()
    ours, program = looped(case.ours, tuple(map(case.place, operands)))
    operands = tuple(map(jnp.asarray, operands))
    theirs = looped(case.theirs, operands)[0] if case.looped else single(case.theirs, operands)
    by = "C" if '"kjax_' in program else "JAX" if case.lowered else "XLA"
    return case, ours, theirs, by


def looped(function: Callable, operands: Any) -> tuple[Run, str]:
    """In a compiled loop whose length is data; and the program's text."""

    def body(_: Any, carried: Any) -> Any:
        # The barrier makes the operands look new in each turn, or XLA would compute once for all.
        return lax.optimization_barrier((carried[0], function(*carried[0])))

    def program(turns: Array, carried: Any) -> Any:
        return lax.fori_loop(0, turns, body, carried)

    results = jax.tree.map(lambda y: jnp.zeros(y.shape, y.dtype), jax.eval_shape(function, *operands))
    held = [jax.tree.map(jnp.copy, (operands, results))]
    made = jax.jit(program, donate_argnums=1).lower(jnp.int32(1), held[0]).compile()

    def run(turns: int) -> float:
        began = time.perf_counter()
        held[0] = jax.block_until_ready(made(jnp.int32(turns), held[0]))
        return (time.perf_counter() - began) / turns

    return run, made.as_text()


def single(function: Callable, operands: Any) -> Run:
    """One call after the other."""
    made = jax.jit(function).lower(*operands).compile()

    def run(turns: int) -> float:
        began = time.perf_counter()
        for _ in range(turns):
            jax.block_until_ready(made(*operands))
        return (time.perf_counter() - began) / turns

    return run


def timed(ours: Run, theirs: Run) -> tuple[list[float], list[float]]:
    """Milliseconds of each in each round, whose order changes."""
    sides = [(run, turns(run), []) for run in (ours, theirs)]
    for number in range(ROUNDS):
        for run, many, seconds in sides[:: 1 if number % 2 else -1]:
            seconds.append(1e3 * run(many))
    return sides[0][2], sides[1][2]


def turns(run: Run) -> int:
    """So many that a measurement is long enough; the first run is warming up."""
    run(1)
    return max(1, round(LENGTH / run(2)))


def main() -> None:
    """All cases. Pages are kept, or the first touch of memory would be timed for what runs outside of a loop."""
    from kjax.utils import keep_pages

    keep_pages()
    from benchmarks.kernel_cases import cases

    for case, ours, theirs, by in list(ThreadPoolExecutor(TOGETHER).map(compiled, cases())):
        milliseconds = timed(ours, theirs)
        found = {"by": by, "ours": milliseconds[0], "theirs": milliseconds[1]}
        print(json.dumps({"family": case.family, "title": case.title, **found}), flush=True)


if __name__ == "__main__":
    main()
