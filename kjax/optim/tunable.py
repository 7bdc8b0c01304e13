"""Settings whose numbers are the leaves of a pytree: optimizers and schedules."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import numpy as np

from kjax.frozen import Frozen, require_between, require_int, show


class Tunable(Frozen):
    """A frozen dataclass that is a pytree: numbers, arrays and functions that are pytrees are its leaves.

    Flags, whole numbers listed in `counts`, None, texts and plain functions are static. So other numbers compile
    nothing again, and `jax.vmap` and `jax.grad` reach them.
    """

    absent_at_zero: ClassVar[tuple[str, ...]] = ()
    """Fields that are no leaves where they are the plain number 0: what belongs to them is left out."""
    limits: ClassVar[dict[str, float]] = {}
    """Each of these numbers must be in [0, limit)."""
    positive: ClassVar[tuple[str, ...]] = ()
    """Numbers that must be above 0; None is as good where it is the default."""
    counts: ClassVar[tuple[str, ...]] = ()
    """Whole numbers of at least 1; None is as good where it is the default."""
    _static: ClassVar[Any]
    """`(names of the leaves, (name, value) of the rest)`, made once for each object."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.__eq__ = Tunable.__eq__  # type: ignore[method-assign]
        cls.__hash__ = Tunable.__hash__  # type: ignore[method-assign]
        jax.tree_util.register_pytree_with_keys(cls, _flatten_with_keys, _unflattener(cls), _flatten)

    def has(self, name: str) -> bool:
        """Whether a setting is there: neither None nor left out for being the plain number 0."""
        return name in self._static[0]

    def convert(self, name: str, value: Any) -> Any:
        """Numbers as Python floats, which take on the dtype of what they meet."""
        value = value.item() if isinstance(value, np.generic) else super().convert(name, value)
        return value if name in self.counts else floats(value)

    def validate(self) -> None:
        cls = type(self).__name__
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value is None and field.default is None:
                continue
            if field.name in self.limits:
                self.require_number(field.name, value)
            elif field.name in self.positive:
                self.require_positive(field.name)
            elif field.name in self.counts:
                require_int(value, field.name, cls)
            elif isinstance(field.default, bool) and not isinstance(value, bool):
                raise TypeError(f"{cls}: {field.name} must be True or False; got {value!r}")

    def require_number(self, name: str, value: Any, hint: str = "") -> None:
        """Refuses what is no number, or one out of its limits."""
        cls = type(self).__name__
        if not is_number(value):
            raise TypeError(f"{cls}: {name} must be a number{hint}; got {value!r}")
        require_between(value, name, cls, 0, self.limits.get(name, math.inf), open_top=True)

    def require_positive(self, name: str, hint: str = "") -> None:
        """Refuses what is no number above 0."""
        value, cls = getattr(self, name), type(self).__name__
        if not is_number(value):
            raise TypeError(f"{cls}: {name} must be a number{' or None' if hint else ''}; got {value!r}")
        if isinstance(value, float) and not value > 0:
            raise ValueError(f"{cls}: {name} must be positive{hint}; got {value!r}")

    def absent(self) -> list[str]:
        """The fields that are no leaves though they are numbers."""
        values = {name: getattr(self, name) for name in self.absent_at_zero}
        return [name for name, value in values.items() if isinstance(value, float) and not value]

    def __post_init__(self) -> None:
        super().__post_init__()
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        static = [*self.absent(), *self.counts]
        leaves = tuple(name for name, value in values.items() if is_dynamic(value) and name not in static)
        rest = tuple((name, value) for name, value in values.items() if name not in leaves)
        self.__dict__["_static"] = (leaves, rest)

    def _require_hashable(self, name: str) -> None:
        if not is_dynamic(getattr(self, name)):
            super()._require_hashable(name)

    def __repr__(self) -> str:
        given = {f.name: (getattr(self, f.name), f.default) for f in dataclasses.fields(self)}
        parts = [f"{n}={show(value)}" for n, (value, default) in given.items() if not same(value, default)]
        return f"{type(self).__name__}({', '.join(parts)})"

    def __eq__(self, other: Any) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        names = [field.name for field in dataclasses.fields(self)]
        return all(same(getattr(self, name), getattr(other, name)) for name in names)

    def __hash__(self) -> int:
        values = [getattr(self, field.name) for field in dataclasses.fields(self)]
        return hash((type(self), *[None if is_array(value) else value for value in values]))


def floats(value: Any) -> Any:
    """Integers as floats, in tuples too."""
    if isinstance(value, tuple):
        return tuple(map(floats, value))
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def is_array(value: Any) -> bool:
    """Whether this is an array, a tracer too."""
    return hasattr(value, "dtype") and hasattr(value, "shape")


def is_number(value: Any) -> bool:
    """Whether this is a plain number or an array."""
    return (isinstance(value, int | float) and not isinstance(value, bool)) or is_array(value)


def is_dynamic(value: Any) -> bool:
    """Whether a setting is a leaf, or a tree of them: a number, an array, some of them, a function that is a pytree."""
    if isinstance(value, tuple):
        return bool(value) and all(map(is_dynamic, value))
    tree = isinstance(value, Tunable) or callable(value)
    return is_number(value) or (tree and not jax.tree_util.all_leaves([value]))


def same(a: Any, b: Any) -> bool:
    """Whether two settings are equal; arrays equal only arrays."""
    if is_array(a) and is_array(b):
        return a is b or (a.dtype == b.dtype and np.array_equal(a, b))
    return is_array(a) == is_array(b) and bool(a == b)


# As a pytree. Both ways are taken on each call of a jitted function, so they do the least possible: `_static` is
# made once, with the object, and what is put back in is not looked at.


def made(cls: type, values: dict[str, Any]) -> Any:
    """An object with these attributes, unchecked."""
    new: Any = object.__new__(cls)
    new.__dict__.update(values)
    return new


def _flatten(tunable: Any) -> tuple[list[Any], Any]:
    values = tunable.__dict__
    static = values["_static"]
    return [values[name] for name in static[0]], static


def _flatten_with_keys(tunable: Any) -> tuple[list[tuple[Any, Any]], Any]:
    leaves, static = _flatten(tunable)
    keys = map(jax.tree_util.GetAttrKey, static[0])
    return list(zip(keys, leaves, strict=True)), static


def _unflattener(cls: type) -> Callable[[Any, Any], Any]:
    def unflatten(static: Any, leaves: Any) -> Any:
        names, rest = static
        return made(cls, {**dict(rest), **dict(zip(names, leaves, strict=True)), "_static": static})

    return unflatten
