"""Immutable, hashable, printable settings: the base of layers, losses, metrics, optimizers, initializers …

A subclass writes annotated fields and becomes a frozen dataclass by itself. Two objects made from the same
settings are equal and share one hash, so they also share one compilation.
"""

import dataclasses
import difflib
import functools
import inspect
import re
from collections.abc import Callable, Iterable
from typing import Any, TypeVar, dataclass_transform

F = TypeVar("F", bound=Callable)


def suggest(name: str, known: Iterable[str]) -> str:
    """`" Did you mean 'relu'?"`, or the list of what is known when nothing comes near.

    >>> suggest("rely", ["relu", "tanh"])
    " Did you mean 'relu'?"
    >>> suggest("xyz", ["relu", "tanh"])
    ' Known: relu, tanh.'
    """
    known = sorted(set(known))
    lowered = {k.lower(): k for k in known}
    near = difflib.get_close_matches(name.lower(), lowered, n=1, cutoff=0.6)
    return f" Did you mean {lowered[near[0]]!r}?" if near else f" Known: {', '.join(known)}."


def look_up(identifier: Any, names: dict[str, Any], kind: str, example: str) -> Any:
    """What a name stands for in `names`; a class as an object made with its defaults; any other callable as it is.

    Raises:
        ValueError: nothing of this kind has the name.
        TypeError: neither a name nor callable.
    """
    if isinstance(identifier, str):
        if identifier not in names:
            raise ValueError(f"unknown {kind} {identifier!r}.{suggest(identifier, names)}")
        identifier = names[identifier]
    found = identifier() if inspect.isclass(identifier) else identifier
    if not callable(found):
        raise TypeError(f"{kind}: give a name such as {example!r}, or a function; got {found!r}")
    return found


def explained(function: F) -> F:
    """Makes a function name the right word for a misspelt keyword argument.

    >>> explained(lambda epochs=1: None)(epoch=3)
    Traceback (most recent call last):
    ...
    TypeError: <lambda> has no argument 'epoch'. Did you mean 'epochs'?
    """
    known = [name for name in inspect.signature(function).parameters if name != "self"]

    @functools.wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        refuse_unknown(kwargs, known, function.__name__)
        return function(*args, **kwargs)

    return checked  # type: ignore[return-value]


def refuse_change(self: Any, name: str, value: Any) -> None:
    """Raises for an assignment to a frozen object, and shows the way round."""
    raise dataclasses.FrozenInstanceError(
        f"{type(self).__name__} cannot be changed, but .replace({name}={value!r}) gives a changed copy; for a "
        f"model's optimizer: model.optimizer = model.optimizer.replace({name}={value!r})"
    )


def refuse_unknown(kwargs: Iterable[str], known: Iterable[str], owner: str) -> None:
    """Raises `TypeError` for the first keyword that is not known."""
    for name in kwargs:
        if name not in known:
            raise TypeError(f"{owner} has no argument {name!r}.{suggest(name, known)}")


def explain_keywords(init: Callable, cls: type) -> Callable:
    """Makes `cls(…)` translate other names of an argument, and name the right word for a misspelt one."""
    known = [name for name in inspect.signature(init).parameters if name != "self"]

    @functools.wraps(init)
    def checked(self: Any, *args: Any, **kwargs: Any) -> None:
        if type(self) is cls:
            kwargs = cls.translate(kwargs)
            refuse_unknown(kwargs, known, cls.__name__)
        try:
            init(self, *args, **kwargs)
        except TypeError as error:
            if "__init__()" not in str(error):
                raise
            said = str(error).replace(f"{cls.__qualname__}.__init__()", cls.__name__)
            raise TypeError(f"{said}. Its arguments: {', '.join(known)}.") from None

    return checked


@dataclass_transform(frozen_default=True, field_specifiers=(dataclasses.field,))
class Frozen:
    """Base of every settings object: a frozen dataclass whose subclasses need no decorator.

    A subclass may define `validate`, to refuse wrong values when it is made, and `translate`, to accept
    other names of its arguments. Lists become tuples, so that every object can be hashed.

    >>> class Ridge(Frozen):
    ...     strength: float = 0.01
    >>> Ridge(0.5) == Ridge(strength=0.5), hash(Ridge(0.5)) == hash(Ridge(0.5)), Ridge(0.5)
    (True, True, Ridge(strength=0.5))
    >>> Ridge(strenght=0.5)
    Traceback (most recent call last):
    ...
    TypeError: Ridge has no argument 'strenght'. Did you mean 'strength'?
    """

    def __init_subclass__(cls, eq: bool = True, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        dataclasses.dataclass(frozen=True, repr=False, eq=eq)(cls)
        cls.__init__ = explain_keywords(cls.__init__, cls)  # type: ignore[method-assign]
        cls.__setattr__ = refuse_change  # type: ignore[method-assign]

    @classmethod
    def translate(cls, kwargs: dict[str, Any]) -> dict[str, Any]:
        """The keyword arguments under the names of the fields; override it to accept other names."""
        return kwargs

    def convert(self, name: str, value: Any) -> Any:
        """The value a field really holds; override it to look names up. Called for every field."""
        return tuples(value)

    def validate(self) -> None:
        """Raises `ValueError` or `TypeError` for settings that cannot work; called when the object is made."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            object.__setattr__(self, field.name, self.convert(field.name, getattr(self, field.name)))
            self._require_hashable(field.name)
        self.validate()

    def _require_hashable(self, name: str) -> None:
        try:
            hash(getattr(self, name))
        except TypeError:
            value = getattr(self, name)
            raise TypeError(
                f"{type(self).__name__}: {name}={value!r} cannot be hashed, so equal objects could not share a "
                f"compilation; give a number, string, tuple, function or frozen dataclass (arrays belong in params)"
            ) from None

    def replace(self, **changes: Any) -> Any:
        """A copy with some fields changed: `layer.replace(units=3)`."""
        return dataclasses.replace(self, **changes)  # type: ignore[type-var]

    def __repr__(self) -> str:
        """Only what differs from the defaults, as one would type it."""
        parts = []
        for field in sorted(dataclasses.fields(self), key=lambda f: f.kw_only is True):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if field.default is dataclasses.MISSING:
                parts.append(show(value))
            elif field.repr and value != self.convert(field.name, field.default):
                parts.append(f"{field.name}={show(value)}")
        return f"{type(self).__name__}({', '.join(parts)})"


def snake_case(name: str) -> str:
    """`Conv2D` -> `conv2d`, `MaxPooling2D` -> `max_pooling2d`, as Keras names layers, losses and metrics."""
    name = re.sub(r"(.)([A-Z][a-z0-9]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


def tuples(value: Any) -> Any:
    """Lists, at any depth, as tuples: a list cannot be hashed."""
    return (
        tuple(tuples(v) for v in value) if isinstance(value, list | tuple) and not hasattr(value, "_fields") else value
    )


def show(value: Any) -> str:
    """A setting as one would type it: functions by their name."""
    return repr(value.__name__) if inspect.isfunction(value) or inspect.isbuiltin(value) else repr(value)


def pair(value: Any, name: str, owner: str, n: int = 2, least: int = 1) -> tuple[int, ...]:
    """One integer for all `n` axes, or one for each; refuses anything else.

    >>> pair(3, "kernel_size", "Conv2D")
    (3, 3)
    """
    values = (value,) * n if is_int(value) else value
    if not (isinstance(values, list | tuple) and len(values) == n and all(is_int(v) for v in values)):
        raise ValueError(f"{owner}: {name} is one integer or {n} of them, e.g. {name}={(3,) * n}; got {value!r}")
    if min(values) < least:
        raise ValueError(f"{owner}: {name} must be at least {least}; got {value!r}")
    return tuple(int(v) for v in values)


def is_int(value: Any) -> bool:
    """Whether this is a whole number (NumPy's too, but no bool)."""
    return hasattr(value, "__index__") and not isinstance(value, bool) and not hasattr(value, "__len__")


def require_int(value: Any, name: str, owner: str, least: int = 1) -> None:
    """Refuses what is not an integer of at least `least`."""
    if not (type(value) is int or is_int(value)) or value < least:
        raise ValueError(f"{owner}: {name} must be an integer of at least {least}; got {value!r}")


def require_between(value: Any, name: str, owner: str, low: float, high: float, open_top: bool = False) -> None:
    """Refuses a number outside [low, high] (or [low, high)). What is no plain number, a tracer say, passes."""
    if isinstance(value, bool | str) or value is None:
        raise TypeError(f"{owner}: {name} must be a number; got {value!r}")
    if not isinstance(value, int | float):
        return
    if not (low <= value < high if open_top else low <= value <= high):
        bracket = ")" if open_top else "]"
        raise ValueError(f"{owner}: {name} must be in [{low}, {high}{bracket}; got {value!r}")
