"""Losses by name, their names in logs, and their twins on logits."""

import functools
from collections.abc import Callable
from typing import Any

from kjax.activations import sigmoid, softmax
from kjax.frozen import snake_case, suggest
from kjax.losses import objects, values
from kjax.losses.objects import Loss

CLASSES: dict[str, type[Loss]] = {
    name: value
    for name, value in vars(objects).items()
    if isinstance(value, type) and issubclass(value, Loss) and value is not Loss
}
FUNCTIONS: dict[str, Callable] = {cls.of.__name__: cls.of for cls in CLASSES.values() if cls.of is not None}
ALIASES = {
    "mse": "mean_squared_error",
    "mae": "mean_absolute_error",
    "mape": "mean_absolute_percentage_error",
    "msle": "mean_squared_logarithmic_error",
    "kld": "kl_divergence",
    "bce": "binary_crossentropy",
    "kullback_leibler_divergence": "kl_divergence",
    "logcosh": "log_cosh",
    "huber_loss": "huber",
    "cosine": "cosine_proximity",
}
FUNCTIONS["cosine_proximity"] = values.cosine_proximity
FUNCTIONS.update({alias: FUNCTIONS[name] for alias, name in ALIASES.items()})
FUNCTIONS.update({alias.upper(): FUNCTIONS[alias] for alias in ("mse", "mae", "mape", "msle", "kld", "bce")})

ACTIVATIONS: dict[type[Loss], Callable] = {
    objects.CategoricalCrossentropy: softmax,
    objects.SparseCategoricalCrossentropy: softmax,
    objects.CategoricalFocalCrossentropy: softmax,
    objects.BinaryCrossentropy: sigmoid,
    objects.BinaryFocalCrossentropy: sigmoid,
}
"""The activation that each crossentropy's probabilities come from."""


def get(identifier: Any) -> Any:
    """The loss that `identifier` means: a function or object, called as `loss(y_true, y_pred)`.

    Args:
        identifier: a name or alias as in Keras ("mse", "categorical_crossentropy", "Huber"), a loss object, a
            class of them, or any function of `(y_true, y_pred)`; None stays None.

    Raises:
        ValueError: no loss has that name.
        TypeError: `identifier` is nothing of the kind.

    >>> get("mse").__name__, get("Huber")
    ('mean_squared_error', Huber())
    """
    if isinstance(identifier, str):
        if identifier in CLASSES:
            return CLASSES[identifier]()
        if identifier not in FUNCTIONS:
            raise ValueError(f"unknown loss {identifier!r}.{suggest(identifier, [*FUNCTIONS, *CLASSES])}")
        return FUNCTIONS[identifier]
    if isinstance(identifier, type) and issubclass(identifier, Loss):
        return identifier()
    if identifier is None or callable(identifier):
        return identifier
    raise TypeError(f"a loss is a name, a function of (y_true, y_pred), or a loss object; got {identifier!r}")


def name(loss: Any) -> str:
    """What logs call a loss: its function's name, or the name it was given.

    >>> name(get("mse")), name(objects.Huber(name="robust")), name(lambda y_true, y_pred: 0.0)
    ('mean_squared_error', 'robust', 'loss')
    """
    if isinstance(loss, functools.partial):
        return name(loss.func)
    given = getattr(loss, "name", None) or getattr(loss, "__name__", None)
    if not isinstance(given, str):
        return snake_case(type(loss).__name__)
    return "loss" if given == "<lambda>" else given


def base(loss: Any) -> Any:
    """The function behind a loss: of an object or a partial, the one that it calls; else the loss itself."""
    if isinstance(loss, functools.partial):
        return base(loss.func)
    return type(loss).of if type(loss) in CLASSES.values() else loss


def on_logits(loss: Any, activation: Any) -> Loss | None:
    """The loss that takes what goes into `activation`, where `loss` takes what comes out; None if none does.

    The numbers are the same, without the rounding of probabilities near 0 and 1: they cannot overflow.

    Args:
        loss: a function of this module or a loss object.
        activation: the function that the network ends in.

    >>> from kjax import activations
    >>> on_logits(get("categorical_crossentropy"), activations.softmax)
    CategoricalCrossentropy(from_logits=True)
    >>> on_logits(get("mse"), activations.softmax) is None
    True
    """
    objects_of = {cls.of: cls for cls in ACTIVATIONS}
    loss = objects_of[loss]() if getattr(loss, "__hash__", None) and loss in objects_of else loss
    if ACTIVATIONS.get(type(loss)) is not activation or activation is None or loss.from_logits:
        return None
    return loss.replace(from_logits=True) if activation is sigmoid or loss.axis == -1 else None
