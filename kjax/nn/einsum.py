"""Layers that multiply by a kernel along axes of one's choice."""

import math
import re
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from kjax.dtypes import promoted
from kjax.frozen import is_int, require_int
from kjax.nn.core import add_bias
from kjax.nn.layer import Params, State, WeightOptions
from kjax.nn.merging import Joining
from kjax.nn.operation import aligned

FORM = re.compile(r"(\.\.\.)?([a-zA-Z]+)(\.\.\.)?,([a-zA-Z]+)->(\.\.\.)?([a-zA-Z]+)(\.\.\.)?")


class Equation(NamedTuple):
    """`input,kernel->output` taken apart; `left` and `right` say where an ellipsis stands."""

    input: str
    kernel: str
    output: str
    left: bool
    right: bool


def parse(equation: Any) -> Equation:
    """The parts of an equation.

    Raises:
        ValueError: another form, a letter twice in a term, one that comes from nowhere, or a batch axis that moves.

    >>> parse("...x,xy->...y")
    Equation(input='x', kernel='xy', output='y', left=True, right=False)
    """
    found = FORM.fullmatch(equation) if isinstance(equation, str) else None
    if found is None or found[1] != found[5] or found[3] != found[7] or (found[1] and found[3]):
        refuse(equation, "must read 'ab,bc->ac', or have '...' at the left or the right of both input and output")
    parts = Equation(found[2], found[4], found[6], bool(found[1]), bool(found[3]))  # type: ignore[index]
    for term in parts[:3]:
        if len({*term}) < len(term):
            refuse(equation, f"has a letter twice in {term!r}")
    for wrong in sorted({*parts.output} - {*parts.input + parts.kernel}):
        refuse(equation, f"has {wrong!r} in its output only")
    for wrong in sorted({*parts.kernel} - {*parts.input + parts.output}):
        refuse(equation, f"has {wrong!r} in its kernel only, whose size nothing tells")
    batch = parts.input[0]
    if not parts.left and (parts.output[0] != batch or batch in parts.kernel):
        refuse(equation, f"must keep the batch axis {batch!r} first, and out of the kernel")
    return parts


def refuse(equation: Any, message: str) -> None:
    """Raises `ValueError` about an equation."""
    raise ValueError(f"EinsumDense: the equation {message}; got {equation!r}")


class EinsumDense(WeightOptions):
    """A kernel multiplied and summed along the axes that an equation names: `activation(einsum(x, kernel) + bias)`.

    Args:
        equation: "input,kernel->output" in Einstein's notation, as `jnp.einsum` takes it: "abc,cd->abd" is `Dense(d)`
            on every step. An ellipsis at the left or right of input and output stands for any axes: "...x,xy->...y".
        output_shape: sizes of the output's letters but the batch axis (an integer for a single one); None for what
            the input tells.
        activation: a name ("relu"), a function, or None for none.
        bias_axes: letters of the output that a bias has axes for; None for no bias.

    Shapes: as the equation says, the batch axis first.

    The kernel is drawn as a matrix of (inputs, outputs), so that initializers see what is summed over and what is not.

    Raises:
        ValueError: an equation, output_shape or bias_axes that do not fit together.
        LayerError: an input of another rank or other sizes than the equation, output_shape or `init` had.

    Source: Keras's layer of this name.

    >>> layer = EinsumDense("abc,cde->abde", (None, 2, 5), bias_axes="de")
    >>> params, state = layer.init(jax.random.key(0), jnp.ones((1, 3, 4)))
    >>> params["kernel"].shape, params["bias"].shape, layer.output(params, state, jnp.ones((7, 3, 4))).shape
    ((4, 2, 5), (2, 5), (7, 3, 2, 5))
    """

    equation: str
    output_shape: Any
    activation: Any = None
    bias_axes: str | None = None

    min_ndim = 2
    ends_in_activation = True

    def convert(self, name: str, value: Any) -> Any:
        return (int(value),) if name == "output_shape" and is_int(value) else super().convert(name, value)

    def validate(self) -> None:
        letters, sizes = self._letters(), self.output_shape
        if not isinstance(sizes, tuple) or not all(n is None or (is_int(n) and n > 0) for n in sizes):
            raise ValueError(f"EinsumDense: output_shape is a tuple of sizes (or None); got {sizes!r}")
        if len(sizes) != len(letters):
            raise ValueError(f"EinsumDense: output_shape has a size for each of {letters!r}; got {sizes!r}")
        for letter, size in zip(letters, sizes, strict=True):
            if size is None and letter not in parse(self.equation).input:
                raise ValueError(f"EinsumDense: output_shape must say the size of {letter!r}; got {sizes!r}")
        if self.bias_axes is not None and not (self.bias_axes and {*self.bias_axes} <= {*letters}):
            raise ValueError(f"EinsumDense: bias_axes are letters among {letters!r}; got {self.bias_axes!r}")

    def _letters(self) -> str:
        """The output's letters whose sizes `output_shape` has."""
        parts = parse(self.equation)
        return parts.output if parts.left else parts.output[1:]

    def check_input(self, x: Any) -> None:
        parts, sizes = parse(self.equation), self._sizes(x)
        rank, least = len(x.shape), len(parts.input) + parts.left
        if rank < least or (rank > least and not (parts.left or parts.right)):
            self.refuse(f"takes inputs of rank {least}{' or more' * (parts.left or parts.right)}", x)
        for letter, size in zip(self._letters(), self.output_shape, strict=True):
            if size not in (None, sizes[letter]):
                self.refuse(f"has size {size} for {letter!r} in output_shape, the input has {sizes[letter]}", x)

    def _sizes(self, x: Any) -> dict[str, Any]:
        """The size of each letter, the input's before those of `output_shape`."""
        parts = parse(self.equation)
        shape = x.shape[-len(parts.input) :] if parts.left else x.shape
        return {
            **dict(zip(self._letters(), self.output_shape, strict=True)),
            **dict(zip(parts.input, shape, strict=False)),
        }

    def _shapes(self, x: Any) -> dict[str, tuple[int, ...]]:
        """The shapes of the weights."""
        parts, sizes = parse(self.equation), self._sizes(x)
        kernel = tuple(sizes[letter] for letter in parts.kernel)
        if self.bias_axes is None:
            return {"kernel": kernel}
        first = min(map(parts.output.index, self.bias_axes))
        bias = tuple(sizes[letter] if letter in self.bias_axes else 1 for letter in parts.output[first:])
        return {"kernel": kernel, "bias": bias + (1,) * (len(x.shape) - len(parts.input)) * parts.right}

    def build(self, key: jax.Array, x: Any) -> tuple[Params, State]:
        parts, sizes, shapes = parse(self.equation), self._sizes(x), self._shapes(x)
        summed = [letter for letter in parts.kernel if letter not in parts.output]
        kept = [letter for letter in parts.kernel if letter in parts.output]
        shapes["kernel"] = tuple(math.prod(sizes[letter] for letter in letters) for letters in (summed, kept))
        params = self.weights(key, x.dtype, **shapes)
        drawn = params["kernel"].reshape([sizes[letter] for letter in summed + kept])
        return {**params, "kernel": drawn.transpose([(summed + kept).index(letter) for letter in parts.kernel])}, {}

    def call(self, params: Params, state: State, x: Any, training: bool, key: Any) -> tuple[Any, State]:
        for name, shape in self._shapes(x).items():
            if params[name].shape != shape:
                self.refuse(f"was built with a {name} of shape {params[name].shape}, not {shape}", x)
        return self.activation(add_bias(jnp.einsum(self.equation, x, params["kernel"]), params)), state


class Bilinear(WeightOptions, Joining):
    """A product of two inputs with each unit's own matrix: `y[u] = activation(a @ kernel[:, :, u] @ b + bias[u])`.

    Args:
        units: size of the output's last axis.
        activation: a name ("relu"), a function, or None for none.
        use_bias: whether to add a bias.

    Shapes: [(batch, …, n), (batch, …, m)] -> (batch, …, units).

    Raises:
        ValueError: units is not a positive integer.
        LayerError: not two inputs, axes other than the last that differ, other features than at `init`.

    Source: PyTorch's `nn.Bilinear`, whose weight has the units' axis first.

    >>> a, b = jnp.ones((5, 2)), jnp.ones((5, 3))
    >>> params, state = Bilinear(4).init(jax.random.key(0), (a, b))
    >>> Bilinear(4).apply(params, state, (a, b))[0].shape
    (5, 4)
    """

    units: int
    activation: Any = None
    use_bias: bool = True

    exactly = 2
    ends_in_activation = True

    def validate(self) -> None:
        require_int(self.units, "units", "Bilinear")

    def check_shapes(self, x: Any) -> None:
        a, b = (tuple(part.shape) for part in x)
        if min(len(a), len(b)) < 2 or a[:-1] != b[:-1]:
            self.refuse("takes inputs (batch, …, features) that differ in their last axis only", x)

    def build(self, key: jax.Array, x: Any) -> tuple[Params, State]:
        features = tuple(part.shape[-1] for part in x)
        bias = {"bias": (self.units,)} if self.use_bias else {}
        params = self.weights(
            key, promoted(*(part.dtype for part in x)), kernel=(math.prod(features), self.units), **bias
        )
        return {**params, "kernel": params["kernel"].reshape(*features, self.units)}, {}

    def call(self, params: Params, state: State, x: Any, training: bool, key: Any) -> tuple[Any, State]:
        features = params["kernel"].shape[:2]
        if tuple(part.shape[-1] for part in x) != features:
            self.refuse(f"was built for {features} features (the last axes)", x)
        a, b = aligned(*x)
        return self.activation(add_bias(jnp.einsum("...i,iju,...j->...u", a, params["kernel"], b), params)), state
