"""The bar that `fit` shows, as a callback."""

import math
from typing import Any

from kjax.callbacks.base import Callback, Logs
from kjax.progress import Progress


class ProgbarLogger(Callback):
    """Shows what `fit(verbose=1)` does by itself: a bar, or a line per epoch where there is no terminal or notebook.

    Args:
        count_mode: "steps" or "samples": what the bar counts.

    For a program that calls `fit(verbose=0)`; where `fit` shows something itself, this shows nothing.

    Raises:
        ValueError: another `count_mode`.

    Source: Keras's `ProgbarLogger`.

    >>> import kjax, numpy as np
    >>> model = kjax.Sequential([kjax.layers.Dense(1, input_shape=(2,), kernel_initializer="zeros")])
    >>> model.compile(kjax.optim.SGD(0.0), "mse")
    >>> _ = model.fit(np.eye(2), np.ones(2), verbose=0, callbacks=[ProgbarLogger()])  # doctest: +ELLIPSIS
    Epoch 1/1
    1/1 - ...s - .../step - loss: 1.0000
    """

    between_steps = False

    def __init__(self, count_mode: str = "steps") -> None:
        if count_mode not in ("steps", "samples"):
            raise ValueError(f"ProgbarLogger: count_mode is 'steps' or 'samples'; got {count_mode!r}")
        self.count_mode = count_mode
        self._progress, self._within = Progress(1, 0), False

    def set_params(self, params: dict[str, Any]) -> None:
        super().set_params(params)
        shows = "epochs" in params and not params.get("verbose")
        self._progress = Progress(params.get("epochs", 1), int(shows), unit=self.count_mode.removesuffix("s"))
        self.__dict__.pop("on_train_batch_end", None)
        if self._progress.moves:  # a line per epoch needs no numbers after each loop
            self.on_train_batch_end = self._after_batch  # type: ignore[method-assign]

    def on_epoch_begin(self, epoch: int | None, logs: Logs | None = None) -> None:
        self._progress.epoch_begin(epoch, self.params.get(self.count_mode))
        self._within = True

    def _after_batch(self, batch: int, logs: Logs | None = None) -> None:
        if not self._within:  # a run that goes on in the middle of an epoch
            self.on_epoch_begin(None)
        samples = min((batch + 1) * self.params["batch_size"], self.params["samples"] or math.inf)
        self._progress.update(batch + 1 if self.count_mode == "steps" else samples, logs or {})

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if not self._within:
            self.on_epoch_begin(epoch)
        self._progress.epoch_end(logs or {})
        self._within = False

    def on_run_leave(self, run: Any) -> None:
        self._progress.close()
