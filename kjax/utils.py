"""Keras's small helpers: for data, on NumPy arrays; a model's picture; settings of the process."""

import ctypes
import os
import pathlib
import sys
from typing import Any

import numpy as np

from kjax import compilation_cache
from kjax.drawing import plot_model as plot_model
from kjax.sequences import PyDataset as PyDataset
from kjax.sequences import Sequence as Sequence


def to_categorical(y: Any, num_classes: int | None = None, dtype: Any = "float32") -> np.ndarray:
    """One-hot rows for class numbers: shape (…) or (…, 1) -> (…, num_classes).

    Args:
        y: whole numbers from 0 to num_classes - 1.
        num_classes: by default the largest number plus one.
        dtype: of the result.

    Raises:
        ValueError: a negative number, one that is not below num_classes, or no whole number.

    >>> to_categorical([0, 2, 1]).tolist()
    [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0]]
    """
    given = np.asarray(y)
    labels = given.astype(np.int64)
    if (labels != given).any():
        raise ValueError("to_categorical: y holds numbers that are not whole")
    if labels.ndim > 1 and labels.shape[-1] == 1:
        labels = labels[..., 0]
    top = int(labels.max(initial=-1))
    classes = top + 1 if num_classes is None else num_classes
    if labels.min(initial=0) < 0 or top >= classes:
        raise ValueError(
            f"to_categorical: y holds {int(labels.min(initial=0))} to {top}, but classes run from 0 to {classes - 1}"
        )
    one_hot = np.zeros((labels.size, classes), dtype)
    one_hot[np.arange(labels.size), labels.ravel()] = 1
    return one_hot.reshape(*labels.shape, classes)


def normalize(x: Any, axis: int = -1, order: int = 2) -> np.ndarray:
    """`x` divided by its norm of that order along an axis; where the norm is 0, by 1.

    >>> normalize([[3.0, 4.0], [0.0, 0.0]]).tolist()
    [[0.6, 0.8], [0.0, 0.0]]
    """
    x = np.asarray(x)
    norm = np.linalg.norm(x, ord=order, axis=axis, keepdims=True)
    return x / np.where(norm == 0, 1, norm)


MALLOPT = {-8: 1, -3: 2**30, -1: 2**31 - 1, -2: 64 * 2**20}
"""One arena; blocks below 1 GiB from the heap; keep what is freed at its top; let it grow by 64 MiB (malloc.h)."""


def keep_pages() -> bool:
    """Has the C library keep freed memory for the next step instead of handing it back; for CPU, on Linux.

    On machines where the first touch of memory is slow (most clouds), a step of a convolutional network that runs
    by itself (`train_on_batch`, or `fit` with a callback for each batch) spends up to a third of its time on that.
    `fit` without such callbacks gains little, for it runs many steps at a time. The benchmark measures both, and what
    is resident at the peak, with and without (`python -m benchmarks --pages`).

    It holds for the whole process, which does not give memory back afterwards, whatever else the program does. So
    neither importing kjax nor `fit` does it: only a program knows what runs beside its training. Call it in one of
    your own, before anything is computed, for JAX's threads must not have begun. `python -m kjax demo` is such a
    program, and does; `--no-keep-pages` leaves it out.

    Returns:
        Whether it was done: False elsewhere than on Linux with glibc.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    done = [mallopt(name, value) for name, value in MALLOPT.items()] if mallopt else [0]
    return all(done)


def cache_compilations(folder: str | os.PathLike[str] | None = None) -> pathlib.Path | None:
    """Moves the folder in which compiled programs are kept, or turns it off.

    A network that trains or predicts keeps its programs by itself, in `kjax/compiled` in your cache folder, so that
    the next process compiles nothing. The environment variable KJAX_COMPILATION_CACHE does what this function does
    without a change to the program. A folder that was set for JAX (JAX_COMPILATION_CACHE_DIR) stays in use.

    The folder holds up to 1 GiB, those used last; several processes may use it at once; a damaged file counts as
    missing. Where nothing can be written, programs are compiled each time, as without a folder. Programs depend on
    the versions of JAX and on the processor. They are run as they are: keep others from writing there.

    Args:
        folder: by default the one named above, also for programs of your own without a model; "off" for none.

    Returns:
        The folder; None for none. It can be deleted at any time.
    """
    return compilation_cache.use(folder)


np_utils = sys.modules[__name__]
"""The name that older programs know: `from kjax.utils import np_utils`."""
