"""Layers that own layers, written as one writes Python: `self.head(self.body(x))`."""

import dataclasses
import functools
import inspect
import types
from collections.abc import Callable
from typing import Any

import jax

from kjax.frozen import Frozen, suggest
from kjax.nn.container import Container, Visit
from kjax.nn.errors import inside
from kjax.nn.layer import Layer, Params, State


class Composite(Container):
    """Base of layers of your own that own other layers: those among the fields, also in tuples of layers.

    A subclass defines `forward(self, x)`, which may also take `training`; inside it the fields can be called like
    functions, and carry their own weights. A field called twice shares its weights. `params` is keyed by field name.

    Where the layers follow from other fields, define `parts` instead: a dict of them by name.

    >>> import jax, jax.numpy as jnp
    >>> from kjax import nn
    >>> class Block(nn.Composite):
    ...     units: int = 4
    ...
    ...     def parts(self):
    ...         return {"wide": nn.Dense(4 * self.units, "relu"), "back": nn.Dense(self.units)}
    ...
    ...     def forward(self, x):
    ...         return x + self.back(self.wide(x))
    >>> block = Block(3)
    >>> params, state = block.init(jax.random.key(0), jnp.ones((1, 3)))
    >>> jax.tree.map(jnp.shape, params)
    {'back': {'bias': (3,), 'kernel': (12, 3)}, 'wide': {'bias': (12,), 'kernel': (3, 12)}}

    Raises:
        LayerError: a layer that cannot take what it is called on.
        TypeError: no `forward`.
    """

    replaced: Any = dataclasses.field(default=(), kw_only=True, repr=False)
    """Layers that stand in for those of `parts`, by name: what freezing some of them leaves."""

    computes_wide = False  # `forward` may calculate with what it gets

    def forward(self, x: Any) -> Any:
        """The output for `x`; `self` has the fields as callables."""
        raise TypeError(f"{type(self).__name__} defines no forward(self, x)")

    def parts(self) -> dict[str, Layer]:
        """The layers by name: the fields that are layers, and those in fields that are tuples of layers."""
        found: dict[str, Layer] = {}
        for name, value in vars(self).items():
            if isinstance(value, Layer):
                found[name] = value
            elif isinstance(value, tuple) and any(isinstance(v, Layer) for v in value):
                found.update({f"{name}_{i}": v for i, v in enumerate(value)})
        return found

    def validate(self) -> None:
        for name, layer in self._parts.items():
            if not isinstance(layer, Layer):
                raise TypeError(f"{type(self).__name__}: {name} is not a layer: {layer!r}")

    @functools.cached_property
    def _parts(self) -> dict[str, Layer]:
        found = {**self.parts(), **dict(self.replaced)}
        return found if self.dtype is None else {name: part.with_dtype(self.dtype) for name, part in found.items()}

    @property
    def layers(self) -> tuple[Layer, ...]:
        return tuple(self._parts.values())

    @functools.cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(self._parts)

    def with_layers(self, layers: tuple[Layer, ...]) -> Any:
        return self.replace(replaced=tuple(zip(self.names, layers, strict=True)))

    def build(self, key: jax.Array, x: Any) -> tuple[Params, State]:
        params: Params = {}
        state: State = {}
        for i, given in sorted(self._inputs(x).items()):
            self.init_child(i, key, given, params, state)
        return params, state

    def _inputs(self, x: Any) -> dict[int, Any]:
        """What each layer is first called on, as shapes; found by tracing `forward`."""
        found: dict[int, Any] = {}

        def visit(i: int, number: int, given: Any) -> Any:
            found.setdefault(i, jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), given))
            with inside(self.names[i], self.position(i), self.layers[i], given):
                own = self.layers[i].init(jax.random.key(0), found[i])
                return self.layers[i].apply(*own, given)[0]

        jax.eval_shape(lambda x: self.run(x, visit, False), x)
        return found

    def run(self, x: Any, visit: Visit, training: bool = False) -> Any:
        if type(self).forward is Composite.forward:
            self.forward(x)
        return call_with(type(self).forward, Bound(vars(self), type(self), self._parts, visit), x, training)


class Bound:
    """What `self` is inside `forward`: the object's attributes, with layers as callables that carry their weights.

    Args:
        values: the attributes.
        owner: the class, for its methods.
        parts: the layers by name; those of an attribute that is a tuple are called `name_0`, `name_1` …
        visit: `visit(layer number, call number, input)` gives a layer's output, where there are parts.
    """

    def __init__(self, values: dict[str, Any], owner: type, parts: dict[str, Layer], visit: Any = None):
        self._values, self._owner, self._visit = values, owner, visit
        self._numbers = {name: i for i, name in enumerate(parts)}
        self._calls = 0

    def __getattr__(self, name: str) -> Any:
        if name in self._numbers:
            return functools.partial(self._call, self._numbers[name])
        value = self._values[name] if name in self._values else inspect.getattr_static(self._owner, name, MISSING)
        if isinstance(value, tuple) and f"{name}_0" in self._numbers:
            return tuple(getattr(self, f"{name}_{i}") for i in range(len(value)))
        if value is MISSING:
            raise AttributeError(f"{self._owner.__name__} has no attribute {name!r}.{suggest(name, dir(self))}")
        if isinstance(value, property):
            return value.fget(self)  # type: ignore[misc]
        if isinstance(value, staticmethod | classmethod):
            return getattr(self._owner, name)
        return types.MethodType(value, self) if inspect.isfunction(value) and name not in self._values else value

    def __dir__(self) -> list[str]:
        return [*self._numbers, *self._values]

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_"):
            raise AttributeError(
                f"{self._owner.__name__}: self.{name} is set while the network runs, which is traced once and then "
                "compiled: make layers and settings beforehand, and keep what changes in a layer's state"
            )
        super().__setattr__(name, value)

    def _call(self, i: int, *x: Any) -> Any:
        self._calls += 1
        return self._visit(i, self._calls - 1, x[0] if len(x) == 1 else x)


MISSING = object()


def call_with(function: Callable, bound: Bound, x: Any, training: bool) -> Any:
    """`function(self, x)`, with `training` where it asks for it."""
    options = {"training": training} if "training" in inspect.signature(function).parameters else {}
    return function(bound, x, **options)


class Body(Composite):
    """The layer that a subclass of `Model` with a `call` is; equal for equal members, so it compiles once.

    Args:
        owner: the class that has `call(self, inputs)`.
        members: its layers and plain attributes, by name.
    """

    owner: type
    members: tuple[tuple[str, Any], ...] = ()

    def parts(self) -> dict[str, Layer]:
        found: dict[str, Layer] = {}
        for name, value in self.members:
            several = isinstance(value, tuple) and any(isinstance(v, Layer) for v in value)
            own = {f"{name}_{i}": v for i, v in enumerate(value)} if several else {name: value}
            found.update({key: v for key, v in own.items() if isinstance(v, Layer)})
        return found

    def run(self, x: Any, visit: Visit, training: bool = False) -> Any:
        bound = Bound(dict(self.members), self.owner, self._parts, visit)
        return call_with(self.owner.call, bound, x, training)  # type: ignore[attr-defined]

    def __repr__(self) -> str:
        return f"<body of {self.owner.__name__}>"


class Objective(Frozen):
    """The loss that a subclass of `Model` defines; equal for equal members, so it compiles once.

    Args:
        owner: the class that has `compute_loss(self, x, y, y_pred, sample_weight)`.
        members: its layers and plain attributes, by name.
    """

    owner: type
    members: tuple[tuple[str, Any], ...] = ()

    def __call__(self, x: Any, y: Any, y_pred: Any, sample_weight: Any) -> Any:
        bound = Bound(dict(self.members), self.owner, {})
        return self.owner.compute_loss(bound, x=x, y=y, y_pred=y_pred, sample_weight=sample_weight)  # type: ignore[attr-defined]
