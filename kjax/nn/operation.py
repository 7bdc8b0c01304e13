"""Arithmetic on nodes, as layers: what `a + b`, `a * 2`, `a @ b`, `-a`, `a[:, 0]` become."""

import operator
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from kjax.dtypes import promoted
from kjax.frozen import Frozen, is_int, suggest, tuples
from kjax.nn.layer import Layer, Params, State
from kjax.nn.node import Node, call_on_nodes

TWO: dict[str, Callable] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "truediv": operator.truediv,
    "floordiv": operator.floordiv,
    "mod": operator.mod,
    "pow": operator.pow,
    "matmul": operator.matmul,
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
}
ONE: dict[str, Callable] = {"neg": operator.neg, "abs": operator.abs}


class Operation(Layer):
    """One of Python's operators on one or two inputs, or on an input and a number.

    Args:
        operation: "add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "lt", "le", "gt", "ge",
            "neg", "abs".
        number: the other operand, where there is one input.
        swapped: whether the number comes first.

    >>> Operation("sub", 1.0, swapped=True).apply({}, {}, jnp.ones((1, 2)) * 3)[0].tolist()
    [[-2.0, -2.0]]
    """

    operation: str
    number: Any = None
    swapped: bool = False

    takes_integers = True

    @property
    def default_name(self) -> str:
        return self.operation

    def convert(self, name: str, value: Any) -> Any:
        if name == "number" and value is not None and (isinstance(value, str) or not jnp.isscalar(value)):
            raise TypeError(
                f"{self.operation}: the other operand is a node or a number; got {value!r}. For an array, "
                "Lambda(lambda x: x * array)(node)"
            )
        return super().convert(name, value)

    def validate(self) -> None:
        if self.operation not in TWO | ONE:
            raise ValueError(f"unknown operation {self.operation!r}.{suggest(str(self.operation), TWO | ONE)}")

    def call(self, params: Params, state: State, x: Any, training: bool, key: Any) -> tuple[Any, State]:
        if self.operation in ONE:
            return ONE[self.operation](x), state
        a, b = (x, self.number) if self.number is not None else aligned(*x)
        return TWO[self.operation](*((b, a) if self.swapped else (a, b))), state


class Slice(Layer):
    """What `x[index]` gives; the first axis counts the examples and stays whole.

    Args:
        index: what stands between the brackets: slices, integers, None and `...`.

    >>> Slice((slice(None), -1)).apply({}, {}, jnp.ones((2, 3, 4)))[0].shape
    (2, 4)
    """

    index: Any

    takes_integers = True

    def convert(self, name: str, value: Any) -> Any:
        if name != "index":
            return super().convert(name, value)
        return tuple(plain(i) for i in (value if isinstance(value, tuple) else (value,)))

    def validate(self) -> None:
        if self.index[0] is not Ellipsis and self.index[0] != SliceOf():
            raise ValueError(f"a node's first axis is the batch, which stays whole: node[:, …]; got {self!r}")

    def call(self, params: Params, state: State, x: Any, training: bool, key: Any) -> tuple[Any, State]:
        return x[tuple(i.slice() if isinstance(i, SliceOf) else i for i in self.index)], state


class SliceOf(Frozen):
    """A slice that can be hashed, which Python's own cannot before 3.12."""

    start: int | None = None
    stop: int | None = None
    step: int | None = None

    def slice(self) -> slice:
        return slice(self.start, self.stop, self.step)


def plain(index: Any) -> Any:
    """One part of an index, hashable."""
    if isinstance(index, slice):
        return SliceOf(index.start, index.stop, index.step)
    if index is None or index is Ellipsis or isinstance(index, SliceOf) or is_int(index):
        return index
    raise TypeError(f"a node takes slices, integers, None and ...; got {tuples(index)!r}: use Lambda for the rest")


def aligned(*arrays: Any) -> tuple[Any, ...]:
    """Arrays of one dtype, the lower ranks spread over the batch's other axes as Keras's merges do."""
    dtype, rank = promoted(*(a.dtype for a in arrays)), max(a.ndim for a in arrays)
    return tuple(spread(a, rank).astype(dtype) for a in arrays)


def spread(x: Any, rank: int) -> Any:
    """`x` with axes of one behind the batch axis, up to a rank."""
    return jnp.expand_dims(x, tuple(range(1, 1 + rank - x.ndim)))


def binary(name: str, swapped: bool = False) -> Any:
    """The method of `Node` for an operator."""

    def method(self: Node, other: Any) -> Any:
        if isinstance(other, Node):
            return call_on_nodes(Operation(name), ((self, other),))
        return call_on_nodes(Operation(name, other, swapped), (self,))

    return method


for name in TWO:
    setattr(Node, f"__{name}__", binary(name))
    if name not in ("lt", "le", "gt", "ge"):
        setattr(Node, f"__r{name}__", binary(name, swapped=True))
for name in ONE:
    setattr(Node, f"__{name}__", lambda self, name=name: call_on_nodes(Operation(name), (self,)))
