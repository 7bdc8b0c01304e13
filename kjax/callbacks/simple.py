"""Small callbacks: functions as hooks, an end at NaN, a stopwatch."""

import time
from collections.abc import Callable
from typing import Any

from kjax.callbacks.base import HOOKS, Callback, Logs
from kjax.frozen import refuse_unknown


class LambdaCallback(Callback):
    """A callback made of functions.

    Args:
        on_epoch_begin, on_epoch_end: called with `(epoch, logs)`.
        on_train_begin, on_train_end: called with `(logs)`.
        on_train_batch_begin, on_train_batch_end: called with `(batch, logs)`.
        hooks: any other of Keras's hooks by its name.

    Raises:
        TypeError: no hook has this name, or something is no function.

    >>> LambdaCallback(on_epoch_end=lambda epoch, logs: print(epoch, logs["loss"])).on_epoch_end(0, {"loss": 0.5})
    0 0.5
    """

    def __init__(
        self,
        on_epoch_begin: Callable | None = None,
        on_epoch_end: Callable | None = None,
        on_train_begin: Callable | None = None,
        on_train_end: Callable | None = None,
        on_train_batch_begin: Callable | None = None,
        on_train_batch_end: Callable | None = None,
        **hooks: Callable | None,
    ) -> None:
        refuse_unknown(hooks, HOOKS, "LambdaCallback")
        given = {
            "on_epoch_begin": on_epoch_begin,
            "on_epoch_end": on_epoch_end,
            "on_train_begin": on_train_begin,
            "on_train_end": on_train_end,
            "on_train_batch_begin": on_train_batch_begin,
            "on_train_batch_end": on_train_batch_end,
            **hooks,
        }
        for name, function in given.items():
            if function is not None and not callable(function):
                raise TypeError(f"LambdaCallback: {name} is a function; got {function!r}")
            if function is not None:
                setattr(self, name, function)


class TerminateOnNaN(Callback):
    """Stops training when the loss or the weights are no longer numbers, or infinite.

    Args:
        raise_error: whether to raise an error rather than to print it and set `model.stop_training`.

    It says which step, which layer and which examples went wrong first, and `found` keeps that as a
    `kjax.faults.Fault`. The model is left as it was before that step. `fit(…, check_finite=True)` does the same as
    `raise_error`, and refuses such numbers in the data too.

    Raises:
        FloatingPointError: at such a step, with `raise_error`.

    >>> import kjax, numpy as np
    >>> model, watch = kjax.Sequential([kjax.layers.Dense(1, input_shape=(2,))]), TerminateOnNaN()
    >>> model.compile(kjax.optim.SGD(1e25), "mse")
    >>> _ = model.fit(np.eye(2), np.ones(2), epochs=9, verbose=0, callbacks=[watch])  # doctest: +ELLIPSIS
    TerminateOnNaN ends training: the loss is inf at epoch 2, batch 1 of 1 (rows ... of x): all layers' outputs...
    >>> watch.found.epoch, watch.found.layer, bool(np.isfinite(model.predict(np.eye(2))).all())
    (1, '', True)
    """

    def __init__(self, raise_error: bool = False) -> None:
        self.raise_error = raise_error
        self.found: Any = None

    def on_run_fault(self, fault: Any) -> None:
        self.found = fault
        if self.raise_error:
            raise FloatingPointError(str(fault))
        print(f"TerminateOnNaN ends training: {fault}")


class Timer(Callback):
    """How long training takes; nothing waits for it.

    After or during `fit`, lists with a number per epoch:

        `epochs`: seconds, validation and the callbacks before this one included; the first one compiles;
        `validations`: seconds of them that went into validation;
        `steps`: seconds per training step.

    >>> import kjax, numpy as np
    >>> model, timer = kjax.Sequential([kjax.layers.Dense(1, input_shape=(2,))]), Timer()
    >>> model.compile("sgd", "mse")
    >>> _ = model.fit(np.eye(2), np.ones(2), epochs=3, verbose=0, callbacks=[timer])
    >>> len(timer.epochs), timer.steps[0] == timer.epochs[0]
    (3, True)
    """

    def __init__(self) -> None:
        self.epochs: list[float] = []
        self.validations: list[float] = []
        self.steps: list[float] = []

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.epochs, self.validations, self.steps = [], [], []

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._began, self._validation, self._steps = time.perf_counter(), 0.0, 0

    def on_run_rest(self, run: Any) -> None:
        self._steps = run.step or self._steps  # 0 behind an epoch's end

    def on_test_begin(self, logs: Logs | None = None) -> None:
        self._tested = time.perf_counter()

    def on_test_end(self, logs: Logs | None = None) -> None:
        self._validation = time.perf_counter() - self._tested

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        seconds = time.perf_counter() - self._began
        self.epochs.append(seconds)
        self.validations.append(self._validation)
        self.steps.append((seconds - self._validation) / max(1, self._steps))  # none, where the first one went wrong

    def get_state(self) -> dict[str, Any]:
        lists = {"epochs": self.epochs, "validations": self.validations, "steps": self.steps}
        seconds = time.perf_counter() - self._began
        return {**lists, "seconds": seconds, "_validation": self._validation, "_steps": self._steps}

    def set_state(self, state: dict[str, Any]) -> None:
        self._began = time.perf_counter() - state.pop("seconds")
        super().set_state(state)

    def __repr__(self) -> str:
        later = self.epochs[1:] or self.epochs
        each = f", {sum(later) / len(later):.3g} s each after the first" if later else ""
        return f"Timer({len(self.epochs)} epochs{each})"


class SwapEMAWeights(Callback):
    """Evaluates and predicts with the averages that an optimizer with `use_ema=True` keeps of the weights.

    Args:
        swap_on_epoch: whether the averages are in the model from the end of an epoch to the beginning of the next one
            too, so that callbacks behind this one, `ModelCheckpoint` say, get to see them. They stay in the model then
            when training ends.

    Raises:
        ValueError: the optimizer keeps no averages; before training.

    >>> import kjax, numpy as np
    >>> model = kjax.Sequential([kjax.layers.Dense(1, input_shape=(2,))])
    >>> model.compile(kjax.optim.SGD(0.1, use_ema=True), "mse")
    >>> x, y = np.eye(2), np.ones((2, 1))
    >>> _ = model.fit(x, y, epochs=5, verbose=0)
    >>> model.evaluate(x, y, verbose=0) < model.evaluate(x, y, verbose=0, callbacks=[SwapEMAWeights()])
    True
    """

    saved_attributes = ("_kept",)

    def __init__(self, swap_on_epoch: bool = False) -> None:
        self.swap_on_epoch = swap_on_epoch
        self._kept: Any = None

    def _swap(self) -> None:
        if self._kept is None:
            self._kept = self.model.state.params
            with self.model.averaged_weights():
                averages = self.model.state.params
            self.model.state = self.model.state.replace(params=averages)

    def _restore(self) -> None:
        if self._kept is not None:
            self.model.state = self.model.state.replace(params=self._kept)
            self._kept = None

    def on_train_begin(self, logs: Logs | None = None) -> None:
        with self.model.averaged_weights():  # so that it raises before training
            self._kept = None

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._restore()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if self.swap_on_epoch:
            self._swap()

    def on_train_end(self, logs: Logs | None = None) -> None:
        if not self.swap_on_epoch:
            self._restore()  # an interrupt may have come in the middle of a validation
        self._kept = None

    def on_test_begin(self, logs: Logs | None = None) -> None:
        self._swap()

    def on_test_end(self, logs: Logs | None = None) -> None:
        self._restore()

    on_predict_begin, on_predict_end = on_test_begin, on_test_end

    def on_run_leave(self, run: Any) -> None:
        self._restore()  # an error may have come while the averages were in the model
