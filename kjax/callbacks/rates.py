"""Callbacks that change the learning rate; another rate compiles nothing again."""

import inspect
from collections.abc import Callable

import numpy as np

from kjax.callbacks.base import Callback, Logs
from kjax.callbacks.monitor import Monitor
from kjax.frozen import require_int
from kjax.optim.tunable import is_number


class Rate(Callback):
    """Base of callbacks that set the learning rate: the logs of an epoch tell it as `learning_rate`."""

    @property
    def learning_rate(self) -> float:
        """The optimizer's rate.

        Raises:
            ValueError: it is no number, but a schedule or a dict.
        """
        lr = self.model.optimizer.lr
        if not is_number(lr):
            raise ValueError(
                f"{type(self).__name__} sets a learning rate that is a number, but the optimizer's is {lr!r}: "
                f"compile with {type(self.model.optimizer).__name__}(lr=0.01), say"
            )
        return float(lr)

    @learning_rate.setter
    def learning_rate(self, lr: float) -> None:
        self.model.optimizer = self.model.optimizer.replace(lr=lr)

    def on_train_begin(self, logs: Logs | None = None) -> None:
        _ = self.learning_rate  # refuses before training what has none

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if logs is not None:
            logs["learning_rate"] = self.learning_rate


class LearningRateScheduler(Rate):
    """Sets the learning rate before each epoch.

    Args:
        schedule: a function of the epoch, counted from 0, or of the epoch and the rate as it is.
        verbose: 1 prints each rate.

    A function of the *step* belongs into the optimizer: `SGD(lr=schedule)`; see `kjax.optimizers.schedules`.

    Raises:
        TypeError: the schedule is no function, or gives no number.
        ValueError: the optimizer's rate is a schedule itself.

    >>> import kjax, numpy as np
    >>> model = kjax.Sequential([kjax.layers.Dense(1, input_shape=(2,))])
    >>> model.compile(kjax.optim.SGD(0.5), "mse")
    >>> halved = LearningRateScheduler(lambda epoch, lr: lr / 2 if epoch else lr)
    >>> model.fit(np.eye(2), np.ones(2), epochs=3, verbose=0, callbacks=[halved]).history["learning_rate"]
    [0.5, 0.25, 0.125]
    """

    def __init__(self, schedule: Callable, verbose: int = 0) -> None:
        if not callable(schedule):
            raise TypeError(f"LearningRateScheduler: schedule is a function of the epoch; got {schedule!r}")
        self.schedule, self.verbose = schedule, verbose
        self._takes_rate = takes(schedule, 2)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        old = self.learning_rate
        new = self.schedule(epoch, old) if self._takes_rate else self.schedule(epoch)
        if not is_number(new) or np.ndim(new):
            raise TypeError(f"LearningRateScheduler: schedule({epoch}) is to give a number; it gave {new!r}")
        if float(new) != old:
            self.learning_rate = float(new)
        if self.verbose:
            print(f"\nEpoch {epoch + 1}: LearningRateScheduler sets the learning rate to {float(new):.6g}.")


def takes(function: Callable, count: int) -> bool:
    """Whether a function can be called with so many positional arguments."""
    try:
        inspect.signature(function).bind(*range(count))
    except (TypeError, ValueError):  # ValueError: a builtin that does not say what it takes
        return False
    return True


class ReduceLROnPlateau(Monitor, Rate):
    """Multiplies the learning rate by `factor` when a number no longer improves.

    Args:
        monitor, mode, min_delta: see `Monitor`.
        factor: in [0, 1).
        patience: after how many epochs without an improvement.
        verbose: 1 prints each reduction.
        cooldown: for how many epochs after a reduction none is counted.
        min_lr: the rate goes no lower.

    Raises:
        ValueError: a factor outside [0, 1), a negative patience, cooldown or min_lr, an unknown mode, a name that the
            logs do not have, or an optimizer whose rate is no number.

    Source: Keras's `ReduceLROnPlateau`.

    >>> import kjax, numpy as np
    >>> model = kjax.Sequential([kjax.layers.Dense(1, input_shape=(2,))])
    >>> model.compile(kjax.optim.SGD(4.0), "mse")  # far too large a rate
    >>> reduce = ReduceLROnPlateau("loss", factor=0.25, patience=1)
    >>> model.fit(np.eye(2), np.ones((2, 1)), epochs=4, verbose=0, callbacks=[reduce]).history["learning_rate"]
    [4.0, 4.0, 1.0, 0.25]
    """

    saved_attributes = ("best", "wait", "cooldown_counter")

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        verbose: int = 0,
        mode: str = "auto",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        if not 0 <= factor < 1:
            raise ValueError(f"{self.name}: factor must be in [0, 1); got {factor!r}")
        if not min_lr >= 0:
            raise ValueError(f"{self.name}: min_lr must be at least 0; got {min_lr!r}")
        require_int(patience, "patience", self.name, least=0)
        require_int(cooldown, "cooldown", self.name, least=0)
        self.factor, self.patience, self.cooldown, self.min_lr = factor, patience, cooldown, min_lr
        self.verbose = verbose
        self._reset()

    def _reset(self) -> None:
        self.best: float | None = None
        self.wait, self.cooldown_counter = 0, 0

    def on_train_begin(self, logs: Logs | None = None) -> None:
        super().on_train_begin(logs)
        self._reset()
        self.prepare()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        super().on_epoch_end(epoch, logs)
        value = self.current(logs)
        if self.cooldown_counter:
            self.cooldown_counter -= 1
            self.wait = 0
        if self.improves(value, self.best):
            self.best, self.wait = value, 0
        elif not self.cooldown_counter:
            self.wait += 1
            if self.wait >= self.patience and self.learning_rate > self.min_lr:
                self._reduce(epoch)

    def _reduce(self, epoch: int) -> None:
        self.learning_rate = max(self.learning_rate * self.factor, self.min_lr)
        self.cooldown_counter, self.wait = self.cooldown, 0
        if self.verbose:
            print(f"\nEpoch {epoch + 1}: ReduceLROnPlateau reduces the learning rate to {self.learning_rate:.6g}.")
