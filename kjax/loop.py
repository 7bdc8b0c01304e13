"""The loops behind `fit` and `evaluate`: data on the device once, many steps per dispatch, logs out to callbacks."""

import _signal as signal  # type: ignore[import-not-found]  # what `signal` wraps in enums, which takes 15 µs
import contextlib
import dataclasses
import functools
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from kjax import resume
from kjax.callbacks import History, LambdaCallback
from kjax.callbacks.base import Callback, Hooks, overrides
from kjax.compiled import Compiled
from kjax.faults import Watch
from kjax.frozen import is_int
from kjax.progress import Progress
from kjax.sources import Source

SHOWN_SECONDS, SILENT_SECONDS = 0.4, 1.0
"""How long one dispatch should take: with a bar, which is to move a few times a second, and without, where only
Ctrl-C waits. Longer ones are faster: what a dispatch allocates is first touched once, not once a step. A convolution
network of 87 ms a step took 97 with two steps a dispatch, 118 with one."""


folded = jax.jit(lambda key, number: jax.random.fold_in(key, number.astype(np.uint32)))
"""`fold_in` as one program, which takes 9 µs, for 57; an epoch of a few steps takes less than a millisecond."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """How long `fit` runs, and how: its arguments of the same names."""

    batch_size: int
    epochs: int
    initial_epoch: int = 0
    shuffle: Any = True
    validation_freq: Any = 1

    def validates(self, epoch: int) -> bool:
        """Whether there is a validation after this epoch, counted from 0."""
        freq = self.validation_freq
        return (epoch + 1) % freq == 0 if is_int(freq) else epoch + 1 in freq


@dataclasses.dataclass
class Run:
    """Where a call of `fit` stands: what decides, together with the model's state, all that is still to come.

    Args:
        plan: what was asked for.
        callbacks: all of them, the history too.
        epoch: the epoch at hand, counted from 0.
        step: how many of its steps are done.
        began: the state's `step` when the epoch began; with the state's key it decides the order of the examples.
        totals: sums over the epoch's steps so far, on the device.
        logs: of the last finished epoch.
        earlier: where an earlier process stood, if a callback has found that out.
        ended: whether all that was to be trained has been, and all callbacks have been told.
    """

    plan: Plan
    callbacks: Sequence[Callback]
    epoch: int
    step: int = 0
    began: int = 0
    totals: Any = None
    logs: dict[str, float] = dataclasses.field(default_factory=dict)
    earlier: resume.Earlier | None = None
    ended: bool = False

    def next_epoch(self) -> None:
        """The epoch at hand is over."""
        self.epoch, self.step, self.totals = self.epoch + 1, 0, None


class Pass:
    """One pass over a source, or what is left of it, and sums over its steps on the device.

    Args:
        compiled: the trainer's functions.
        state: a state they take.
        source: of the batches.
        key: decides their order.
        epoch: how many passes came before.
        first: how many steps of this one are done.
        totals: the sums over those, or their leaves.
        notes: whether the logs after each step of a dispatch are wanted.
    """

    def __init__(
        self, compiled: Compiled, state: Any, source: Source, key: Any = None, epoch: int = 0, first: int = 0,
        totals: Any = None, notes: bool = False,
    ):  # fmt: skip
        self.sums = compiled.sums(state, source.batch)
        self.examples = functools.partial(source.examples, key, epoch) if hasattr(source, "examples") else None
        self.steps, self.first = source.steps, first
        self.blocks = source.blocks(key, epoch, first, self.sums.takes_padding)
        self.totals = self.sums.empty()
        if totals is not None:
            self.totals = jax.tree.unflatten(jax.tree.structure(self.totals), jax.tree.leaves(totals))
        self._fetched: tuple[Any, dict[str, float]] = (None, {})
        self.options = {"logs": self.sums.room} if notes else {}
        self.most = min((a.shape[0] for a in jax.tree.leaves(self.options)), default=sys.maxsize)
        self.noted: Sequence[Any] = ()

    def dispatches(self, pace: "Pace", interrupted: Callable) -> Iterator[tuple[range, tuple[Any, ...], bool]]:
        """For each dispatch: its steps, what `train_rows` takes after totals, whether there is padding.

        It takes `options` too, and what it gives for them after totals goes to `noted`. Each dispatch is timed, so that
        `pace` can say how long the next should be.
        """
        done = self.first
        pace.begin(self.sums.speeds)
        for data, rows, start, end, padded in self.blocks:
            interrupted()
            while start < end:
                stop = min(start + min(pace.steps, self.most), end)
                began = time.perf_counter()
                steps = range(done, done + stop - start)
                yield steps, (data, rows, counted(start), counted(stop)), padded
                pace.timed(stop - start, time.perf_counter() - began)
                start, done = stop, steps.stop

    def logs(self) -> dict[str, float]:
        """The loss and metrics so far, fetched from the device once."""
        if self._fetched[0] is not self.totals:
            self._fetched = self.totals, self.sums.logs(self.totals)
        return dict(self._fetched[1])

    def each(self, steps: range) -> list[dict[str, float]]:
        """The logs after each step of the last dispatch, fetched from the device once."""
        if not self.noted:
            return [self.logs()]
        found = self.sums.each(self.noted[0], len(steps))
        self._fetched = self.totals, dict(found[-1])
        return found


def counted(number: int) -> jax.Array:
    """An int32 on the device, where it stays: to put it there takes 30 µs."""
    return _counted(number, jax.config.jax_default_device)  # type: ignore[attr-defined]


@functools.lru_cache(maxsize=256)
def _counted(number: int, device: Any) -> jax.Array:
    return jax.device_put(np.int32(number))


class Pace:
    """How many steps to run per dispatch, from how long the last ones took.

    Args:
        verbose: that of `fit`.
        single: whether a callback must act between steps.
        kind: "train" or "test".
    """

    def __init__(self, verbose: int, single: bool = False, kind: str = "train"):
        self.seconds = SHOWN_SECONDS if verbose == 1 else SILENT_SECONDS
        self.single, self.kind, self.steps, self.dispatches = single, kind, 1, 0

    def begin(self, speeds: dict[str, float]) -> None:
        """A pass begins over batches that may have been met before; `speeds` has the seconds that a step took then."""
        self._speeds = speeds
        if not self.single and self.kind in speeds:
            self.steps = max(1, int(self.seconds / speeds[self.kind]))

    def timed(self, steps: int, seconds: float) -> None:
        """Takes note of a dispatch; the first one may compile and says nothing."""
        self.dispatches += 1
        if self.dispatches > 1:
            self._speeds[self.kind] = max(seconds, 1e-6) / steps
        if not self.single and self.dispatches > 1:
            wanted = int(steps * self.seconds / max(seconds, 1e-6))
            self.steps = max(1, min(wanted, 8 * self.steps))


def fit(
    model: Any, source: Source, validation: Source | None, plan: Plan, verbose: int, callbacks: Sequence[Callback],
    check_finite: bool = False,
) -> History:  # fmt: skip
    """Trains `model` and returns the history; Ctrl-C ends it after the step at hand."""
    history = History()
    known = known_logs(model, validation is not None, callbacks)
    about = {**dataclasses.asdict(plan), **sizes(source, plan.batch_size, verbose), "metrics": known}
    hooks = Hooks([*callbacks, history], model, "fit", about)
    run = Run(plan, hooks.callbacks, plan.initial_epoch)
    pace, progress = Pace(verbose, hooks.single("train")), Progress(plan.epochs, verbose)
    watch = Watch(model, hooks, check_finite)
    model.stop_training = False
    with interruptible(model) as interrupted, contextlib.closing(progress), hooks.leaving(run):
        _begin(model, run, hooks)
        try:
            while run.epoch < plan.epochs and not model.stop_training:
                _train(model, source, run, pace, hooks, progress, watch, interrupted)
                run.logs = run.logs | _validate(model, validation, run, hooks, interrupted)
                progress.epoch_end(run.logs)
                hooks.call("on_epoch_end", run.epoch, logs=run.logs)
                run.next_epoch()
                hooks.call_run("on_run_rest", run)
            watch.end()
        except KeyboardInterrupt:
            print(f"\nInterrupted in epoch {run.epoch + 1}: the model keeps its last finished step.", file=sys.stderr)
        hooks.call("on_train_end", logs=run.logs)
        run.ended = run.epoch >= plan.epochs or model.stop_training
    return history


def _begin(model: Any, run: Run, hooks: Hooks) -> None:
    """The callbacks begin, and go on from where an earlier process stood if one of them has found that out."""
    hooks.call_run("on_run_resume", run)
    hooks.call("on_train_begin")
    if run.earlier is not None:
        resume.put_back(run.earlier, run, model)


def _validate(model: Any, source: Source | None, run: Run, hooks: Hooks, interrupted: Callable) -> dict[str, float]:
    """The means over the examples held out, if there are any and this epoch is one to look at them."""
    if source is None or not run.plan.validates(run.epoch):
        return {}
    before = sum(map(run.plan.validates, range(run.plan.initial_epoch, run.epoch)))
    found = evaluate(model, source, hooks, None, interrupted, before)
    return {f"val_{name}": value for name, value in found.items()}


def known_logs(model: Any, validates: bool, callbacks: Sequence[Callback]) -> list[str] | None:
    """The names in the logs of an epoch; None where a callback of the user's may add some."""
    for callback in callbacks:
        own = type(callback) is not LambdaCallback and type(callback).__module__.startswith("kjax.callbacks.")
        if not own and any(overrides(callback, hook) for hook in ("on_epoch_begin", "on_epoch_end")):
            return None
    names = model.trainer.log_names
    return [*names, *(f"val_{name}" for name in names if validates)]


def sizes(source: Source, batch_size: int, verbose: int) -> dict[str, Any]:
    """What callbacks are told about any run."""
    return {"batch_size": batch_size, "steps": source.steps, "samples": source.samples, "verbose": verbose}


def _train(
    model: Any, source: Source, run: Run, pace: "Pace", hooks: Hooks, progress: Progress, watch: Watch,
    interrupted: Callable,
) -> None:  # fmt: skip
    """What is left of an epoch, or up to where a callback stops it; leaves the means over it in `run.logs`."""
    if run.step == 0:
        run.began = int(jax.device_get(model.state.step))
        hooks.call("on_epoch_begin", run.epoch)
    began = model.state.step if run.step == 0 else jax.device_put(np.int32(run.began))
    key = folded(model.state.key, began)
    number, notes = run.epoch - run.plan.initial_epoch, hooks.notes("train")
    epoch = Pass(model.compiled, model.state, source, key, number, run.step, run.totals, notes)
    progress.epoch_begin(run.epoch, epoch.steps)
    for steps, batches, padded in epoch.dispatches(pace, interrupted):
        interrupted()
        hooks.call_each("on_train_batch_begin", steps)
        if watch.before(run.epoch, epoch, steps, batches, padded):
            break
        arguments = model.state, epoch.totals, *batches
        model.state, epoch.totals, *epoch.noted = model.compiled.train_rows(*arguments, padded=padded, **epoch.options)
        run.step, run.totals = steps.stop, epoch.totals
        if watch.after(epoch.totals):
            break
        _report(epoch, progress, hooks, "on_train_batch_end", steps)
        hooks.call_run("on_run_rest", run)
        if model.stop_training:
            break
    model.stop_training = model.stop_training or source.ended
    run.logs = epoch.logs()
    watch.end(run.logs["loss"])


def _report(epoch: Pass, progress: Progress, hooks: Hooks, hook: str, steps: range) -> None:
    """Waits for the steps, and shows where the epoch stands to those who look."""
    jax.block_until_ready(epoch.totals)
    progress.done = steps.stop
    each = epoch.each(steps) if hooks.hears(hook) else None
    if progress.moves:
        progress.update(steps.stop, epoch.logs())
    hooks.call_each(hook, steps, each)


def evaluate(
    model: Any, source: Source, hooks: Hooks, progress: Progress | None = None,
    interrupted: Callable = lambda: None, before: int = 0,
) -> dict[str, float]:  # fmt: skip
    """The means over all examples of a pass, before which there were so many others."""
    progress = progress or Progress(1, 0)
    hooks.call("on_test_begin")
    epoch = Pass(model.compiled, model.state, source, epoch=before, notes=hooks.notes("test"))
    for steps, batches, padded in epoch.dispatches(Pace(progress.verbose, hooks.single("test"), "test"), interrupted):
        interrupted()
        hooks.call_each("on_test_batch_begin", steps)
        found = model.compiled.eval_rows(model.state, epoch.totals, *batches, padded=padded, **epoch.options)
        epoch.totals, *epoch.noted = found if epoch.options else (found,)
        _report(epoch, progress, hooks, "on_test_batch_end", steps)
    logs = epoch.logs()
    hooks.call("on_test_end", logs=logs)
    return logs


class Pressed:
    """What Ctrl-C does meanwhile: it is noted, and a second one raises, unless the model's arrays are given up."""

    def __init__(self, model: Any):
        self._model, self._times = model, 0

    def __call__(self, number: int, frame: Any) -> None:
        self._times += 1
        if self._times > 1 and not any(array.is_deleted() for array in jax.tree.leaves(self._model.state)):
            raise KeyboardInterrupt

    def check(self) -> None:
        """Raises what was noted."""
        if self._times:
            raise KeyboardInterrupt


class interruptible:
    """Ctrl-C waits for the step at hand: the function that this gives raises it. A second Ctrl-C does not wait.

    Without this, an interrupt could fall between the step, which gives up the old state's memory, and the moment
    when the model takes the new one. There the second one waits, too. Where Ctrl-C does something else than Python's
    default, or nothing, it goes on doing that.
    """

    __slots__ = ("before", "pressed")  # no generator, for that would take 3 µs more of each `train_on_batch`

    def __init__(self, model: Any):
        self.pressed = Pressed(model)
        self.before: Any = None

    def __enter__(self) -> Callable[[], None]:
        in_main = threading.get_ident() == threading.main_thread().ident
        before = signal.getsignal(signal.SIGINT) if in_main else None
        if before is signal.default_int_handler or isinstance(before, Pressed):
            self.before = before
            signal.signal(signal.SIGINT, self.pressed)
        return self.pressed.check

    def __exit__(self, *_: Any) -> None:
        if self.before is not None:
            signal.signal(signal.SIGINT, self.before)
