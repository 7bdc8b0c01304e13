"""What everything with an `adapt` shares: it looks at data and gives a new, frozen object that knows what it saw."""

import itertools
from collections.abc import Iterator
from typing import Any, NoReturn

import numpy as np


def batches(data: Any, steps: int | None = None) -> Iterator[np.ndarray]:
    """The batches of data: an array, a list or a table is one; anything else that can be iterated over gives them.

    Args:
        data: what `adapt` was given.
        steps: how many batches to take at most; None for all.

    >>> [batch.shape for batch in batches(iter([np.ones((2, 3)), np.ones((1, 3))]))]
    [(2, 3), (1, 3)]
    """
    whole = hasattr(data, "shape") or isinstance(data, list | tuple | str)
    yield from map(np.asarray, itertools.islice((data,) if whole else data, steps))


def not_adapted(owner: Any, what: str) -> str:
    """The message for one that was given nothing and has seen nothing."""
    return (
        f"{owner!r} has no {what}. It is frozen, so adapt changes nothing in place but gives a new one: "
        f"layer = layer.adapt(x); or pass {what} when it is made"
    )


def refuse_adapting(owner: Any, what: str) -> NoReturn:
    """Raises for an `adapt` of one that has what it would learn: its result could be dropped without a sign."""
    raise ValueError(f"{owner!r} has its {what} already; adapt one that is made without {what}")
