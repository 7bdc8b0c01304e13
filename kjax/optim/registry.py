"""Optimizers by name."""

import inspect
from typing import Any

from kjax.frozen import suggest
from kjax.optim import adaptive, rules
from kjax.optim.lookahead import Lookahead
from kjax.optim.optimizer import Optimizer

CLASSES: tuple[type[Optimizer | Lookahead], ...] = (
    rules.SGD, rules.RMSprop, rules.Adagrad, rules.Adadelta, rules.Lion,
    adaptive.Adam, adaptive.AdamW, adaptive.Adamax, adaptive.Nadam, Lookahead,
)  # fmt: skip

NAMES: dict[str, type[Optimizer | Lookahead]] = {cls.__name__.lower(): cls for cls in CLASSES}
"""Every name that `get` knows, in lower case."""


def get(identifier: Any) -> Optimizer | Lookahead:
    """The optimizer that `identifier` means.

    Args:
        identifier: a name in any case, an optimizer, or a class of them.

    Raises:
        ValueError: no optimizer has this name.
        TypeError: nothing of the kind. An optax optimizer is none: its `update` returns what is to be added.

    >>> get("rmsprop"), get("SGD"), get(adaptive.Adam(0.1))
    (RMSprop(), SGD(), Adam(lr=0.1))
    >>> get("adagard")
    Traceback (most recent call last):
    ...
    ValueError: unknown optimizer 'adagard'. Did you mean 'Adagrad'?
    """
    if isinstance(identifier, str):
        if identifier.lower() not in NAMES:
            known = [cls.__name__ for cls in CLASSES]
            raise ValueError(f"unknown optimizer {identifier!r}.{suggest(identifier, known)}")
        return NAMES[identifier.lower()]()
    found = (
        identifier() if inspect.isclass(identifier) and issubclass(identifier, Optimizer | Lookahead) else identifier
    )
    if not isinstance(found, Optimizer | Lookahead):
        raise TypeError(
            f"an optimizer is a name such as 'adam' or an object such as Adam(0.001), its class derived from "
            f"kjax.optim.Optimizer; got {found!r}"
        )
    return found
