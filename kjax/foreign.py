"""Arrays of other libraries, known by what they can do: none of them is a dependency."""

from typing import Any

import jax
import numpy as np


def to_numpy(value: Any) -> np.ndarray:
    """A NumPy array of a frame (pandas, polars, Arrow), a tensor (PyTorch, TensorFlow), or what NumPy itself takes.

    Tensors come from the device that they are on, without their gradient.
    """
    if hasattr(value, "detach") and hasattr(value, "cpu"):  # PyTorch's
        value = value.detach().cpu()
        small = str(value.dtype) == "torch.bfloat16"  # which NumPy lacks, so PyTorch refuses to convert it
        return np.asarray(jax.dlpack.from_dlpack(value)) if small else value.numpy()
    for name in ("to_numpy", "numpy"):
        if callable(getattr(value, name, None)):
            return np.asarray(getattr(value, name)())
    return np.asarray(value)
