"""NaN and infinity in training: which step, which layer, which examples, and the model as it was before.

While training goes well, it costs a copy of the state now and then, and a look at the loss and the weights. When they
are bad, the steps since the last copy are run again to find the first bad one, and that one layer by layer.
"""

import dataclasses
import functools
import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kjax.callbacks.base import Hooks
from kjax.compiled import KEPT, Compiled, kind
from kjax.diagnosis import Cause, bad_weights, cause
from kjax.probes import floats
from kjax.steps import take_rows

SHARE = 100
"""Training runs this many times as long as a look takes before the next one: so looks take one percent."""
FIRST_SECONDS = 0.5
"""How long it runs after the first look, which may have compiled."""
KEPT_BYTES = 2**28
"""How much streamed data may be kept for running steps again."""


@dataclasses.dataclass(frozen=True)
class Fault:
    """Where the numbers of a training went bad; `str()` of it tells.

    Args:
        epoch: counted from 0, as callbacks count.
        batch: the batch of this epoch, counted from 0.
        steps: the number of batches in an epoch; None where nobody knows.
        rows: the batch's examples, as rows of the data; None where they have no numbers.
        loss: of this batch; None where the weights were bad before it.
        layer: the path of the first layer with a bad output or gradient, `block/dense_1`; "" where it is none.
        bad_rows: those of the examples where it is bad, where that can be told.
        said: what is bad there.
        advice: what to try.
    """

    epoch: int
    batch: int
    steps: int | None
    rows: np.ndarray | None
    loss: float | None
    layer: str
    bad_rows: np.ndarray | None
    said: str
    advice: str

    def __str__(self) -> str:
        after = "the weights are not finite before" if self.loss is None else "the weights are no longer finite after"
        what = after if self.loss is None or math.isfinite(self.loss) else f"the loss is {self.loss} at"
        of = "" if self.steps is None else f" of {self.steps}"
        which = "" if self.rows is None else f" (rows {some(self.rows)} of x)"
        where = "" if self.bad_rows is None or len(self.bad_rows) == 0 else f" (for rows {some(self.bad_rows)} of x)"
        return (
            f"{what} epoch {self.epoch + 1}, batch {self.batch + 1}{of}{which}: {self.said}{where}.\nWhat may help: "
            f"{self.advice}.\nThe model keeps its state from before this step."
        )


class Dispatch(NamedTuple):
    """Steps that are run at once: what `train_rows` takes for them, and what is known of them.

    `examples(step)` gives the rows of the data that a step of the epoch takes; None where they have no numbers.
    """

    compiled: Compiled
    sums: Any
    batches: tuple[Any, ...]
    padded: bool
    epoch: int
    steps: range
    of: int | None
    examples: Callable[[int], np.ndarray] | None

    def run(self, state: Any, first: int, stop: int) -> tuple[Any, Any]:
        """The state after some of the steps, counted within these, and the sums over them; `state` lives on."""
        data, rows, start, _ = self.batches
        ends = jax.device_put((np.int32(int(start) + first), np.int32(int(start) + stop)))
        return self.compiled.train_rows(
            snapshot(state, ())[0], self.sums.empty(), data, rows, *ends, padded=self.padded
        )

    def batch(self, step: int) -> tuple[Any, Any]:
        """The batch of one of the steps, and which of its rows are examples."""
        data, rows, start, _ = self.batches
        return take_rows(data, rows[int(start) + step], self.padded)


class Watch:
    """Looks whether the loss and the weights of a training are finite.

    Args:
        model: what is trained.
        hooks: its callbacks; those with a hook `on_run_fault` are told.
        strict: whether a fault raises `FloatingPointError`.

    A look takes the time of a copy of the state, so it is not taken after every dispatch of a few milliseconds; the
    loss of an epoch, which is fetched anyway, always counts.
    """

    def __init__(self, model: Any, hooks: Hooks, strict: bool):
        self.model, self.hooks, self.strict = model, hooks, strict
        self.on = strict or hooks.hears("on_run_fault")
        self._kept: Any = None
        self._since: list[Dispatch] = []
        self._last: tuple[Any, Any] = (None, ())
        self._looks, self._cost, self._due, self._bytes = 0, math.inf, 0.0, 0

    def before(self, number: int, epoch: Any, steps: range, batches: tuple[Any, ...], padded: bool) -> bool:
        """To be called with the epoch's number and `loop.Pass` and what its next dispatch is to run; True where the
        state that it begins with is bad."""
        if not self.on:
            return False
        known = number, steps, epoch.steps, epoch.examples
        dispatch = Dispatch(self.model.compiled, epoch.sums, batches, padded, *known)
        changed = self._since and dispatch.compiled is not self._since[-1].compiled
        if self.model.state is not self._last[0] or changed:  # by a callback, or at the beginning
            if self._since and self._look():
                return True
            self._last = self.model.state, ()
            if self._look(dispatch):
                return True
        if not self._since or dispatch.batches[0] is not self._since[-1].batches[0]:
            self._bytes += sum(a.nbytes for a in jax.tree.leaves(dispatch.batches[0]))
        self._since.append(dispatch)
        return False

    def after(self, totals: Any) -> bool:
        """To be called after each dispatch with the sums over the epoch; True where something is bad."""
        if not self.on:
            return False
        self._last = self.model.state, totals["loss"]
        streamed = self._bytes > KEPT_BYTES and self._since[0].batches[0] is not self._since[-1].batches[0]
        return (streamed or time.perf_counter() >= self._due) and self._look()

    def end(self, loss: float = math.nan) -> bool:
        """To be called after each epoch with its loss, and without at the end; True where something is bad."""
        return bool(self.on and self._since) and not math.isfinite(loss) and self._look()

    def _look(self, coming: Dispatch | None = None) -> bool:
        """Whether the numbers are bad; if not, the state is kept. `coming` would be the first dispatch from it."""
        jax.block_until_ready(self._last)
        began = time.perf_counter()
        copy, good = snapshot(*self._last)
        if not bool(good):
            self._report(*((unfit(self.model, coming), self.model.state) if coming else self._found()))
            return True
        self._kept, self._since, self._bytes = copy, [], 0
        now = time.perf_counter()
        self._looks, self._cost = self._looks + 1, min(self._cost, now - began)
        self._due = now + (SHARE * self._cost if self._looks > 1 else FIRST_SECONDS)
        return False

    def _report(self, fault: Fault, good: Any) -> None:
        self.model.state, self.model.stop_training, self._since = good, True, []
        self._last = (None, ())
        self.hooks.call_run("on_run_fault", fault)
        if self.strict:
            raise FloatingPointError(str(fault))

    def _found(self) -> tuple[Fault, Any]:
        """The fault, and the state before it."""
        dispatch, good = self._dispatch()
        step, good = first_bad(dispatch, good)
        after, totals = dispatch.run(good, step, step + 1)
        batch, valid = dispatch.batch(step)
        found = cause(dispatch.compiled.trainer, good, batch, valid, after)
        loss = dispatch.sums.logs(totals)["loss"]
        return described(dispatch, dispatch.steps[step], loss, found), good

    def _dispatch(self) -> tuple[Dispatch, Any]:
        """The first bad dispatch, and the state before it."""
        state = self._kept
        for dispatch in self._since[:-1]:
            after, totals = dispatch.run(state, 0, len(dispatch.steps))
            if not fine(after, totals):
                return dispatch, state
            state = after
        return self._since[-1], state


def first_bad(dispatch: Dispatch, state: Any) -> tuple[int, Any]:
    """The first bad step of a dispatch, and the state before it, in steps that halve what is left."""
    low, high = 0, len(dispatch.steps)
    while high - low > 1:
        middle = (low + high) // 2
        after, totals = dispatch.run(state, low, middle)
        if fine(after, totals):
            low, state = middle, after
        else:
            high = middle
    return low, state


def described(dispatch: Dispatch, batch: int, loss: float, found: Cause) -> Fault:
    """The fault that a cause is, with the examples by their rows in the data."""
    rows = None if dispatch.examples is None else dispatch.examples(batch)
    bad = None if rows is None or found.rows is None else np.sort(rows[found.rows[found.rows < len(rows)]])
    return Fault(dispatch.epoch, batch, dispatch.of, rows, loss, found.layer, bad, found.said, found.advice)


def unfit(model: Any, coming: Dispatch) -> Fault:
    """The fault of a model that is bad before a step."""
    layer, said = bad_weights(model.state) or ("", "they are at the edge of their range")
    advice = "make the model anew, or load other weights"
    return Fault(coming.epoch, coming.steps[0], coming.of, None, None, layer, None, said, advice)


def some(rows: np.ndarray) -> str:
    """`5, 91, 312`, of many the first."""
    shown = ", ".join(str(row) for row in rows[:8])
    return shown if len(rows) <= 8 else f"{shown}, … {len(rows)} in all"


def snapshot(state: Any, loss: Any) -> tuple[Any, jax.Array]:
    """A copy of a state, and whether it and the sums of the loss are finite, in one program."""
    return _snapshot(kind((state, loss)))(state, loss)


@functools.lru_cache(maxsize=KEPT)
def _snapshot(arrays: Any) -> Callable:
    def snapshot(state: Any, loss: Any) -> tuple[Any, jax.Array]:
        own = floats((state.params, state.state, loss))
        good = [jnp.isfinite(a).all() for a in own]
        return jax.tree.map(jnp.copy, state), jnp.stack(good).all() if good else jnp.array(True)

    return jax.jit(snapshot)


def fine(state: Any, totals: Any) -> bool:
    """Whether the numbers after some steps are finite."""
    return bool(snapshot(state, totals["loss"])[1])
