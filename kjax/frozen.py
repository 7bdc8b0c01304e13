"""Immutable, hashable, printable settings: the base of layers, losses, metrics, optimizers, initializers …

A subclass writes annotated fields and becomes a frozen dataclass by itself. Two objects made from the same
settings are equal and share one hash, so they also share one compilation.
"""

import dataclasses
import difflib
import functools
import inspect
import operator
import re
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, TypeVar, dataclass_transform

from kjax.tracebacks import shorten

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
    """Makes a function name the right word for a misspelt keyword argument, and its errors short.

    >>> explained(lambda epochs=1: None)(epoch=3)
    Traceback (most recent call last):
    ...
    TypeError: <lambda> has no argument 'epoch'. Did you mean 'epochs'?
    """
    known = frozenset(inspect.signature(function).parameters) - {"self"}

    @functools.wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        try:
            if not known.issuperset(kwargs):
                refuse_unknown(kwargs, known, function.__name__)
            return function(*args, **kwargs)
        except Exception as error:
            shorten(error)
            raise

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


def field_values(cls: type, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """The value of each field for an object made by `cls(*args, **kwargs)`.

    Raises:
        TypeError: an unknown argument (names the right word for a misspelt one), one given twice or left out.
    """
    fields = [field for field in dataclasses.fields(cls) if field.init]
    positional = [field.name for field in fields if not field.kw_only]
    known = ", ".join([*positional, *(field.name for field in fields if field.kw_only)])
    refuse_unknown(kwargs, [field.name for field in fields], cls.__name__)
    if len(args) > len(positional):
        raise TypeError(
            f"{cls.__name__} takes {len(positional)} positional arguments, but {len(args)} were given. "
            f"Its arguments: {known}."
        )
    found = dict(zip(positional, args, strict=False))
    for name in found:
        if name in kwargs:
            raise TypeError(f"{cls.__name__} got multiple values for argument {name!r}. Its arguments: {known}.")
    found |= kwargs
    missing = [field.name for field in fields if field.name not in found and field.default is dataclasses.MISSING]
    if missing:
        raise TypeError(
            f"{cls.__name__} is missing {len(missing)} required argument{'s' * (len(missing) > 1)}: "
            f"{', '.join(map(repr, missing))}. Its arguments: {known}."
        )
    return {field.name: found.get(field.name, field.default) for field in dataclasses.fields(cls)}


def no_fields(values: dict[str, Any]) -> tuple[()]:
    """The key of objects without fields, which are all equal."""
    return ()


class FieldsSignature:
    """What `inspect.signature` tells of a class of settings: its fields; made when it is asked for."""

    def __get__(self, instance: Any, owner: type) -> inspect.Signature:
        if instance is not None:
            raise AttributeError("__signature__")  # an object's is that of its __call__
        if owner.__init__ is not Frozen.__init__:  # type: ignore[misc]
            return inspect.signature(functools.partial(owner.__init__, None))  # type: ignore[misc]
        kinds = {False: inspect.Parameter.POSITIONAL_OR_KEYWORD, True: inspect.Parameter.KEYWORD_ONLY}
        fields = sorted((f for f in dataclasses.fields(owner) if f.init), key=lambda f: bool(f.kw_only))
        return inspect.Signature(
            [
                inspect.Parameter(
                    f.name,
                    kinds[bool(f.kw_only)],
                    default=inspect.Parameter.empty if f.default is dataclasses.MISSING else f.default,
                    annotation=f.type,
                )
                for f in fields
            ]
        )


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

    __signature__ = FieldsSignature()
    _key: ClassVar[Callable[[dict[str, Any]], Any]]
    """The values of all fields, out of an object's `__dict__`: what equality and hash are about."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # The methods that dataclasses would write are compiled class by class, which takes half of the import.
        dataclasses.dataclass(init=False, repr=False, eq=False, match_args=False)(cls)
        names = [field.name for field in dataclasses.fields(cls)]  # type: ignore[arg-type]
        cls._key = operator.itemgetter(*names) if names else no_fields

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.__dict__.update(field_values(type(self), args, type(self).translate(kwargs)))
        self.__post_init__()

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        return self is other or type(self)._key(vars(self)) == type(self)._key(vars(other))

    def __hash__(self) -> int:
        return hash((type(self), type(self)._key(vars(self))))

    def __setattr__(self, name: str, value: Any) -> None:
        refuse_change(self, name, value)

    def __delattr__(self, name: str) -> None:
        raise dataclasses.FrozenInstanceError(f"{type(self).__name__} cannot be changed: {name!r} cannot be deleted")

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
    """A setting as one would type it: functions by their name, of a long tuple only the start.

    >>> show(tuple(range(1000)))
    '(0, 1, 2, … 1000 in all)'
    """
    if isinstance(value, tuple) and len(value) > 20:
        return f"({', '.join(map(show, value[:3]))}, … {len(value)} in all)"
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
