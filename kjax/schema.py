"""Settings as JSON and back: layers, losses, optimizers, initializers, … all that is `Frozen`, by its fields.

A layer is `{"class": "nn.Dense", "fields": {"units": 3}}`, with the fields that differ from their defaults; a function
`{"function": "activations.relu"}`; a tuple a list. Numbers, texts, True, False and None stand for themselves.

Reading looks names up among kjax's own public classes and functions, and in `custom_objects`, which names without
a dot stand for. It imports nothing, opens no file and runs nothing but the checks that making such an object runs.
"""

import dataclasses
import functools
import inspect
import json
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import jax.numpy as jnp
import numpy as np

from kjax import activations, constraints, initializers, losses, metrics, nn, optim, precision, regularizers
from kjax.frozen import Frozen, suggest
from kjax.nn.graph import InputSpec, Ref

FAMILIES: tuple[ModuleType, ...] = (
    activations, constraints, initializers, losses, metrics, nn, optim, precision, regularizers,
)  # fmt: skip
DEPTH = 200
"""How deep what is read may be nested: far more than any network is, far less than Python can bear."""


class SavedModelError(ValueError):
    """A file or text that is no saved model, or not one that can be made here."""


def family(value: Any) -> str:
    """The package below `kjax` that a class or function is from: "nn"; "" for what is not kjax's own."""
    top, _, rest = getattr(value, "__module__", None).__str__().partition(".")
    return rest.split(".")[0] if top == "kjax" else ""


def descendants(cls: type) -> Iterator[type]:
    """All classes derived from a class."""
    child: type
    for child in cls.__subclasses__():
        yield child
        yield from descendants(child)


@functools.cache
def known() -> dict[str, Any]:
    """What files may name: the classes of settings and the functions of the families, as `nn.Dense`."""
    found: list[Any] = [*descendants(Frozen), InputSpec, Ref]
    found += [f for module in FAMILIES for name, f in vars(module).items() if inspect.isfunction(f) and name[0] != "_"]
    own = {module.__name__.removeprefix("kjax.") for module in FAMILIES}
    return {f"{family(value)}.{value.__name__}": value for value in found if family(value) in own}


class Writer:
    """Makes JSON of settings. `custom` gathers what is not kjax's own, by the name it will be looked up by.

    Raises:
        SavedModelError: something without a name that it could be found by, or that is no setting at all; says where.
    """

    def __init__(self) -> None:
        self.custom: dict[str, Any] = {}
        self._names = {id(value): name for name, value in known().items()}

    def write(self, value: Any, path: str) -> Any:
        """The JSON of a value that stands at a path, `net (Serial).layers[1]`."""
        if value is None or isinstance(value, bool | str) or type(value) is int:
            return value
        if isinstance(value, Frozen) or hasattr(value, "_fields"):
            return self._object(value, f"{path} ({type(value).__name__})")
        if isinstance(value, tuple):
            return [self.write(v, f"{path}[{i}]") for i, v in enumerate(value)]
        if isinstance(value, float) and not isinstance(value, np.generic):
            return value if np.isfinite(value) else {"float": repr(value)}
        if value is Ellipsis:
            return {"ellipsis": True}
        if hasattr(value, "dtype") and hasattr(value, "tolist"):
            kind = "number" if isinstance(value, np.generic) else "array"
            return {kind: self.write(tuples(value.tolist()), path), "dtype": str(value.dtype)}
        return self._named(value, path)

    def _object(self, value: Any, path: str) -> dict[str, Any]:
        fields = {
            name: self.write(own, f"{path}.{name}") for name, own, default in settings(value) if not same(own, default)
        }
        return {"class": self.name(type(value), path), "fields": fields}

    def _named(self, value: Any, path: str) -> dict[str, Any]:
        if not callable(value) or not isinstance(getattr(value, "__name__", None), str):
            raise SavedModelError(
                f"{path} is {value!r}, which cannot be saved: give a number, a text, a tuple, a function made by def, "
                "or an object of a class derived from kjax.frozen.Frozen"
            )
        return {"type" if isinstance(value, type) else "function": self.name(value, path)}

    def name(self, value: Any, path: str) -> str:
        """What a class or function is called in the file."""
        if id(value) in self._names:
            return self._names[id(value)]
        name = value.__name__
        if name == "<lambda>":
            raise SavedModelError(
                f"{path} is a lambda, which has no name that it could be loaded by: make it a function, def name(…), "
                'and load the model with custom_objects={"name": name}'
            )
        if self.custom.setdefault(name, value) is not value:
            raise SavedModelError(f"{path} is {value!r}, but {self.custom[name]!r} has the same name: rename one")
        return name


class Reader:
    """Makes settings of JSON.

    Args:
        custom_objects: a dict of the classes and functions that are not kjax's own, by name.

    Raises:
        SavedModelError: says where and what is wrong.
    """

    def __init__(self, custom_objects: dict[str, Any] | None = None):
        if not isinstance(custom_objects or {}, dict):
            raise TypeError(f'custom_objects is a dict such as {{"MyLayer": MyLayer}}; got {custom_objects!r}')
        self.custom = dict(custom_objects or {})

    def read(self, data: Any, path: str, depth: int = 0) -> Any:
        """The value that JSON stands for."""
        if depth > DEPTH:
            raise SavedModelError(f"{path[:80]}… is nested more than {DEPTH} deep")
        if isinstance(data, list):
            return tuple(self.read(v, f"{path}[{i}]", depth + 1) for i, v in enumerate(data))
        if not isinstance(data, dict):
            return data
        readers: dict[str, Callable] = {
            "class": self._object, "type": self._type, "function": self._function,
            "float": lambda data, path, depth: float(data["float"]),
            "ellipsis": lambda data, path, depth: Ellipsis, "array": self._array, "number": self._array,
        }  # fmt: skip
        kind = next((key for key in readers if key in data), None)
        if kind is None:
            raise SavedModelError(f"{path}: {brief(data)} is none of {', '.join(readers)}")
        return readers[kind](data, path, depth)

    def _object(self, data: dict[str, Any], path: str, depth: int) -> Any:
        cls = self.find(data["class"], path, "class")
        if not isinstance(cls, type) or not (issubclass(cls, Frozen) or cls in (InputSpec, Ref)):
            raise SavedModelError(f"{path}: {data['class']} is no class of settings, but {cls!r}")
        path, fields = f"{path} ({cls.__name__})", table(data.get("fields", {}), path)
        refuse_unknown(fields, field_names(cls), path)
        values = {name: self.read(own, f"{path}.{name}", depth + 1) for name, own in fields.items()}
        for name in getattr(cls, "files", ()):
            if isinstance(values.get(name), str):
                raise SavedModelError(f"{path}.{name} names a file; a saved model holds what was in it")
        try:
            return cls(**values)
        except Exception as error:
            raise SavedModelError(f"{path}: {error}") from error

    def _type(self, data: dict[str, Any], path: str, depth: int) -> type:
        found = self.find(data["type"], path, "class")
        if not isinstance(found, type):
            raise SavedModelError(f"{path}: {data['type']} is no class, but {found!r}")
        return found

    def _function(self, data: dict[str, Any], path: str, depth: int) -> Any:
        found = self.find(data["function"], path, "function")
        if isinstance(found, type) or not callable(found):
            raise SavedModelError(f"{path}: {data['function']} is no function, but {found!r}")
        return found

    def _array(self, data: dict[str, Any], path: str, depth: int) -> Any:
        try:
            number, dtype = "number" in data, jnp.dtype(data["dtype"])
            with np.errstate(over="ignore"):
                value = np.array(self.read(data["number" if number else "array"], path, depth + 1), dtype)
        except (TypeError, ValueError, OverflowError, KeyError) as error:
            raise SavedModelError(f"{path}: no array: {error!r}") from None
        return value[()] if number else jnp.asarray(value)

    def find(self, name: Any, path: str, kind: str) -> Any:
        """What a name stands for."""
        if not isinstance(name, str):
            raise SavedModelError(f"{path}: the name of a {kind} is a text; got {brief(name)}")
        if name in self.custom or name in known():
            return self.custom[name] if name in self.custom else known()[name]
        if "." in name:
            raise SavedModelError(f"{path}: kjax has no {kind} {brief(name)}.{suggest(name[:80], known())[:200]}")
        raise SavedModelError(
            f"{path}: the {kind} {brief(name)} is not kjax's own: give it, custom_objects={{{brief(name)}: …}}"
        )


def settings(value: Any) -> Iterator[tuple[str, Any, Any]]:
    """Name, value and default (`MISSING` without one) of each field."""
    if not isinstance(value, Frozen):
        for name in value._fields:
            yield name, getattr(value, name), value._field_defaults.get(name, dataclasses.MISSING)
        return
    for field in dataclasses.fields(value):  # type: ignore[arg-type]
        default = field.default
        if default is not dataclasses.MISSING:
            default = value.convert(field.name, default)
        yield field.name, getattr(value, field.name), default


def same(a: Any, b: Any) -> bool:
    """Whether two settings are equal in type too: 0, 0.0, -0.0 and False are four."""
    return type(a) is type(b) and repr(a) == repr(b) and bool(np.all(a == b))


def field_names(cls: Any) -> list[str]:
    """The fields that a class of settings takes."""
    return [f.name for f in dataclasses.fields(cls) if f.init] if issubclass(cls, Frozen) else list(cls._fields)


def table(data: Any, path: str) -> dict[str, Any]:
    """A JSON object, or an error."""
    if not isinstance(data, dict):
        raise SavedModelError(f"{path} should be a table of names and values; got {brief(data)}")
    return data


def refuse_unknown(given: Any, names: list[str], path: str) -> None:
    """Raises for the first name that is not known."""
    for name in given:
        if name not in names:
            raise SavedModelError(f"{path} has no {brief(name)}.{suggest(name[:80], names) if names else ''}")


def tuples(value: Any) -> Any:
    """Nested lists as tuples."""
    return tuple(map(tuples, value)) if isinstance(value, list) else value


def brief(data: Any) -> str:
    """The start of what JSON says, for messages."""
    text = repr(data)
    return text if len(text) < 80 else f"{text[:80]}…"


def parse(text: Any, what: str) -> dict[str, Any]:
    """A JSON object out of a text.

    Raises:
        SavedModelError: something else.
    """

    def refuse(name: str) -> None:
        raise ValueError(f"{name} is no JSON")

    try:
        return table(json.loads(text, parse_constant=refuse), what)
    except RecursionError:
        raise SavedModelError(f"{what} is nested too deep") from None
    except (ValueError, TypeError) as error:
        raise SavedModelError(f"{what} is no JSON of a model: {error}") from None


def text(config: dict[str, Any]) -> str:
    """JSON without spaces."""
    return json.dumps(config, separators=(",", ":"), allow_nan=False)


def to_config(value: Any, path: str = "settings") -> Any:
    """The JSON, as Python's lists and dicts, of a layer, loss, optimizer or any other setting.

    >>> from kjax import nn
    >>> to_config(nn.Dense(3, "relu"))
    {'class': 'nn.Dense', 'fields': {'units': 3, 'activation': {'function': 'activations.relu'}}}
    """
    return Writer().write(value, path)


def from_config(data: Any, custom_objects: dict[str, Any] | None = None, path: str = "settings") -> Any:
    """The layer, loss, optimizer … that `to_config` wrote.

    >>> from kjax import nn
    >>> from_config(to_config(nn.Dense(3, "relu")))
    Dense(3, activation='relu')
    """
    return Reader(custom_objects).read(data, path)
