"""Weights for peers that keep channels in front of rows and columns."""

import numpy as np

from benchmarks.workloads import Workload


def dense_rows(workload: Workload, kernel: np.ndarray, index: int) -> np.ndarray:
    """The kernel of a dense layer; behind a `flatten` of an image, its rows in the order of channels first."""
    from benchmarks.spec import walk

    before = list(walk(workload.spec, workload.shape))[index - 1] if index else None
    if before is None or before[1][0] != "flatten":
        return kernel
    rows, columns, channels = before[2]
    return kernel.reshape(rows, columns, channels, -1).transpose(2, 0, 1, 3).reshape(kernel.shape)


def conv_kernel(kernel: np.ndarray) -> np.ndarray:
    """(rows, columns, in, out) -> (out, in, rows, columns)."""
    return np.ascontiguousarray(kernel.transpose(3, 2, 0, 1))


def images(x: np.ndarray) -> np.ndarray:
    """(batch, rows, columns, channels) -> (batch, channels, rows, columns); other arrays as they are."""
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2)) if x.ndim == 4 else x


def heads(weights: dict[str, np.ndarray]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The kernels and the biases of queries, keys and values."""
    return np.split(weights["kernel_qkv"], 3, 1), np.split(weights["bias_qkv"], 3)
