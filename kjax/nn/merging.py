"""Layers that join several inputs into one, and Keras's functions that call them on nodes."""

import dataclasses
import functools
import operator
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from kjax.dtypes import at_least_float32, promoted
from kjax.frozen import is_int
from kjax.nn.layer import Layer, Params, State
from kjax.nn.mask import Masked, mask_of, plain, unmask
from kjax.nn.operation import aligned, spread


class Joining(Layer):
    """Base of the layers that take several inputs of one batch: checks how many there are."""

    exactly: ClassVar[int | None] = None
    """How many inputs it takes; by default two or more."""

    def check_input(self, x: Any) -> None:
        parts = x if isinstance(x, tuple | list) else (x,)
        if len(parts) < 2 or self.exactly not in (None, len(parts)):
            wanted = "two or more inputs" if self.exactly is None else f"{self.exactly} inputs"
            self.refuse(f"takes a list of {wanted}, layer([a, b]), not of {len(parts)}", x)
        if len({part.shape[0] for part in parts}) > 1:
            self.refuse("takes inputs of one batch size (axis 0)", x)
        self.check_shapes(x)

    def check_shapes(self, x: Any) -> None:
        """Raises `LayerError` for inputs that do not fit together."""


class Merge(Joining):
    """Base of the layers that join inputs number by number.

    Inputs of a lower rank are spread over the axes that follow the batch axis, axes of length 1 over the others'
    length; the dtype is the one that holds them all. What is real in any of the inputs is real in the output.
    """

    takes_integers = True

    def check_shapes(self, x: Any) -> None:
        rank = max(len(part.shape) for part in x)
        shapes = [(1,) * (rank - len(part.shape)) + tuple(part.shape[1:]) for part in x]
        for axis, sizes in enumerate(zip(*shapes, strict=True), 1):
            if len({*sizes} - {1}) > 1:
                self.refuse(f"takes inputs of one size, or 1, on each axis; axis {axis} differs", x)

    def call(self, params: Params, state: State, x: Any, training: bool, key: Any) -> tuple[Any, State]:
        return functools.reduce(self.two, aligned(*x)), state

    def two(self, a: Any, b: Any) -> Any:
        """Two inputs as one."""
        raise NotImplementedError(f"{type(self).__name__} defines no two(self, a, b)")


class Add(Merge):
    """The sum of the inputs: `a + b + …`.

    Takes a list of two or more inputs of one shape. Lower ranks are spread over the axes behind the batch axis, axes
    of length 1 over the others' length.

    Shapes: [(batch, …), (batch, …), …] -> (batch, …).

    Raises:
        LayerError: fewer than two inputs, or shapes that do not fit together.

    >>> Add().apply({}, {}, (jnp.ones((1, 2)), jnp.array([[1.0, 2.0]])))[0].tolist()
    [[2.0, 3.0]]
    """

    def two(self, a: Any, b: Any) -> Any:
        return a + b


class Subtract(Merge):
    """The difference of exactly two inputs, `a - b`; shapes and errors are those of `Add`."""

    exactly = 2

    def two(self, a: Any, b: Any) -> Any:
        return a - b


class Average(Add):
    """The mean of the inputs, `(a + b + …) / n`; shapes and errors are those of `Add`."""

    takes_integers = False

    def call(self, params: Params, state: State, x: Any, training: bool, key: Any) -> tuple[Any, State]:
        return super().call(params, state, x, training, key)[0] / len(x), state


class RealMerge(Merge):
    """Base of the merges that pass over what an input's mask calls padding, as Keras 3 does.

    Where no input is real, the output is padding too, and holds the first input's value.
    """

    takes_mask = True

    def call(self, params: Params, state: State, x: Any, training: bool, key: Any) -> tuple[Any, State]:
        values = aligned(*plain(x))
        if all(mask_of(part) is None for part in x):
            return functools.reduce(self.two, values), state
        real = [spread(whole_mask(part, unmask(part)[0].ndim), values[0].ndim) for part in x]
        return functools.reduce(self.join, map(Masked, values, real)).value, state

    def join(self, a: Masked, b: Masked) -> Masked:
        """Both as one where both are real, elsewhere the one that is."""
        alone = jnp.where(b.mask, b.value, a.value)
        return Masked(jnp.where(a.mask & b.mask, self.two(a.value, b.value), alone), a.mask | b.mask)


class Multiply(RealMerge):
    """The product of the inputs, `a * b * …`, of those that are real; shapes and errors are those of `Add`."""

    def two(self, a: Any, b: Any) -> Any:
        return a * b


class Maximum(RealMerge):
    """The largest of the inputs' numbers, of those that are real; shapes and errors are those of `Add`."""

    def two(self, a: Any, b: Any) -> Any:
        return jnp.maximum(a, b)


class Minimum(RealMerge):
    """The smallest of the inputs' numbers, of those that are real; shapes and errors are those of `Add`."""

    def two(self, a: Any, b: Any) -> Any:
        return jnp.minimum(a, b)


class Concatenate(Joining):
    """The inputs one after the other along an axis.

    Args:
        axis: where they meet; any but the batch axis 0.

    Shapes: [(batch, a, features), (batch, b, features), …] -> (batch, a + b + …, features) with axis=1.

    Masks are concatenated too where the axis is one that they cover, time that is; elsewhere what is real in any of
    the inputs is real in the output. An input without a mask counts as real throughout.

    Raises:
        ValueError: an axis that is no integer, or the batch axis.
        LayerError: fewer than two inputs, ranks that differ, or sizes that differ on another axis.

    >>> Concatenate(axis=1).apply({}, {}, (jnp.ones((2, 3)), jnp.ones((2, 4))))[0].shape
    (2, 7)
    """

    axis: int = -1

    takes_mask = True
    takes_integers = True

    def validate(self) -> None:
        if not is_int(self.axis) or self.axis == 0:
            raise ValueError(f"Concatenate: axis is an integer, and not the batch axis 0; got {self.axis!r}")

    def check_shapes(self, x: Any) -> None:
        ranks = {len(part.shape) for part in x}
        if len(ranks) > 1 or abs(self.axis) >= min(ranks):
            self.refuse(f"takes inputs of one rank, with an axis {self.axis} that is not the batch axis", x)
        axis = self.axis % len(x[0].shape)
        for other in range(1, len(x[0].shape)):
            if other != axis and len({part.shape[other] for part in x}) > 1:
                self.refuse(f"joins along axis {axis}: all others must be equal, axis {other} differs", x)

    def call(self, params: Params, state: State, x: Any, training: bool, key: Any) -> tuple[Any, State]:
        values = aligned(*plain(x))
        axis = self.axis % values[0].ndim
        y, mask = jnp.concatenate(values, axis), joined_mask(x, axis)
        return (y if mask is None else Masked(y, mask)), state


def joined_mask(x: Any, axis: int) -> Any:
    """The mask of several inputs joined along an axis; None where none of them has one."""
    masks = [mask_of(part) for part in x]
    ndim = max((mask.ndim for mask in masks if mask is not None), default=0)
    if not ndim:
        return None
    full = [whole_mask(part, ndim) for part in x]
    return jnp.concatenate(full, axis) if axis < ndim else functools.reduce(operator.or_, full)


def whole_mask(x: Any, ndim: int) -> Any:
    """The mask of an array as one that covers its first `ndim` axes; all real where it has none."""
    value, mask = unmask(x)
    mask = jnp.ones((1,), bool) if mask is None else mask
    return jnp.broadcast_to(jnp.expand_dims(mask, range(mask.ndim, ndim)), value.shape[:ndim])


class Dot(Joining):
    """The products of two inputs summed over an axis of each, example by example.

    Args:
        axes: the axis of both inputs, or one for each, counted with the batch axis 0 or, negative, from the end.
        normalize: whether to divide by the Euclidean length along that axis first, which gives the cosine.

    Shapes: [(batch, a, n), (batch, b, n)] -> (batch, a, b) with axes=2; [(batch, n), (batch, n)] -> (batch, 1).

    A mask of time steps ends here, as in Keras; that of rows stays.

    Raises:
        ValueError: axes that are no integers, more than two, or the batch axis.
        LayerError: not two inputs, an axis that an input has not, sizes that differ along the axes.

    >>> Dot(axes=1).apply({}, {}, (jnp.array([[1.0, 2.0]]), jnp.array([[3.0, 4.0]])))[0].tolist()
    [[11.0]]
    """

    axes: Any = dataclasses.field()  # type: ignore[misc]
    normalize: bool = False

    exactly = 2
    takes_mask = True

    def validate(self) -> None:
        axes = self._axes()
        if len(axes) != 2 or not all(map(is_int, axes)) or 0 in axes:
            raise ValueError(f"Dot: axes is one integer or two, none of them the batch axis 0; got {self.axes!r}")

    def _axes(self) -> tuple[int, ...]:
        return self.axes if isinstance(self.axes, tuple) else (self.axes,) * 2

    def check_shapes(self, x: Any) -> None:
        for i, (axis, part) in enumerate(zip(self._axes(), x, strict=True), 1):
            if abs(axis) >= len(part.shape):
                self.refuse(f"sums over axis {axis} of input {i}, which has none but its batch axis there", x)
        first, second = (part.shape[axis] for axis, part in zip(self._axes(), x, strict=True))
        if first != second:
            self.refuse(f"sums over axes {self._axes()}, whose sizes differ: {first} and {second}", x)

    def call(self, params: Params, state: State, x: Any, training: bool, key: Any) -> tuple[Any, State]:
        a, b = values = plain(x)
        axes = tuple(axis % value.ndim for axis, value in zip(self._axes(), values, strict=True))
        if self.normalize:
            a, b = (normalized(value, axis) for axis, value in zip(axes, values, strict=True))
        dtype = promoted(a.dtype, b.dtype)
        y = jax.lax.dot_general(a.astype(dtype), b.astype(dtype), (((axes[0],), (axes[1],)), ((0,), (0,))))
        y, mask = (y if y.ndim > 1 else y[:, None]), mask_of(x)
        return (y if mask is None else Masked(y, mask.any(tuple(range(1, mask.ndim))))), state


def normalized(x: jax.Array, axis: int) -> jax.Array:
    """`x` divided by its Euclidean length along an axis, by 1e-7 where that is less."""
    wide = x.astype(at_least_float32(x.dtype))
    squares = jnp.sum(wide * wide, axis, keepdims=True)
    return (wide * jax.lax.rsqrt(jnp.maximum(squares, 1e-14))).astype(x.dtype)


def add(inputs: Any, **options: Any) -> Any:
    """The node of `Add()(inputs)`; this and the following have the options of their layer."""
    return Add(**options)(inputs)


def subtract(inputs: Any, **options: Any) -> Any:
    """The node of `Subtract()(inputs)`."""
    return Subtract(**options)(inputs)


def multiply(inputs: Any, **options: Any) -> Any:
    """The node of `Multiply()(inputs)`."""
    return Multiply(**options)(inputs)


def average(inputs: Any, **options: Any) -> Any:
    """The node of `Average()(inputs)`."""
    return Average(**options)(inputs)


def maximum(inputs: Any, **options: Any) -> Any:
    """The node of `Maximum()(inputs)`."""
    return Maximum(**options)(inputs)


def minimum(inputs: Any, **options: Any) -> Any:
    """The node of `Minimum()(inputs)`."""
    return Minimum(**options)(inputs)


def concatenate(inputs: Any, axis: int = -1, **options: Any) -> Any:
    """The node of `Concatenate(axis)(inputs)`."""
    return Concatenate(axis, **options)(inputs)


def dot(inputs: Any, axes: Any = -1, **options: Any) -> Any:
    """The node of `Dot(axes)(inputs)`."""
    return Dot(axes, **options)(inputs)
