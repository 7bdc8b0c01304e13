"""What `fit` prints: a bar per epoch in a terminal or a notebook, a line per epoch elsewhere."""

import importlib.util
import sys
import time
from typing import Any, TextIO

BAR = "{n_fmt}/{total_fmt} [{bar:20}] - {remaining} left{postfix}"


class Progress:
    """The report of a run.

    Args:
        epochs: how many epochs the headings count; 1 or less prints none.
        verbose: 0 nothing, 1 a bar that moves, 2 a line per epoch. Where the output is no terminal and no notebook,
            a bar would fill a log with its frames: 1 prints a line per epoch there.
        file: where to, by default standard output.
        unit: what is counted.
    """

    def __init__(self, epochs: int, verbose: int = 1, file: TextIO | None = None, unit: str = "step"):
        self.epochs, self.verbose, self.file, self.unit = epochs, verbose, file or sys.stdout, unit
        self.notebook = file is None and in_notebook()
        self.moves = verbose == 1 and (self.notebook or self.file.isatty())
        self._bar: Any = None

    def epoch_begin(self, epoch: int | None, total_steps: int | None) -> None:
        """Starts an epoch (counted from 0; None for an evaluation, which has no heading) of so many steps, if known."""
        self.began, self.total, self.done = time.perf_counter(), total_steps, 0
        if self.verbose and epoch is not None:
            print(f"Epoch {epoch + 1}/{self.epochs}", file=self.file)
        if self.moves:
            self._bar = bar(self.notebook)(
                total=total_steps, bar_format=BAR, leave=False, file=self.file, mininterval=0.1
            )

    def update(self, step: int, logs: dict[str, float]) -> None:
        """Moves the bar to `step`."""
        if self._bar is not None:
            self._bar.set_postfix_str(f"- {written(logs)}", refresh=False)
            self._bar.update(step - self._bar.n)

    def epoch_end(self, logs: dict[str, float]) -> None:
        """Replaces the bar by a line that stays."""
        self.close()
        if self.verbose:
            seconds, total = time.perf_counter() - self.began, self.total or self.done
            each = seconds / max(1, total)
            rate = f"{each:.1f}s" if each >= 1 else f"{each * 1e3:.0f}ms" if each >= 1e-3 else f"{each * 1e6:.0f}us"
            print(
                f"{total}/{total} - {seconds:.1f}s - {rate}/{self.unit} - {written(logs)}", file=self.file, flush=True
            )

    def close(self) -> None:
        """Takes the bar away."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def written(logs: dict[str, float]) -> str:
    """Numbers as Keras prints them.

    >>> written({"loss": 0.12345, "rate": 0.00012345})
    'loss: 0.1235 - rate: 1.2345e-04'
    """
    small = {name: 0 < abs(value) < 1e-3 for name, value in logs.items()}
    return " - ".join(f"{name}: {value:.4e}" if small[name] else f"{name}: {value:.4f}" for name, value in logs.items())


def in_notebook() -> bool:
    """Whether this runs in a Jupyter kernel that can draw widgets."""
    shell = sys.modules.get("IPython") and sys.modules["IPython"].get_ipython()
    return type(shell).__name__ == "ZMQInteractiveShell" and importlib.util.find_spec("ipywidgets") is not None


def bar(notebook: bool) -> Any:
    """tqdm's bar for a notebook or for a terminal."""
    if notebook:
        from tqdm.notebook import tqdm as notebook_bar

        return notebook_bar
    from tqdm import tqdm

    return tqdm
