"""What happens between epochs and batches: Keras's hooks."""

from typing import Any


class Callback:
    """Base of all callbacks: override the hooks you need.

    `fit` sets `model` and `params` (epochs, steps, batch_size, samples, verbose). A hook for batches makes `fit`
    run one step at a time, so that it is called between them.
    """

    model: Any = None
    params: dict[str, Any] = {}  # noqa: RUF012 - fit gives every callback its own

    def set_model(self, model: Any) -> None:
        self.model = model

    def set_params(self, params: dict[str, Any]) -> None:
        self.params = params

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Called once, before the first epoch."""

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """Called once, after the last epoch or an interrupt."""

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Called before an epoch; epochs count from 0."""

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Called after an epoch with its means, `val_` ones included."""

    def on_batch_begin(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Called before a batch; batches count from 0 in each epoch."""

    def on_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Called after a batch with the means over the epoch so far."""

    def on_train_batch_begin(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """The newer name of `on_batch_begin`."""
        self.on_batch_begin(batch, logs)

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """The newer name of `on_batch_end`."""
        self.on_batch_end(batch, logs)

    def wants_batches(self) -> bool:
        """Whether any hook for batches is overridden."""
        hooks = ("on_batch_begin", "on_batch_end", "on_train_batch_begin", "on_train_batch_end")
        return any(getattr(type(self), hook) is not getattr(Callback, hook) for hook in hooks)


class History(Callback):
    """What `fit` returns: `history`, a list per metric with one number per epoch, and `epoch`, their numbers."""

    def __init__(self) -> None:
        self.history: dict[str, list[float]] = {}
        self.epoch: list[int] = []

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        self.history, self.epoch = {}, []

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
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
