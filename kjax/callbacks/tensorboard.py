"""Logs for TensorBoard."""

import functools
import os
import pathlib
import secrets
import time
from typing import Any

import jax
import numpy as np

from kjax.callbacks.base import Callback, Logs
from kjax.files import require_writable
from kjax.frozen import is_int, require_int
from kjax.optim.tunable import is_number
from kjax.weights import label


class TensorBoard(Callback):
    """Writes what TensorBoard shows; needs `pip install "kjax[tensorboard]"`.

    The folder has one run for training and one for validation. Their scalars are `epoch_loss` and the like by epoch,
    counted from 0, `epoch_learning_rate`, and `evaluation_loss_vs_iterations` by step.

    Args:
        log_dir: the folder.
        histogram_freq: after how many epochs to write histograms of all weights; 0: never.
        write_graph: whether to write the table of layers, as a text.
        write_images: whether to write the weights as pictures too, as often as histograms.
        write_steps_per_second: whether to write `epoch_steps_per_second`.
        update_freq: "epoch"; "batch", or after how many batches to write `batch_loss` and the like: the means over the
            epoch so far. Steps then run one at a time.
        profile_batch: the batch, or the first and last of those, that JAX's profiler is to look at, counted from 1 over
            all epochs; 0: none. Steps then run one at a time.
        embeddings_freq: 0; pictures of embeddings are not written.
        embeddings_metadata: None.

    Raises:
        ImportError: tensorboardX is missing.
        ValueError: an option out of its range.
        OSError: nothing can be written in `log_dir`; before training.

    Source: Keras's `TensorBoard`.
    """

    _run = "0"  # a name of its own for each run
    _batches, _opened, _training, _tracing, _shown = 0, 0, False, False, False

    def __init__(
        self,
        log_dir: str | os.PathLike[str] = "logs",
        histogram_freq: int = 0,
        write_graph: bool = True,
        write_images: bool = False,
        write_steps_per_second: bool = False,
        update_freq: str | int = "epoch",
        profile_batch: int | tuple[int, int] = 0,
        embeddings_freq: int = 0,
        embeddings_metadata: Any = None,
    ) -> None:
        self._open = writer_class()
        require_int(histogram_freq, "histogram_freq", "TensorBoard", least=0)
        if embeddings_freq or embeddings_metadata is not None:
            raise ValueError("TensorBoard: embeddings are not written here: leave embeddings_freq=0")
        self.log_dir, self.histogram_freq = os.fspath(log_dir), histogram_freq
        self.write_graph, self.write_images = write_graph, write_images
        self.write_steps_per_second = write_steps_per_second
        self._every, self._profiled = period(update_freq), span(profile_batch)
        self.between_steps = bool(self._every or self._profiled[1])
        if self.between_steps:
            self.on_train_batch_begin = self._before_batch  # type: ignore[method-assign]
            self.on_train_batch_end = self._after_batch  # type: ignore[method-assign]
        self._writers: dict[str, Any] = {}

    def _writer(self, run: str) -> Any:
        if run not in self._writers:
            self._opened += 1  # their names have but the second in them, in which several may be made
            suffix = f".{self._run}.{self._opened}"
            self._writers[run] = self._open(os.path.join(self.log_dir, run), filename_suffix=suffix)
        return self._writers[run]

    def _scalars(self, run: str, pattern: str, logs: Logs, step: int) -> None:
        for name, value in logs.items():
            self._writer(run).add_scalar(pattern.format(name), value, step)

    def _close(self) -> None:
        for writer in self._writers.values():
            writer.close()
        self._writers = {}

    def on_train_begin(self, logs: Logs | None = None) -> None:
        require_writable(self.log_dir, os.path.join(self.log_dir, "events"), "TensorBoard")
        self._batches, self._training, self._shown, self._run = 0, True, False, secrets.token_hex(4)

    def _show(self) -> None:
        if self.write_graph and not self._shown:
            lines: list[str] = []
            self.model.summary(print_fn=lines.append)
            self._writer("train").add_text("model", "```\n" + "\n".join(lines) + "\n```", 0)
        self._shown = True

    def get_state(self) -> dict[str, Any]:
        self._close()  # what was written is in the files then, and the next number opens new ones
        sizes = {file.name: file.stat().st_size for file in self._files()}
        began = time.perf_counter() - self._began[0], self._began[1]
        own = {name: getattr(self, name) for name in ("_run", "_opened", "_batches", "_shown")}
        return {**own, "sizes": sizes, "began": began}

    def set_state(self, state: dict[str, Any]) -> None:
        sizes, began = state.pop("sizes"), state.pop("began")
        super().set_state(state)
        self._began = time.perf_counter() - began[0], began[1]
        for file in self._files():  # what the killed process wrote later is written again
            if file.name in sizes:
                os.truncate(file, min(sizes[file.name], file.stat().st_size))
            else:
                file.unlink()

    def _files(self) -> list[pathlib.Path]:
        return list(pathlib.Path(self.log_dir).glob(f"*/*.{self._run}.*"))

    def _before_batch(self, batch: int, logs: Logs | None = None) -> None:
        self._batches += 1
        if self._batches == self._profiled[0]:
            jax.profiler.start_trace(self.log_dir)
            self._tracing = True

    def _after_batch(self, batch: int, logs: Logs | None = None) -> None:
        if self._batches == self._profiled[1]:
            self._stop_trace()
        if self._every and self._batches % self._every == 0:
            self._scalars("train", "batch_{}", logs or {}, int(self.model.state.step))

    def _stop_trace(self) -> None:
        if self._tracing:
            jax.profiler.stop_trace()
            self._tracing = False

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._began = time.perf_counter(), int(self.model.state.step)
        self._show()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        found = {**(logs or {}), **self._rates()}
        self._scalars("train", "epoch_{}", {n: v for n, v in found.items() if not n.startswith("val_")}, epoch)
        held_out = {n.removeprefix("val_"): v for n, v in found.items() if n.startswith("val_")}
        self._scalars("validation", "epoch_{}", held_out, epoch)
        if self.histogram_freq and epoch % self.histogram_freq == 0:
            self._weights(epoch)
        for writer in self._writers.values():
            writer.flush()

    def _rates(self) -> Logs:
        seconds, steps = time.perf_counter() - self._began[0], int(self.model.state.step) - self._began[1]
        rate = self.model.optimizer.learning_rate_at(self.model.state.step)
        found: Logs = {"learning_rate": float(rate)} if is_number(rate) else {}
        return found | ({"steps_per_second": steps / seconds} if self.write_steps_per_second else {})

    def _weights(self, epoch: int) -> None:
        names = map(label, self.model._built_paths())
        for name, weight in zip(names, self.model.get_weights(), strict=True):
            weight = weight.astype(np.float32)
            if np.isfinite(weight).all():
                self._writer("train").add_histogram(f"{name}/histogram", weight, epoch)
            if self.write_images:
                self._writer("train").add_image(f"{name}/image", picture(weight), epoch, dataformats="HW")

    def on_test_end(self, logs: Logs | None = None) -> None:
        self._scalars("validation", "evaluation_{}_vs_iterations", logs or {}, int(self.model.state.step))
        if not self._training:
            self._close()

    def on_train_end(self, logs: Logs | None = None) -> None:
        self._stop_trace()
        self._close()
        self._training = False

    def on_run_leave(self, run: Any) -> None:
        if run is not None or not self._training:  # else an evaluation within a training
            self.on_train_end()


@functools.cache
def writer_class() -> Any:
    """The class that writes event files.

    Raises:
        ImportError: tensorboardX is missing.
    """
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        raise ImportError('TensorBoard needs tensorboardX: pip install "kjax[tensorboard]"') from None
    return SummaryWriter


def period(update_freq: Any) -> int:
    """After how many batches to write; 0: only after epochs."""
    known = {"epoch": 0, "batch": 1}
    if isinstance(update_freq, str) and update_freq in known:
        return known[update_freq]
    if not is_int(update_freq) or update_freq < 1:
        raise ValueError(f"TensorBoard: update_freq is 'epoch', 'batch' or a number of batches; got {update_freq!r}")
    return update_freq


def span(profile_batch: Any) -> tuple[int, int]:
    """The first and the last batch to profile; (0, 0): none."""
    both = (profile_batch, profile_batch) if is_int(profile_batch) else profile_batch
    if isinstance(both, tuple | list) and len(both) == 2 and all(map(is_int, both)) and 0 <= both[0] <= both[1]:
        return both[0], both[1]
    raise ValueError(f"TensorBoard: profile_batch is a batch, the first and last of those, or 0; got {profile_batch!r}")


def picture(weight: np.ndarray) -> np.ndarray:
    """An array as one picture with values in [0, 1]; a convolution's kernel as a grid, a filter a column.

    >>> picture(np.zeros((3, 3, 4, 5))).shape, picture(np.array([1.0, 3.0])).tolist()
    ((12, 15), [[0.0, 1.0]])
    """
    if weight.ndim == 4:
        height, width, inputs, filters = weight.shape
        weight = weight.transpose(2, 0, 3, 1).reshape(inputs * height, filters * width)
    flat = np.atleast_2d(weight).reshape(-1, max(1, weight.shape[-1] if weight.ndim else 1))
    low, high = flat.min(), flat.max()
    return (flat - low) / (high - low if high > low else 1)
