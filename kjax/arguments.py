"""Checks of what `fit`, `evaluate` and `predict` are told beside the data."""

from typing import Any

import numpy as np

from kjax.frozen import require_int


def check_plan(epochs: Any, initial_epoch: Any, verbose: Any, shuffle: Any, validation_freq: Any) -> None:
    """Refuses what `fit` cannot run by."""
    require_int(epochs, "epochs", "fit", least=0)
    require_int(initial_epoch, "initial_epoch", "fit", least=0)
    require_verbose(verbose, "fit")
    if not isinstance(shuffle, bool | np.bool_ | int) and shuffle != "batch":
        raise ValueError(f"fit: shuffle is True, False or 'batch'; got {shuffle!r}")
    for number in validation_freq if isinstance(validation_freq, list | tuple | set) else [validation_freq]:
        require_int(number, "validation_freq (a number, or a list of epochs from 1)", "fit")


def require_verbose(value: Any, owner: str) -> None:
    """Refuses what is not 0, 1 or 2."""
    if not isinstance(value, int) or value not in (0, 1, 2):
        raise ValueError(f"{owner}: verbose is 0, 1 or 2; got {value!r}")
