"""Learning curves that move."""

import time
from typing import Any

from kjax.callbacks.base import Callback, Logs
from kjax.callbacks.history import History


class LivePlot(Callback):
    """Learning curves in a notebook, drawn anew while training goes on; elsewhere it does nothing.

    Args:
        seconds: how many must pass from one picture to the next, for each takes about a tenth of a second.
        options: those of `kjax.plots.plot_history`, e.g. `title`.

    Raises:
        ImportError: matplotlib or IPython is missing: `pip install "kjax[notebook]"`; before training.

    >>> live = LivePlot(seconds=0.5, title="digits")
    """

    def __init__(self, seconds: float = 1.0, **options: Any) -> None:
        self.seconds, self.options = seconds, options
        self._seen, self._drawn, self._handle = History(), -float("inf"), None
        self._shell()
        self._seen.plot(**options)

    def _shell(self) -> Any:
        try:
            from IPython.core.getipython import get_ipython
        except ImportError:
            raise ImportError('LivePlot needs IPython: pip install "kjax[notebook]"') from None
        return get_ipython()

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._seen, self._drawn, self._handle = History(), -float("inf"), None

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self._seen.on_epoch_end(epoch, logs)
        if time.perf_counter() - self._drawn >= self.seconds:
            self._draw()

    def get_state(self) -> dict[str, Any]:
        return self._seen.get_state()

    def set_state(self, state: dict[str, Any]) -> None:
        self._seen.set_state(state)

    def on_train_end(self, logs: Logs | None = None) -> None:
        if self._seen.epoch:
            self._draw()

    def _draw(self) -> None:
        if self._shell() is None:
            return
        from IPython.display import display

        figure = self._seen.plot(**self.options)
        if self._handle is None:
            self._handle = display(figure, display_id=True)
        else:
            self._handle.update(figure)
        self._drawn = time.perf_counter()
