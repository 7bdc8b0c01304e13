"""What feeds what in a container of any kind, found by tracing it: its inputs, calls of layers, and what joins them."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax

from kjax.nn.container import Container
from kjax.nn.mask import Masked

Jaxpr = Any
"""A program that JAX has traced. Known by what it has: its class comes with `jax.extend`, 30 ms of an import."""
Value = tuple[int, int]
"""A value: the step that gives it, and which of that step's outputs it is; a mask counts as its array."""


class Step(NamedTuple):
    """An input, a call of a layer or, between layers, an operation on values that come from different steps."""

    name: str
    """The layer's, or the operation's; an input has none."""
    layer: int | None
    """Which layer of the container it is; None for inputs and operations."""
    number: int
    """The call's number, as `Container.run` counts."""
    x: Any
    y: Any
    """The shapes and dtypes that go in and come out."""
    sources: tuple[Value | None, ...] = ()
    """Where each input comes from; None for a constant."""


class Flow:
    """The steps of a container for inputs like `x`, in order, and where its outputs come from; nothing is computed.

    Each call of a layer is traced as a compiled function of its own, so that it stands as one equation among the
    rest of what the container does.

    >>> import jax.numpy as jnp
    >>> from kjax import nn
    >>> a = nn.Input(shape=(3,))
    >>> net, x = nn.Graph(a, nn.Dense(3)(a) + a), jnp.ones((1, 3))
    >>> [(step.name, step.sources) for step in Flow(net, *net.init(jax.random.key(0), x), x).steps]
    [('', ()), ('dense', ((0, 0),)), ('add', ((1, 0), (0, 0)))]
    """

    def __init__(self, net: Container, params: Any, state: Any, x: Any):
        self._net, self._params, self._state = net, params, state
        self._calls: dict[str, Step] = {}
        self.steps = [Step("", None, i, None, jax.tree.map(spec, part)) for i, part in enumerate(parts(x))]
        traced, y = jax.make_jaxpr(lambda x: net.run(x, self._visit), return_shape=True)(x)
        self.outputs = by_part(y, self._walk(traced.jaxpr, [(i, 0) for i in part_numbers(x)]))

    @property
    def calls(self) -> list[Step]:
        """The steps that are calls of layers."""
        return [step for step in self.steps if step.layer is not None]

    def _visit(self, i: int, number: int, given: Any) -> Any:
        name = self._net.names[i]
        own = self._params.get(name, {}), self._state.get(name, {})

        def called(x: Any) -> Any:
            # The barrier keeps a layer that does nothing, as dropout in use, from being skipped over.
            return self._net.layers[i].apply(*own, jax.lax.optimization_barrier(x))[0]

        called.__name__ = f"call {len(self._calls)} of {name}"
        y = jax.jit(called)(given)
        self._calls[called.__name__] = Step(name, i, number, *(jax.tree.map(spec, tree) for tree in (given, y)))
        return y

    def _walk(self, jaxpr: Jaxpr, given: list[Value | None]) -> list[Value | None]:
        """Follows the values through all equations; returns where the outputs come from."""
        known: dict[Any, Value | None] = dict(zip(jaxpr.invars, given, strict=True))

        def source(atom: Any) -> Value | None:
            return None if hasattr(atom, "val") else known.get(atom)  # a constant has a value

        for equation in jaxpr.eqns:
            known.update(zip(equation.outvars, self._step([*map(source, equation.invars)], equation), strict=True))
        return [source(atom) for atom in jaxpr.outvars]

    def _step(self, sources: list[Value | None], equation: Any) -> list[Value | None]:
        """Where the results of an equation come from."""
        if call := self._calls.get(equation.params.get("name")):
            # Constants that JAX hands to the function stand before its arguments.
            own = sources[len(sources) - len(jax.tree.leaves(call.x)) :]
            return self._add(call._replace(sources=tuple(by_part(call.x, own))))
        inside = [self._walk(own, sources[len(sources) - len(own.invars) :]) for own in bodies(equation)]
        if inside:
            return inside[-1]
        different = dict.fromkeys(source for source in sources if source is not None)
        if len(different) < 2:
            return [next(iter(different), None)] * len(equation.outvars)
        y = tuple(spec(var.aval) for var in equation.outvars)
        return self._add(Step(equation.primitive.name, None, 0, None, y, tuple(different)))

    def _add(self, step: Step) -> list[Value | None]:
        self.steps.append(step)
        return [(len(self.steps) - 1, i) for i in part_numbers(step.y)]


def parts(tree: Any) -> list[Any]:
    """The arrays of a tree, each with its mask."""
    return jax.tree.leaves(tree, is_leaf=lambda leaf: isinstance(leaf, Masked))


def part_numbers(tree: Any) -> list[int]:
    """For each leaf of a tree, which of its parts it belongs to."""
    return [i for i, part in enumerate(parts(tree)) for _ in jax.tree.leaves(part)]


def by_part(tree: Any, values: list[Value | None]) -> list[Value | None]:
    """Where each part of a tree comes from, given where its leaves do."""
    found = dict(zip(reversed(part_numbers(tree)), reversed(values), strict=True))
    return [found[i] for i in sorted(found)]


def bodies(equation: Any) -> Iterator[Jaxpr]:
    """What an equation runs on its last operands for all of its results: the body of a jit, scan, cond …"""
    for value in equation.params.values():
        for part in value if isinstance(value, tuple | list) else (value,):
            body = getattr(part, "jaxpr", part)
            if hasattr(body, "eqns") and fits(body, equation):
                yield body


def fits(body: Jaxpr, equation: Any) -> bool:
    return len(body.outvars) == len(equation.outvars) and len(body.invars) <= len(equation.invars)


def spec(a: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(a.shape, a.dtype)
