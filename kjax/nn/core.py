"""Layers that keep the batch axis and rearrange, project or look up the rest."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from kjax.frozen import is_int, require_between, require_int
from kjax.nn.kernels import spread, tensordot
from kjax.nn.layer import Layer, Params, State, WeightOptions
from kjax.nn.mask import Masked, mask_of, plain, unmask


class Dense(WeightOptions):
    """A fully connected layer on the last axis: `activation(x @ kernel + bias)`.

    Args:
        units: size of the output's last axis.
        activation: a name ("relu"), a function, or None for none.
        use_bias: whether to add a bias.
        input_dim: another way to say `input_shape=(input_dim,)`.

    Shapes: (batch, …, features) -> (batch, …, units).

    Raises:
        ValueError: units is not a positive integer.
        LayerError: an input of rank 1, or of another number of features than at `init`.

    >>> params, state = Dense(3).init(jax.random.key(0), jnp.ones((1, 4)))
    >>> Dense(3).apply(params, state, jnp.ones((2, 4)))[0].shape
    (2, 3)
    """

    units: int
    activation: Any = None
    use_bias: bool = True

    min_ndim = 2
    axes = "(batch, …, features)"
    ends_in_activation = True

    @classmethod
    def translate(cls, kwargs: dict[str, Any]) -> dict[str, Any]:
        if "input_dim" in kwargs:
            kwargs = {"input_shape": kwargs["input_dim"], **kwargs}
            del kwargs["input_dim"]
        return super().translate(kwargs)

    def validate(self) -> None:
        require_int(self.units, "units", "Dense")

    def build(self, key: jax.Array, x: Any) -> tuple[Params, State]:
        bias = {"bias": (self.units,)} if self.use_bias else {}
        return self.weights(key, x.dtype, kernel=(x.shape[-1], self.units), **bias), {}

    def call(self, params: Params, state: State, x: Any, training: bool, key: Any) -> tuple[Any, State]:
        features = params["kernel"].shape[0]
        if x.shape[-1] != features:
            self.refuse(f"was built for {features} features (the last axis)", x)
        return self.activation(add_bias(tensordot(x, params["kernel"]), params)), state


def add_bias(y: jax.Array, params: Params) -> jax.Array:
    """`y` plus the bias on its last axis (or axes), where the layer has one."""
    return y + spread(params["bias"], y.shape) if "bias" in params else y


class Activation(Layer):
    """Applies a function to each element: `Activation("relu")`."""

    activation: Any

    ends_in_activation = True

    def call(self, params: Params, state: State, x: Any, training: bool, key: Any) -> tuple[Any, State]:
        return self.activation(x), state


class Identity(Layer):
    """Gives what it gets, of any shape and dtype."""

    min_ndim = 0
    takes_mask = True
    takes_integers = True

    def call(self, params: Params, state: State, x: Any, training: bool, key: Any) -> tuple[Any, State]:
        return x, state


class Masking(Layer):
    """Marks as padding the steps whose features all equal `mask_value`: the output is `Masked`, and 0 there.

    Args:
        mask_value: what padding was filled with.

    Shapes: (batch, time, …, features), which stays; the mask lacks the features' axis.

    >>> y, _ = Masking().apply({}, {}, jnp.array([[[1.0, 0.0], [0.0, 0.0]]]))
    >>> y.mask.tolist()
    [[True, False]]
    """

    mask_value: float = 0.0

    min_ndim = 2
    axes = "(batch, time, …, features)"
    takes_integers = True
    computes_wide = True

    def validate(self) -> None:
        require_between(self.mask_value, "mask_value", "Masking", -math.inf, math.inf)

    def call(self, params: Params, state: State, x: Any, training: bool, key: Any) -> tuple[Any, State]:
        real = (x != jnp.asarray(self.mask_value, x.dtype)).any(-1)
        return Masked(jnp.where(real[..., None], x, jnp.zeros((), x.dtype)), real), state


class Flatten(Layer):
    """All axes but the first as one: (batch, a, b, …) -> (batch, a·b·…).

    Args:
        data_format: "channels_first" moves the channels last before flattening, so that both orders of the same
            picture give the same vector.
    """

    data_format: str | None = None

    takes_integers = True

    def validate(self) -> None:
        check_data_format(self.data_format, "Flatten")

    def call(self, params: Params, state: State, x: Any, training: bool, key: Any) -> tuple[Any, State]:
        x = channels_last(x, self.data_format) if x.ndim > 2 else x
        return x.reshape(x.shape[0], math.prod(x.shape[1:])), state


class Reshape(Layer):
    """The same numbers in another shape: (batch, …) -> (batch, *target_shape).

    Args:
        target_shape: the new shape without the batch axis; one axis may be -1, for what is left.

    Raises:
        LayerError: the number of elements differs.

    >>> Reshape((2, -1)).apply({}, {}, jnp.ones((5, 6)))[0].shape
    (5, 2, 3)
    """

    target_shape: Any

    takes_integers = True

    def convert(self, name: str, value: Any) -> Any:
        return (int(value),) if name == "target_shape" and is_int(value) else super().convert(name, value)

    def validate(self) -> None:
        shape = self.target_shape
        if (
            not isinstance(shape, tuple)
            or not all(is_int(n) and (n > 0 or n == -1) for n in shape)
            or shape.count(-1) > 1
        ):
            raise ValueError(f"Reshape: target_shape is a tuple of sizes, at most one of them -1; got {shape!r}")

    def check_input(self, x: Any) -> None:
        size, wanted = math.prod(x.shape[1:]), math.prod(n for n in self.target_shape if n != -1)
        if size % wanted if -1 in self.target_shape else size != wanted:
            self.refuse(
                f"needs {'a multiple of ' * (-1 in self.target_shape)}{wanted} numbers per example, not {size}", x
            )

    def call(self, params: Params, state: State, x: Any, training: bool, key: Any) -> tuple[Any, State]:
        return x.reshape(x.shape[0], *self.target_shape), state


class Permute(Layer):
    """Reorders the axes behind the batch axis; `dims` counts them from 1, as Keras does.

    A mask of the axes that stay first stays with them.

    >>> Permute((2, 1)).apply({}, {}, jnp.ones((5, 6, 7)))[0].shape
    (5, 7, 6)
    """

    dims: Any

    takes_mask = True
    takes_integers = True

    def validate(self) -> None:
        if not isinstance(self.dims, tuple) or sorted(self.dims) != list(range(1, len(self.dims) + 1)):
            raise ValueError(
                f"Permute: dims is an order of 1 … n (the batch axis stays), e.g. (2, 1); got {self.dims!r}"
            )

    def check_input(self, x: Any) -> None:
        if len(x.shape) != len(self.dims) + 1:
            self.refuse(f"takes inputs of rank {len(self.dims) + 1}", x)

    def call(self, params: Params, state: State, x: Any, training: bool, key: Any) -> tuple[Any, State]:
        value, mask = unmask(x)
        y = value.transpose(0, *self.dims)
        moved = next((axis for axis, dim in enumerate(self.dims, 1) if axis != dim), value.ndim)
        return (y if mask is None else Masked(y, mask.any(tuple(range(moved, mask.ndim))))), state


class RepeatVector(Layer):
    """Repeats a vector n times: (batch, features) -> (batch, n, features)."""

    n: int

    ndim = 2
    axes = "(batch, features)"
    takes_integers = True

    def validate(self) -> None:
        require_int(self.n, "n", "RepeatVector")

    def call(self, params: Params, state: State, x: Any, training: bool, key: Any) -> tuple[Any, State]:
        return jnp.repeat(x[:, None], self.n, axis=1), state


class Lambda(Layer):
    """Any function of an array as a layer, without weights.

    Args:
        function: `function(x, **arguments) -> y`, made of JAX operations; the batch axis stays first.
        output_shape: what the output's shape without the batch axis should be (or a function of the input's whole
            shape); a function that gives another shape is refused. None accepts any.
        mask: `mask(x, mask) -> mask`, the mask of the output; None passes the input's on.
        arguments: dict of further keyword arguments of the function.

    A module-level function lets two equal models share a compilation; a fresh `lambda` never equals another.

    >>> Lambda(lambda x, by: x * by, arguments={"by": 2.0}).apply({}, {}, jnp.ones((1, 2)))[0]
    Array([[2., 2.]], dtype=float32)
    """

    function: Callable
    output_shape: Any = None
    mask: Callable | None = None
    arguments: Any = None

    takes_mask = True
    takes_integers = True

    def convert(self, name: str, value: Any) -> Any:
        return tuple(value.items()) if name == "arguments" and isinstance(value, dict) else super().convert(name, value)

    def validate(self) -> None:
        if not callable(self.function):
            raise TypeError(f"Lambda takes a function of an array; got {self.function!r}")

    def call(self, params: Params, state: State, x: Any, training: bool, key: Any) -> tuple[Any, State]:
        value, mask = plain(x), mask_of(x)
        y = self.function(value, **dict(self.arguments or ()))
        self._check_output(value, y)
        return (y if self.mask is None else Masked(y, self.mask(value, mask))), state

    def _check_output(self, x: Any, y: Any) -> None:
        if self.output_shape is None:
            return
        wanted = self.output_shape(x.shape)[1:] if callable(self.output_shape) else self.output_shape
        if y.shape[1:] != tuple(wanted):
            self.refuse(f"should give {tuple(wanted)} per example, but its function gives {y.shape[1:]}", x)


class Embedding(Layer):
    """A learned vector for each integer: (batch, …) of integers -> (batch, …, output_dim).

    Args:
        input_dim: how many integers there are; inputs lie in 0 … input_dim - 1.
        output_dim: length of a vector.
        mask_zero: whether 0 is padding: the output is then `Masked`.
        input_length: how many integers an input has, where that is fixed.

    An integer outside the range gives NaN, never another's vector.

    >>> params, state = Embedding(10, 4).init(jax.random.key(0), jnp.ones((1, 3), int))
    >>> Embedding(10, 4).apply(params, state, jnp.array([[1, 2, 9]]))[0].shape
    (1, 3, 4)
    """

    input_dim: int
    output_dim: int
    embeddings_initializer: Any = "uniform"
    embeddings_regularizer: Any = None
    activity_regularizer: Any = None
    embeddings_constraint: Any = None
    mask_zero: bool = False
    input_length: Any = None

    takes_integers = True

    def validate(self) -> None:
        require_int(self.input_dim, "input_dim", "Embedding")
        require_int(self.output_dim, "output_dim", "Embedding")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.input_length is not None and self.input_shape is None:
            length = self.input_length if isinstance(self.input_length, tuple) else (self.input_length,)
            object.__setattr__(self, "input_shape", length)

    def check_input(self, x: Any) -> None:
        if self.input_length is not None and tuple(x.shape[1:]) != self.input_shape:
            self.refuse(f"takes {self.input_shape} integers per example", x)

    def build(self, key: jax.Array, x: Any) -> tuple[Params, State]:
        dtype = self.variable_dtype or (x.dtype if jnp.issubdtype(x.dtype, jnp.floating) else jnp.float32)
        return self.weights(key, dtype, embeddings=(self.input_dim, self.output_dim)), {}

    def rounded(self, params: Params) -> Params:
        return params  # the vectors looked up are rounded; their gradients add up in float32

    def call(self, params: Params, state: State, x: Any, training: bool, key: Any) -> tuple[Any, State]:
        index = x.astype(jnp.int32)
        y = jnp.take(params["embeddings"], index, axis=0, mode="fill", fill_value=jnp.nan)
        return (Masked(y, index != 0) if self.mask_zero else y), state


def check_data_format(data_format: Any, owner: str) -> None:
    """Refuses what is not a data format."""
    if data_format not in (None, "channels_last", "channels_first"):
        raise ValueError(f"{owner}: data_format is 'channels_last' or 'channels_first'; got {data_format!r}")


def channels_last(x: jax.Array, data_format: str | None) -> jax.Array:
    """`x` with its channels moved last."""
    return jnp.moveaxis(x, 1, -1) if data_format == "channels_first" else x


def channels_back(y: jax.Array, data_format: str | None) -> jax.Array:
    """Undoes `channels_last`."""
    return jnp.moveaxis(y, -1, 1) if data_format == "channels_first" else y
