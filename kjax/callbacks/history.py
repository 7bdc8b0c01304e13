"""What `fit` returns."""

from typing import Any

from kjax.callbacks.base import Callback, Logs


class History(Callback):
    """What `fit` returns: `history`, a list per metric with one number per epoch, and `epoch`, their numbers."""

    saved_attributes = ("history", "epoch")

    def __init__(self) -> None:
        self.history: dict[str, list[float]] = {}
        self.epoch: list[int] = []

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.history, self.epoch = {}, []

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self.epoch.append(epoch)
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(value)

    def plot(self, **options: Any) -> Any:
        """The learning curves as a matplotlib figure; needs `pip install "kjax[plot]"`.

        Args:
            options: those of `kjax.plots.plot_history`, e.g. `title`.
        """
        from kjax import plots

        return plots.plot_history(self.history, self.epoch, **options)

    def __repr__(self) -> str:
        last = ", ".join(f"{name}={values[-1]:.4f}" for name, values in self.history.items())
        return f"History({len(self.epoch)} epochs{last and f', last: {last}'})"
