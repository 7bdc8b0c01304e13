"""The loops behind `fit` and `evaluate`: data on the device once, many steps per dispatch, logs out to callbacks."""

import _signal as signal  # type: ignore[import-not-found]  # what `signal` wraps in enums, which takes 15 µs
import contextlib
import dataclasses
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from kjax import feed
from kjax.callbacks import History, LambdaCallback
from kjax.callbacks.base import Callback, Hooks, overrides
from kjax.compiled import Compiled, shuffle_seed
from kjax.data import batch_rows
from kjax.data import rows as examples
from kjax.progress import Progress

SHOWN_SECONDS, SILENT_SECONDS = 0.4, 1.0
"""How long one dispatch should take: with a bar, which is to move a few times a second, and without, where only
Ctrl-C waits. Longer ones are faster: what a dispatch allocates is first touched once, not once a step. A convolution
network of 87 ms a step took 97 with two steps a dispatch, 118 with one."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """How long `fit` runs and in what order: its arguments of the same names."""

    batch_size: int
    epochs: int
    initial_epoch: int = 0
    shuffle: Any = True


class Epoch:
    """The batches of one pass over `data`, and sums over them on the device."""

    def __init__(self, compiled: Compiled, state: Any, data: Any, batch_size: int, order: Any = None):
        n = examples(data)
        size = min(batch_size, n)
        batch = jax.tree.map(
            lambda a: jax.ShapeDtypeStruct((size, *a.shape[1:]), jax.dtypes.canonicalize_dtype(a.dtype)), tuple(data)
        )
        self.data, self._sums = data, compiled.sums(state, batch)
        self.rows = batch_rows(n, size, order, self._sums.takes_padding)
        self.steps = sum(map(len, self.rows))
        self.totals = self._sums.empty()
        self._fetched: tuple[Any, dict[str, float]] = (None, {})

    def dispatches(self, pace: "Pace") -> Iterator[tuple[int, tuple[Any, ...], bool]]:
        """For each dispatch: the steps done after it, what `train_rows` takes after totals, whether there is padding.

        Times each dispatch, so that `pace` can say how long the next should be.
        """
        done = 0
        for data, rows, steps, padded in feed.blocks(self.data, self.rows):
            start = 0
            while start < steps:
                stop = min(start + pace.steps, steps)
                began = time.perf_counter()
                done += stop - start
                yield done, (data, rows, *jax.device_put((np.int32(start), np.int32(stop)))), padded
                pace.timed(stop - start, time.perf_counter() - began)
                start = stop

    def logs(self) -> dict[str, float]:
        """The loss and metrics so far, fetched from the device once."""
        if self._fetched[0] is not self.totals:
            self._fetched = self.totals, self._sums.logs(self.totals)
        return dict(self._fetched[1])


class Pace:
    """How many steps to run per dispatch, from how long the last ones took."""

    def __init__(self, verbose: int, single: bool = False):
        self.seconds = SHOWN_SECONDS if verbose == 1 else SILENT_SECONDS
        self.single, self.steps, self.dispatches = single, 1, 0

    def timed(self, steps: int, seconds: float) -> None:
        """Takes note of a dispatch; the first one compiles and says nothing."""
        self.dispatches += 1
        if not self.single and self.dispatches > 1:
            wanted = int(steps * self.seconds / max(seconds, 1e-6))
            self.steps = max(1, min(wanted, 8 * self.steps))


def fit(model: Any, data: Any, validation: Any, plan: Plan, verbose: int, callbacks: Sequence[Callback]) -> History:
    """Trains `model` and returns the history; Ctrl-C ends it after the step at hand."""
    history = History()
    data, validation = feed.place(data), validation and feed.place(validation)
    known = known_logs(model, validation is not None, callbacks)
    about = {**dataclasses.asdict(plan), **sizes(data, plan.batch_size, verbose), "metrics": known}
    hooks = Hooks([*callbacks, history], model, "fit", about)
    pace, progress, logs = Pace(verbose, hooks.single("train")), Progress(plan.epochs, verbose), {}
    model.stop_training = False
    with interruptible() as interrupted, contextlib.closing(progress):
        hooks.call("on_train_begin")
        try:
            for number in range(plan.initial_epoch, plan.epochs):
                hooks.call("on_epoch_begin", number)
                epoch = Epoch(model.compiled, model.state, data, plan.batch_size, order(model, examples(data), plan))
                progress.epoch_begin(number, epoch.steps)
                logs = _train(model, epoch, pace, hooks, progress, interrupted)
                logs |= _validate(model, validation, plan, hooks)
                progress.epoch_end(logs)
                hooks.call("on_epoch_end", number, logs=logs)
                if model.stop_training:
                    break
        except KeyboardInterrupt:
            print(f"\nInterrupted in epoch {number + 1}: the model keeps its last finished step.", file=sys.stderr)
        hooks.call("on_train_end", logs=logs)
    return history


def _validate(model: Any, data: Any, plan: Plan, hooks: Hooks) -> dict[str, float]:
    """The means over the examples held out, if there are any."""
    found = {} if data is None else evaluate(model, data, plan.batch_size, hooks)
    return {f"val_{name}": value for name, value in found.items()}


def known_logs(model: Any, validates: bool, callbacks: Sequence[Callback]) -> list[str] | None:
    """The names in the logs of an epoch; None where a callback of the user's may add some."""
    for callback in callbacks:
        own = type(callback) is not LambdaCallback and type(callback).__module__.startswith("kjax.callbacks.")
        if not own and any(overrides(callback, hook) for hook in ("on_epoch_begin", "on_epoch_end")):
            return None
    names = model.trainer.log_names
    return [*names, *(f"val_{name}" for name in names if validates)]


def sizes(data: Any, batch_size: int, verbose: int) -> dict[str, Any]:
    """What callbacks are told about any run."""
    n = examples(data)
    return {"batch_size": batch_size, "steps": -(-n // batch_size), "samples": n, "verbose": verbose}


def _train(
    model: Any, epoch: Epoch, pace: "Pace", hooks: Hooks, progress: Progress, interrupted: Callable
) -> dict[str, float]:
    """One pass over the data, or up to where a callback stops it; the means over it."""
    first = 0
    for done, batches, padded in epoch.dispatches(pace):
        interrupted()
        hooks.call_each("on_train_batch_begin", range(first, done))
        arguments = model.state, epoch.totals, *batches
        model.state, epoch.totals = model.compiled.train_rows(*arguments, padded=padded)
        _report(epoch, progress, hooks, "on_train_batch_end", range(first, done))
        first = done
        if model.stop_training:
            break
    return epoch.logs()


def _report(epoch: Epoch, progress: Progress, hooks: Hooks, hook: str, batches: range) -> None:
    """Waits for the batches, and shows where the epoch stands to those who look."""
    jax.block_until_ready(epoch.totals)
    if progress.moves:
        progress.update(batches.stop, epoch.logs())
    if hooks.hears(hook):
        hooks.call_each(hook, batches, epoch.logs())


def evaluate(
    model: Any, data: Any, batch_size: int, hooks: Hooks, progress: Progress | None = None
) -> dict[str, float]:
    """The means over all examples."""
    progress = progress or Progress(1, 0)
    hooks.call("on_test_begin")
    epoch, first = Epoch(model.compiled, model.state, feed.place(data), batch_size), 0
    for done, batches, padded in epoch.dispatches(Pace(progress.verbose, hooks.single("test"))):
        hooks.call_each("on_test_batch_begin", range(first, done))
        epoch.totals = model.compiled.eval_rows(model.state, epoch.totals, *batches, padded=padded)
        _report(epoch, progress, hooks, "on_test_batch_end", range(first, done))
        first = done
    logs = epoch.logs()
    hooks.call("on_test_end", logs=logs)
    return logs


def order(model: Any, n: int, plan: Plan) -> np.ndarray:
    """The order of the examples in the coming epoch; decided by the state's key and step alone."""
    if not plan.shuffle:
        return np.arange(n)
    generator = np.random.default_rng(np.asarray(shuffle_seed(model.state.key, model.state.step)))
    if plan.shuffle == "batch":
        batches = np.array_split(np.arange(n), range(plan.batch_size, n, plan.batch_size))
        full = [batches[i] for i in generator.permutation(n // plan.batch_size)]
        return np.concatenate([*full, *batches[n // plan.batch_size :]])
    return generator.permutation(n)


@contextlib.contextmanager
def interruptible() -> Iterator[Any]:
    """Ctrl-C waits for the step at hand: the yielded function raises it. A second Ctrl-C does not wait.

    Without this, an interrupt could fall between the step, which gives up the old state's memory, and the moment
    when the model takes the new one.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    pressed = []
    before = signal.getsignal(signal.SIGINT)

    def note(number: int, frame: Any) -> None:
        pressed.append(number)
        if len(pressed) > 1:
            raise KeyboardInterrupt

    def check() -> None:
        if pressed:
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, note)
    try:
        yield check
    finally:
        signal.signal(signal.SIGINT, before)
