"""What happens between epochs and batches: Keras's hooks."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

Logs = dict[str, Any]


class Callback:
    """Base of all callbacks: override the hooks you need.

    `fit`, `evaluate` and `predict` set `model` and `params`: `steps`, `samples`, `batch_size`, `verbose`, and for `fit`
    also `epochs`, `initial_epoch`, `shuffle`, and `metrics`, the names in an epoch's logs (None where a callback of
    yours may add some). Within `fit`, the hooks for tests are called around each validation. `logs` is one dict for
    all callbacks: what one of them adds at the end of an epoch, the later ones and the `History` see.

    Setting `model.stop_training = True` ends `fit`: after the step at hand, validation and `on_epoch_end` included.

    >>> import kjax, numpy as np
    >>> class Patience(Callback):
    ...     def on_epoch_end(self, epoch, logs=None):
    ...         self.model.stop_training = logs["loss"] < 0.5
    >>> model = kjax.Sequential([kjax.layers.Dense(1, input_shape=(2,))])
    >>> model.compile(kjax.optim.SGD(0.1), "mse")
    >>> history = model.fit(np.eye(2), np.ones((2, 1)), epochs=99, verbose=0, callbacks=[Patience()])
    >>> history.history["loss"][-1] < 0.5 and len(history.epoch) < 99
    True

    A hook for batches costs speed, unless it need not act between the steps:

    >>> class Losses(Callback):
    ...     between_steps = False
    ...     def on_train_begin(self, logs=None):
    ...         self.losses = []
    ...     def on_train_batch_end(self, batch, logs=None):
    ...         self.losses.append(logs["loss"])
    >>> history = model.fit(np.eye(2), np.ones((2, 1)), 1, verbose=0, callbacks=[watch := Losses()])
    >>> len(watch.losses), watch.losses[-1] == history.history["loss"][0]
    (2, True)
    """

    model: Any = None
    params: dict[str, Any] = {}  # noqa: RUF012 - every run gives every callback its own

    between_steps: bool = True
    """Whether hooks for batches must run between the steps, so that they see the model after each of them. That costs
    speed: steps run one at a time then, and many in one compiled loop otherwise.

    With False, `…_batch_begin` is called for all batches of a loop before it, and `…_batch_end` for all of them after
    it, each with its own logs: to the last bit those that it has where steps run one at a time. The model has taken all
    steps of the loop by then: a hook that sets `model.stop_training` ends training with this loop, whose other batches
    are told of too. Where a step goes bad (see `on_run_fault`), `…_batch_end` is not called for its loop.

    An MLP 64-64-32-10 with batches of 32 took 39 µs a step in one loop, 40 with the logs of each kept, and 1 more to
    tell a callback of them; between the steps it took over 500 (two CPU cores)."""

    def set_model(self, model: Any) -> None:
        """Called first, with the model that is to run."""
        self.model = model

    def set_params(self, params: dict[str, Any]) -> None:
        """Called second, with what is known of the run."""
        self.params = params

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Called once, before the first epoch."""

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Called once, after the last epoch or an interrupt, with the last epoch's logs."""

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Called before an epoch; epochs count from 0."""

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Called after an epoch with its means, `val_` ones included."""

    def on_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """The older name of `on_train_batch_begin`."""

    def on_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """The older name of `on_train_batch_end`."""

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Called before a batch; batches count from 0 in each epoch."""
        self.on_batch_begin(batch, logs)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Called after a batch with the means over the epoch up to it."""
        self.on_batch_end(batch, logs)

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """Called before an evaluation."""

    def on_test_end(self, logs: Logs | None = None) -> None:
        """Called after an evaluation, with its means."""

    def on_test_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Called before a batch of an evaluation."""

    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Called after a batch of an evaluation, with the means up to it."""

    # What Keras does not have: for runs that go on in another process, and for callbacks that keep them on the disk.

    saved_attributes: tuple[str, ...] = ()
    """The attributes that `get_state` and `set_state` are about."""

    def get_state(self) -> dict[str, Any]:
        """What this callback remembers of the run: numbers, texts, arrays, None, and lists, tuples and dicts of them.

        `BackupAndRestore` keeps it, so that a run that was killed can go on as if it had not been. Name the attributes
        in `saved_attributes`, or override both methods.
        """
        return {name: getattr(self, name) for name in self.saved_attributes}

    def set_state(self, state: dict[str, Any]) -> None:
        """Takes back what `get_state` gave in an earlier process; called after `on_train_begin` of all callbacks."""
        for name, value in state.items():
            setattr(self, name, value)

    def on_run_resume(self, run: Any) -> None:
        """Called before `on_train_begin` of all callbacks with the `kjax.loop.Run`; may set its `earlier` to where
        another process stood. In the middle of an epoch, `on_epoch_begin` is not called again then."""

    def on_run_rest(self, run: Any) -> None:
        """Called between dispatches and between epochs, when all callbacks have been told of all that has happened."""

    def on_run_fault(self, fault: Any) -> None:
        """Called with a `kjax.faults.Fault` where the loss or the weights stop being finite. The model is back where
        it stood before that step, and training ends. A callback that has this hook has them looked at."""

    def on_run_leave(self, run: Any) -> None:
        """Called last, whatever has ended `fit`, `evaluate` or `predict`, an error too; `run` is None but for `fit`."""

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        """Called before a prediction."""

    def on_predict_end(self, logs: Logs | None = None) -> None:
        """Called after a prediction."""

    def on_predict_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Called before a batch of a prediction."""

    def on_predict_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Called after a batch of a prediction; `logs["outputs"]` is what it gave."""


RUN_HOOKS = ("on_run_resume", "on_run_rest", "on_run_fault", "on_run_leave")
HOOKS = tuple(name for name in vars(Callback) if name.startswith("on_") and name not in RUN_HOOKS)
NOBODY: dict[str, list[Any]] = {hook: [] for hook in (*HOOKS, *RUN_HOOKS)}
UNHEARD = dict.fromkeys(NOBODY, False)
OLDER = {"on_train_batch_begin": "on_batch_begin", "on_train_batch_end": "on_batch_end"}


class Hooks:
    """The callbacks of a run, each hook called only where one overrides it.

    Args:
        callbacks: a callback, a list of them, or None.
        model: what they are told to be about.
        owner: what is called, for errors.
        params: what they are told about it.

    Raises:
        TypeError: something in the list is no callback.
    """

    def __init__(self, callbacks: Any, model: Any, owner: str, params: dict[str, Any]):
        self.callbacks = listed(callbacks, owner)
        self._functions, self._single = NOBODY, UNHEARD
        if not self.callbacks:
            return
        for callback in self.callbacks:
            callback.set_model(model)
            callback.set_params(dict(params))
        listening = {hook: [c for c in self.callbacks if overrides(c, hook)] for hook in NOBODY}
        self._functions = {hook: [getattr(c, hook) for c in heard] for hook, heard in listening.items()}
        self._single = {hook: any(c.between_steps for c in heard) for hook, heard in listening.items()}

    def hears(self, hook: str) -> bool:
        """Whether any callback overrides a hook."""
        return bool(self._functions[hook])

    def single(self, kind: str) -> bool:
        """Whether a callback must act between the steps of a "train" or "test"."""
        return self._single[f"on_{kind}_batch_begin"] or self._single[f"on_{kind}_batch_end"]

    def notes(self, kind: str) -> bool:
        """Whether callbacks want the logs after each step of a compiled loop of a "train" or "test"."""
        return self.hears(f"on_{kind}_batch_end") and not self.single(kind)

    def call(self, hook: str, *number: int, logs: Logs | None = None) -> None:
        """Calls a hook of all callbacks, with one dict for all."""
        logs = {} if logs is None else logs
        for function in self._functions[hook]:
            told(function, hook, *number, logs)

    def call_run(self, hook: str, run: Any) -> None:
        """Calls one of the hooks that are told where the run stands, or went wrong."""
        for function in self._functions[hook]:
            told(function, hook, run)

    @contextlib.contextmanager
    def leaving(self, run: Any) -> Iterator[None]:
        """Inside, the run goes on; at the end, whatever that is, callbacks may clear up."""
        try:
            yield
        finally:
            self.call_run("on_run_leave", run)

    def call_each(self, hook: str, batches: range, each: Iterable[Logs] | None = None) -> None:
        """Calls a hook of all callbacks for each of some batches, with logs of its own."""
        functions = self._functions[hook]
        for batch, logs in zip(batches, each or ({} for _ in batches), strict=True) if functions else ():
            for function in functions:
                told(function, hook, batch, logs)


def told(function: Callable, hook: str, *args: Any) -> None:
    """Calls a hook; what it raises says which callback's it was, and at which epoch or batch."""
    try:
        function(*args)
    except Exception as error:
        callback = getattr(function, "__self__", None)
        if not type(callback).__module__.startswith("kjax."):
            name = type(callback).__name__ if callback is not None else getattr(function, "__name__", repr(function))
            number = (
                f" of {'batch' if 'batch' in hook else 'epoch'} {args[0]}, from 0" if isinstance(args[0], int) else ""
            )
            error.add_note(f"In the callback {name}, {hook}{number}")
        raise


def keeps_state(callback: Callback) -> bool:
    """Whether a callback says what it remembers of a run."""
    return bool(callback.saved_attributes) or overrides(callback, "get_state")


def listed(callbacks: Any, owner: str) -> Sequence[Callback]:
    """The callbacks as a list of their own.

    Raises:
        TypeError: something in it is no callback.
    """
    several = isinstance(callbacks, Iterable) and not isinstance(callbacks, str | dict)
    found = list(callbacks) if several else [] if callbacks is None else [callbacks]
    for callback in found:
        if not isinstance(callback, Callback):
            is_class = isinstance(callback, type) and issubclass(callback, Callback)
            hint = f": did you forget the brackets, {callback.__name__}(…)?" if is_class else ""
            raise TypeError(f"{owner}: callbacks are objects of kjax.callbacks.Callback; got {callback!r}{hint}")
    return found


def overrides(callback: Callback, hook: str) -> bool:
    """Whether a callback defines a hook, in its class or as an attribute."""
    own = getattr(getattr(callback, hook), "__func__", None)
    return own is not getattr(Callback, hook) or (hook in OLDER and overrides(callback, OLDER[hook]))
