"""Callbacks that watch one number of the logs."""

import math
from typing import Any

import jax
import jax.numpy as jnp

from kjax import metrics
from kjax.callbacks.base import Callback, Logs
from kjax.frozen import require_int, suggest
from kjax.losses.registry import FUNCTIONS

HIGHER = (
    metrics.Accuracy, metrics.BinaryAccuracy, metrics.CategoricalAccuracy, metrics.SparseCategoricalAccuracy,
    metrics.TopKCategoricalAccuracy, metrics.SparseTopKCategoricalAccuracy, metrics.AUC, metrics.Precision,
    metrics.Recall, metrics.FBetaScore, metrics.MeanIoU, metrics.R2Score, metrics.CosineSimilarity,
)  # fmt: skip
"""Metrics that are better the higher they are."""
LOWER = (
    metrics.MeanSquaredError, metrics.RootMeanSquaredError, metrics.MeanAbsoluteError, metrics.LogCoshError,
    metrics.MeanAbsolutePercentageError, metrics.MeanSquaredLogarithmicError, metrics.Poisson, metrics.KLDivergence,
    metrics.Hinge, metrics.SquaredHinge, metrics.CategoricalHinge, metrics.BinaryCrossentropy,
    metrics.CategoricalCrossentropy, metrics.SparseCategoricalCrossentropy,
)  # fmt: skip
"""Metrics that are better the lower they are, as losses are."""


class Monitor(Callback):
    """Base of callbacks that watch one number of the logs.

    Args:
        monitor: its name in the logs.
        mode: "min", "max", or "auto": by the metric's kind; losses are better the lower they are.
        min_delta: a smaller change is no improvement.

    A number that is NaN is never an improvement.

    Raises:
        ValueError: an unknown mode; before training, where it can be known, a name that no log will have, or "auto"
            for a metric of your own; else at the end of the first epoch.
    """

    def __init__(self, monitor: str, mode: str, min_delta: float = 0.0) -> None:
        if mode not in ("auto", "min", "max"):
            raise ValueError(f"{self.name}: mode is 'auto', 'min' or 'max'; got {mode!r}")
        if not isinstance(monitor, str):
            raise TypeError(f"{self.name}: monitor is a name in the logs such as 'val_loss'; got {monitor!r}")
        self.monitor, self.mode, self.min_delta = monitor, mode, abs(min_delta)
        self.direction = mode

    @property
    def name(self) -> str:
        """What errors call it."""
        return type(self).__name__

    def prepare(self) -> None:
        """Finds out what is better, and whether there will be such a number."""
        known = self.params.get("metrics")
        if known is not None and self.monitor not in [*known, "learning_rate"]:
            raise self._absent(known)
        self.direction = direction(self.model, self.monitor) if self.mode == "auto" else self.mode
        if self.direction == "auto":
            unknown = f"whether {self.monitor!r} is better high or low is not known"
            raise ValueError(f"{self.name}: {unknown}: give mode='max' or mode='min'")

    def current(self, logs: Logs | None) -> float:
        """The number in these logs."""
        logs = logs or {}
        if self.monitor not in logs:
            raise self._absent(list(logs))
        return float(logs[self.monitor])

    def improves(self, value: float, best: float | None) -> bool:
        """Whether a number is better than the best one so far, by more than `min_delta`."""
        if best is None or math.isnan(value):
            return not math.isnan(value)
        return value - self.min_delta > best if self.direction == "max" else value + self.min_delta < best

    def _absent(self, known: list[str]) -> ValueError:
        near = suggest(self.monitor, known)
        listing = "" if near.startswith(" Known") else f" There are: {', '.join(known)}."
        held_out = "; for val_ ones fit takes validation_data or validation_split"
        wanted = self.monitor.startswith("val_") and not any(name.startswith("val_") for name in known)
        return ValueError(f"{self.name}: the logs have no {self.monitor!r}{held_out if wanted else ''}.{near}{listing}")


def direction(model: Any, monitor: str) -> str:
    """ "min" or "max" for a name in a model's logs, or "auto" where that is not known."""
    name = monitor.removeprefix("val_")
    if name == "loss" or name.endswith("_loss"):
        return "min"
    found = {n: m for head in model.trainer.heads for n, m in zip(head.metric_names, head.metrics, strict=True)}
    metric = found.get(name)
    if isinstance(metric, HIGHER):
        return "max"
    is_loss = isinstance(metric, metrics.MeanOf) and metric.function in FUNCTIONS.values()
    return "min" if is_loss or isinstance(metric, LOWER) else "auto"


class EarlyStopping(Monitor):
    """Stops training when a number no longer improves.

    Args:
        monitor, mode, min_delta: see `Monitor`.
        patience: after how many epochs without an improvement.
        verbose: 1 prints when it stops and what it restores.
        baseline: a number to beat: until it is beaten, improvements do not count as such for `patience`.
        restore_best_weights: whether the model gets back the weights and the state (moving statistics) of the best
            epoch when training ends, by Ctrl-C too; after an error it keeps its last ones. A copy of them is kept on
            the device meanwhile.
        start_from_epoch: earlier ones are not looked at.

    After training, `stopped_epoch` is the epoch that it stopped in, counted from 0 (0: it did not), `best` the best
    number and `best_epoch` when that was.

    Raises:
        ValueError: a negative patience, an unknown mode, a name that the logs do not have.

    Source: Keras's `EarlyStopping`; Prechelt, 1998, Early stopping – but when?

    >>> import kjax, numpy as np
    >>> model = kjax.Sequential([kjax.layers.Dense(1, input_shape=(2,))])
    >>> model.compile(kjax.optim.SGD(5.0), "mse")  # far too large a rate
    >>> stop = EarlyStopping("loss", patience=2, restore_best_weights=True)
    >>> history = model.fit(np.eye(2), np.ones((2, 1)), epochs=50, verbose=0, callbacks=[stop])
    >>> history.epoch, stop.stopped_epoch, stop.best_epoch
    ([0, 1, 2], 2, 0)
    """

    saved_attributes = ("wait", "stopped_epoch", "best_epoch", "best", "_best_weights")

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0,
        patience: int = 0,
        verbose: int = 0,
        mode: str = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = False,
        start_from_epoch: int = 0,
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        require_int(patience, "patience", self.name, least=0)
        require_int(start_from_epoch, "start_from_epoch", self.name, least=0)
        self.patience, self.start_from_epoch, self.verbose = patience, start_from_epoch, verbose
        self.baseline, self.restore_best_weights = baseline, restore_best_weights
        self._reset()

    def _reset(self) -> None:
        self.wait, self.stopped_epoch, self.best_epoch = 0, 0, 0
        self.best: float | None = None
        self._best_weights: Any = None

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._reset()
        self.prepare()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        value = self.current(logs)
        if epoch < self.start_from_epoch:
            return
        self.wait += 1
        better = self.improves(value, self.best)
        if better or self.best is None:
            self._keep(epoch)
        if better:
            self.best = value
            if self.baseline is None or self.improves(value, self.baseline):
                self.wait = 0
        elif self.wait >= self.patience and epoch > 0:
            self.stopped_epoch, self.model.stop_training = epoch, True

    def _keep(self, epoch: int) -> None:
        self.best_epoch, state = epoch, self.model.state
        if self.restore_best_weights:  # copies: the next step gives up the memory of the arrays themselves
            self._best_weights = jax.tree.map(jnp.copy, (state.params, state.state))

    def on_train_end(self, logs: Logs | None = None) -> None:
        if self.verbose and self.stopped_epoch:
            print(f"Epoch {self.stopped_epoch + 1}: early stopping")
        if self._best_weights is not None:
            if self.verbose:
                print(f"Restoring the weights of the end of the best epoch: {self.best_epoch + 1}.")
            params, state = self._best_weights
            self.model.state = self.model.state.replace(params=params, state=state)
            self._best_weights = None  # the model's own from now on
