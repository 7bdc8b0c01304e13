"""The loops behind `fit` and `evaluate`: data on the device once, many steps per dispatch, logs out to callbacks."""

import contextlib
import dataclasses
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

from kjax.callbacks import Callback, History
from kjax.data import batch_rows
from kjax.progress import Progress
from kjax.train import Trainer

train_rows = jax.jit(Trainer.train_rows, donate_argnums=(1, 2), static_argnames="padded")
eval_rows = jax.jit(Trainer.eval_rows, donate_argnums=2, static_argnames="padded")

DISPATCH_SECONDS = 0.25
"""How long one dispatch should take: the progress bar moves a few times a second, and Ctrl-C is heard soon."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """How long `fit` runs and in what order: its arguments of the same names."""

    batch_size: int
    epochs: int
    initial_epoch: int = 0
    shuffle: Any = True


@dataclasses.dataclass
class Sums:
    """Sums over an epoch on the device, and the logs that they stand for."""

    trainer: Trainer
    targets: Any
    predictions: Any

    @classmethod
    def of(cls, trainer: Trainer, state: Any, data: Any, batch_size: int) -> "Sums":
        """For batches of `data`; only shapes are looked at."""
        batch = jax.tree.map(lambda a: jax.ShapeDtypeStruct((batch_size, *a.shape[1:]), a.dtype), data)
        return cls(trainer, *trainer.shapes(state, batch))

    def fresh(self) -> Any:
        return _fresh(self.trainer, self.targets, self.predictions)

    def logs(self, totals: Any) -> dict[str, float]:
        """The logs as Python floats, in one transfer."""
        logs = jax.device_get(_results(self.trainer, totals, self.targets, self.predictions))
        return {name: float(logs[name]) for name in self.trainer.log_names}


_fresh = jax.jit(Trainer.init_totals, static_argnums=(1, 2))
_results = jax.jit(Trainer.results, static_argnums=(2, 3))


class Pace:
    """How many steps to run per dispatch, from how long the last ones took."""

    def __init__(self, single: bool):
        self.single, self.steps, self.dispatches = single, 1, 0

    def timed(self, steps: int, seconds: float) -> None:
        """Takes note of a dispatch; the first one compiles and says nothing."""
        self.dispatches += 1
        if not self.single and self.dispatches > 1:
            wanted = int(steps * DISPATCH_SECONDS / max(seconds, 1e-6))
            self.steps = max(1, min(wanted, 8 * self.steps))


def fit(model: Any, data: Any, validation: Any, plan: Plan, verbose: int, callbacks: Sequence[Callback]) -> History:
    """Trains `model` and returns the history; Ctrl-C ends it after the step at hand."""
    history = History()
    hooks = [*callbacks, history]
    batch_size = min(plan.batch_size, data[0].shape[0])
    data = jax.device_put(data)
    sums = Sums.of(model.trainer, model.state, data, batch_size)
    steps = -(-data[0].shape[0] // batch_size)
    for hook in hooks:
        hook.set_model(model)
        hook.set_params({**dataclasses.asdict(plan), "steps": steps, "samples": data[0].shape[0], "verbose": verbose})
    pace = Pace(single=any(hook.wants_batches() for hook in hooks))
    model.stop_training = False
    progress = Progress(plan.epochs, verbose)
    with interruptible() as interrupted, contextlib.closing(progress):
        _call(hooks, "on_train_begin")
        try:
            for epoch in range(plan.initial_epoch, plan.epochs):
                _call(hooks, "on_epoch_begin", epoch)
                progress.epoch_begin(epoch, steps)
                rows, padded = batch_rows(data[0].shape[0], batch_size, order(model, data[0].shape[0], plan))
                logs = _epoch(model, data, (rows, padded), sums, pace, hooks, progress, interrupted)
                if validation is not None:
                    logs |= {f"val_{name}": value for name, value in evaluate(model, validation, plan.batch_size).items()}
                progress.epoch_end(logs)
                _call(hooks, "on_epoch_end", epoch, logs)
                if model.stop_training:
                    break
        except KeyboardInterrupt:
            print(f"Interrupted in epoch {epoch + 1}: the model keeps its last finished step.", file=sys.stderr)
        _call(hooks, "on_train_end")
    return history


def _epoch(
    model: Any, data: Any, batches: Any, sums: Sums, pace: Pace, hooks: Sequence[Callback], progress: Progress, interrupted: Any
) -> dict[str, float]:
    """One pass over the data; the means over it."""
    rows, padded = jax.device_put(batches[0]), batches[1]
    totals, step, steps = sums.fresh(), 0, rows.shape[0]
    while step < steps:
        interrupted()
        stop = min(step + pace.steps, steps)
        if pace.single:
            _call(hooks, "on_train_batch_begin", step)
        began = time.perf_counter()
        model.state, totals = train_rows(sums.trainer, model.state, totals, data, rows, step, stop, padded=padded)
        jax.block_until_ready(totals)
        pace.timed(stop - step, time.perf_counter() - began)
        step = stop
        if pace.single or progress.verbose == 1:
            logs = sums.logs(totals)
            progress.update(step, logs)
        if pace.single:
            _call(hooks, "on_train_batch_end", step - 1, logs)
    return sums.logs(totals)


def evaluate(model: Any, data: Any, batch_size: int, progress: Progress | None = None) -> dict[str, float]:
    """The means over all examples."""
    batch_size = min(batch_size, data[0].shape[0])
    data = jax.device_put(data)
    sums = Sums.of(model.trainer, model.state, data, batch_size)
    rows, padded = batch_rows(data[0].shape[0], batch_size)
    totals, pace, step = sums.fresh(), Pace(single=False), 0
    while step < len(rows):
        stop = min(step + pace.steps, len(rows))
        began = time.perf_counter()
        totals = eval_rows(sums.trainer, model.state, totals, data, jax.device_put(rows), step, stop, padded=padded)
        jax.block_until_ready(totals)
        pace.timed(stop - step, time.perf_counter() - began)
        step = stop
        if progress:
            progress.update(step, sums.logs(totals))
    return sums.logs(totals)


def order(model: Any, n: int, plan: Plan) -> np.ndarray:
    """The order of the examples in the coming epoch; decided by the state's key and step alone."""
    if not plan.shuffle:
        return np.arange(n)
    seed = jax.random.key_data(jax.random.fold_in(model.state.key, model.state.step))
    generator = np.random.default_rng(np.asarray(seed))
    if plan.shuffle == "batch":
        batches = np.array_split(np.arange(n), range(plan.batch_size, n, plan.batch_size))
        full = [batches[i] for i in generator.permutation(n // plan.batch_size)]
        return np.concatenate([*full, *batches[n // plan.batch_size :]])
    return generator.permutation(n)


def _call(hooks: Sequence[Callback], name: str, *arguments: Any) -> None:
    for hook in hooks:
        getattr(hook, name)(*arguments)


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
