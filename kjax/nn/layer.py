"""The layer contract.

    params, state = layer.init(key, x)
    y, state = layer.apply(params, state, x, training=False, key=None)

A layer is a frozen dataclass: its fields are its hyperparameters, and it holds no arrays. `params` is what the
optimizer moves, `state` what `apply` itself moves (running statistics); both are dicts. `x` is an array, or
anything with a shape and a dtype for `init`, with the batch axis first.

A new layer defines `build` (makes params and state) and `call` (the maths); `init` and `apply` wrap them with
what all layers share: input checks, dtypes, masks, penalties.

    class Scale(Layer):
        start: float = 1.0

        def build(self, key, x):
            return {"scale": jnp.full(x.shape[-1:], self.start, x.dtype)}, {}

        def call(self, params, state, x, training, key):
            return x * params["scale"], state
"""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from kjax import activations, constraints, initializers, regularizers
from kjax.dtypes import MIXED, at_least_float32, floats_as, is_float, name_of
from kjax.frozen import Frozen, is_int, snake_case
from kjax.nn.errors import LayerError
from kjax.nn.mask import mask_of, on_values, over, plain, remask, unmask

Params = dict[str, Any]
State = dict[str, Any]
GETTERS: dict[str, Callable[[Any], Any]] = {
    "activation": activations.get,
    "initializer": initializers.get,
    "regularizer": regularizers.get,
    "constraint": constraints.get,
}


class Layer(Frozen):
    """Base of all layers; see the module's docstring for the contract.

    Args:
        name: the layer's key in its container; by default its class in snake case.
        input_shape: shape of one input, without the batch axis, as the first layer of a model may state it.
        batch_input_shape: the same with the batch axis in front, None for any size.
        trainable: False keeps the params as they are during training.
        dtype: computes and keeps its params in this dtype; by default in that of its input. "mixed_bfloat16" and
            "mixed_float16" compute in the small type and keep params in float32. Layers in it that have none of
            their own get it too.

    A field named `activation`, `…_initializer`, `…_regularizer` or `…_constraint` takes a string, an object or a
    function; `kernel_regularizer` and `kernel_constraint` apply to `params["kernel"]` without further code.
    """

    name: str | None = dataclasses.field(default=None, kw_only=True)
    input_shape: Any = dataclasses.field(default=None, kw_only=True)
    batch_input_shape: Any = dataclasses.field(default=None, kw_only=True)
    trainable: bool = dataclasses.field(default=True, kw_only=True)
    dtype: Any = dataclasses.field(default=None, kw_only=True)

    ndim: ClassVar[int | None] = None
    """The rank that inputs must have, batch axis included."""
    min_ndim: ClassVar[int] = 1
    axes: ClassVar[str] = ""
    """What the axes of an input are called in messages."""
    draws: ClassVar[bool] = False
    """Whether `call` draws random numbers in training, and so needs a key."""
    mixes_examples: ClassVar[bool] = False
    """Whether an example's output depends on the rest of its batch, so that padding rows must be masked."""
    takes_mask: ClassVar[bool] = False
    """Whether `call` wants a `Masked` input as it is; other layers get the array, and the mask goes round them."""
    takes_integers: ClassVar[bool] = False
    """Whether integers have a meaning of their own; other layers get them as floats."""

    ends_in_activation: ClassVar[bool] = False
    """Whether the last thing that `call` does is to apply the field `activation`."""
    computes_wide: ClassVar[bool] = False
    """Whether mixed precision rounds nothing but its output: it gets float32, as statistics and large numbers need."""
    made_of_layers: ClassVar[bool] = False
    """Whether its params are those of layers in it, which see to dtypes themselves."""

    # What a layer defines.

    def build(self, key: jax.Array, x: Any) -> tuple[Params, State]:
        """Fresh params and state for inputs like `x` (only its shape and dtype count)."""
        return {}, {}

    def call(self, params: Params, state: State, x: Any, training: bool, key: Any) -> tuple[Any, State]:
        """The output for `x`, and the state after it."""
        raise NotImplementedError(f"{type(self).__name__} defines no call(self, params, state, x, training, key)")

    def check_input(self, x: Any) -> None:
        """Raises `LayerError` for shapes that the layer cannot take; `x` has a shape and a dtype."""

    # What everybody calls.

    def init(self, key: jax.Array, x: Any) -> tuple[Params, State]:
        """Params and state for inputs like `x`, an array or a `jax.ShapeDtypeStruct` (or a tuple of them)."""
        value = jax.tree.map(self._spec, plain(x))
        self._check_rank(value)
        params, state = self.build(key, value)
        if self.pays_for_activity:
            run = lambda p, s, x: plain(self.call(p, s, x, False, None)[0])  # noqa: E731
            y = jax.tree.leaves(jax.eval_shape(run, params, state, value))[0]
            state = {**state, "penalty": jnp.zeros((), at_least_float32(y.dtype))}
        return params, state

    def apply(
        self, params: Params, state: State, x: Any, training: bool = False, key: jax.Array | None = None
    ) -> tuple[Any, State]:
        """The output for `x` and the new state. `key` is needed in training by layers that draw."""
        x = self.taken(x)
        value, mask = plain(x), mask_of(x)
        self._check_rank(value)
        if self.draws and training and key is None:
            raise LayerError(
                f"{self!r} draws random numbers in training: pass apply(…, training=True, key=jax.random.key(0))"
            )
        run = self._call_mixed if self.dtype in MIXED and not self.made_of_layers else self.call
        y, state = run(params, state, x if self.takes_mask else value, training, key)
        if self.pays_for_activity:
            parts = y if isinstance(y, tuple) else (y,)
            state = {**state, "penalty": sum(self._activity_penalty(*unmask(remask(part, mask))) for part in parts)}
        return remask(y, mask), state

    def taken(self, x: Any) -> Any:
        """The input as `call` gets it, floats in the dtype that it computes in."""
        return on_values(lambda a: jnp.asarray(a, self._dtype(a)), x)

    @property
    def compute_dtype(self) -> str | None:
        """What it computes in; None: the dtype of its input."""
        return MIXED.get(self.dtype, self.dtype)

    @property
    def variable_dtype(self) -> str | None:
        """What its params are kept in; None: the dtype of its input."""
        return "float32" if self.dtype in MIXED else self.dtype

    def with_dtype(self, dtype: Any) -> Any:
        """This layer with `dtype`, and those in it, except where they have one of their own.

        >>> from kjax import nn
        >>> nn.Serial([nn.Flatten(), nn.Dense(1, dtype="float32")]).with_dtype("mixed_bfloat16").layers
        (Flatten(dtype='mixed_bfloat16'), Dense(1, dtype='float32'))
        """
        return self if self.dtype is not None else self.replace(dtype=dtype)

    @property
    def default_name(self) -> str:
        """What a container calls a layer without a `name`."""
        return snake_case(type(self).__name__)

    @property
    def label(self) -> str:
        """Its name, or what a container calls it without one."""
        return self.name or self.default_name

    @property
    def needs_rows(self) -> bool:
        """Whether padding rows in a batch would change what the other rows get, or the penalty."""
        return self.mixes_examples or self.pays_for_activity

    @property
    def pays_for_activity(self) -> bool:
        """Whether the field `activity_regularizer` applies to the output; containers hand it on to their layers."""
        return getattr(self, "activity_regularizer", None) is not None

    def __call__(self, *nodes: Any) -> Any:
        """The node that this layer gives for a node, or for a list of them: draws a graph, see `kjax.nn.Graph`."""
        from kjax.nn.node import call_on_nodes

        return call_on_nodes(self, nodes)

    def output(self, params: Params, state: State, x: Any) -> Any:
        """The shape and dtype of the output for inputs like `x`; nothing is computed."""
        return jax.eval_shape(self.apply, params, state, x)[0]

    def penalty(self, params: Params, state: State) -> jax.Array | float:
        """The sum of what the regularizers cost: those of weights, and of activities as `apply` left it in `state`."""
        costs = [regularize(params[name]) for name, regularize in self._by_weight("regularizer", params)]
        return sum((cost.astype(at_least_float32(cost.dtype)) for cost in costs), state.get("penalty", 0.0))

    def constrain(self, params: Params) -> Params:
        """The params after their constraints."""
        return {**params, **{name: fix(params[name]) for name, fix in self._by_weight("constraint", params)}}

    def partition(self, params: Params) -> tuple[Params, Params]:
        """`(trainable, frozen)`; `merge` puts them together again."""
        return (params, {}) if self.trainable else ({}, params)

    # What layers build with.

    def rounded(self, params: Params) -> Params:
        """The params as `call` gets them in mixed precision; gradients go through it, and come out in float32."""
        return params if self.computes_wide else floats_as(self.compute_dtype, params)

    def weights(self, key: jax.Array, dtype: Any, **wanted: tuple[int, ...]) -> Params:
        """Fresh weights by name and shape: `kernel=(3, 4)` is drawn by the field `kernel_initializer`."""
        return {
            name: getattr(self, f"{name}_initializer")(jax.random.fold_in(key, i), shape, dtype)
            for i, (name, shape) in enumerate(wanted.items())
        }

    def refuse(self, message: str, x: Any, hint: str = "") -> None:
        """Raises `LayerError`: what this layer wants, what it got, and what to do."""
        shapes = [str(tuple(part.shape)) for part in jax.tree.leaves(x)]
        got = f"shape {shapes[0]}" if len(shapes) == 1 else f"shapes {', '.join(shapes)}"
        raise LayerError(f"{self!r} {message}; got {got}{hint and f': {hint}'}")

    def rank_hint(self, x: Any) -> str:
        """What to do about an input of a wrong rank."""
        return "a single example needs a batch axis, x[None]" if len(x.shape) == self.min_ndim - 1 else ""

    # The rest is this class's own.

    def convert(self, name: str, value: Any) -> Any:
        if name in ("input_shape", "batch_input_shape") and value is not None:
            return shape_of(value, name, type(self).__name__)
        getter = name_of if name == "dtype" and value is not None else GETTERS.get(name.rsplit("_", 1)[-1])
        if getter is None:
            return self._inheriting(super().convert(name, value))
        try:
            return getter(value)
        except (ValueError, TypeError) as error:
            raise type(error)(f"{type(self).__name__}: {name}: {error}") from None

    @classmethod
    def translate(cls, kwargs: dict[str, Any]) -> dict[str, Any]:
        if "weights" in kwargs:
            raise TypeError(
                f"{cls.__name__} has no argument 'weights': a layer holds no arrays. Build the model, then "
                "model.set_weights([...]), or model.get_layer(name).set_weights([...]) for one layer"
            )
        return kwargs

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.input_shape is None and self.batch_input_shape is not None:
            object.__setattr__(self, "input_shape", self.batch_input_shape[1:])
        if self.name is not None and not (isinstance(self.name, str) and self.name and "/" not in self.name):
            raise ValueError(f"{type(self).__name__}: name must be a string without '/'; got {self.name!r}")

    def _inheriting(self, value: Any) -> Any:
        """A field's value, where that is a layer or several with this layer's dtype."""
        if self.dtype is None:
            return value
        if isinstance(value, tuple) and not hasattr(value, "_fields"):
            return tuple(map(self._inheriting, value))
        return value.with_dtype(self.dtype) if isinstance(value, Layer) else value

    def _call_mixed(self, params: Params, state: State, x: Any, training: bool, key: Any) -> tuple[Any, State]:
        """`call` on rounded params, with a rounded output; what it keeps in state stays as wide as it was."""
        y, new = self.call(self.rounded(params), state, x, training, key)
        return floats_as(self.compute_dtype, y), {n: like(v, state[n]) if n in state else v for n, v in new.items()}

    def _spec(self, x: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(x.shape, self._dtype(x, self.made_of_layers))

    def _dtype(self, x: Any, running: bool = True) -> Any:
        """The dtype that inputs are cast to: floats to `dtype=`, integers to floats unless they mean something.

        `running` or not is whether `call` gets them, or `build`.
        """
        own = jax.dtypes.canonicalize_dtype(x.dtype)  # NumPy's float64 is JAX's float32
        inexact = jnp.issubdtype(own, jnp.inexact)
        wanted: Any = self.compute_dtype if running else self.variable_dtype
        if running and self.computes_wide and self.dtype in MIXED:
            wanted = at_least_float32(own) if inexact and not self.made_of_layers else None
        if inexact:
            return wanted or own
        return own if self.takes_integers else wanted or jnp.float32

    def _check_rank(self, x: Any) -> None:
        if hasattr(x, "shape"):
            wanted = f"{self.min_ndim} or more" if self.ndim is None else str(self.ndim)
            if len(x.shape) < self.min_ndim or self.ndim not in (None, len(x.shape)):
                self.refuse(f"takes inputs of rank {wanted}{self.axes and f', {self.axes}'}", x, self.rank_hint(x))
        self.check_input(x)

    def _activity_penalty(self, y: Any, mask: Any) -> jax.Array:
        """Keras's: the cost of the whole batch divided by the number of its (real) rows."""
        wide = at_least_float32(y.dtype)
        rows = jnp.asarray(y.shape[0], wide)
        if mask is not None:
            y = jnp.where(over(mask, y), y, jnp.zeros((), y.dtype))
            rows = jnp.maximum(mask.reshape(mask.shape[0], -1).any(axis=1).sum(), 1).astype(wide)
        return self.activity_regularizer(y.astype(wide)) / rows  # type: ignore[attr-defined]

    def _by_weight(self, kind: str, params: Params) -> list[tuple[str, Callable]]:
        """The weights that have a field `<weight>_<kind>`, with what it holds."""
        found = [(name, getattr(self, f"{name}_{kind}", None)) for name in params]
        return [(name, function) for name, function in found if function is not None]


class WeightOptions(Layer):
    """The options that Keras gives to every layer with a kernel and a bias."""

    kernel_initializer: Any = dataclasses.field(default="glorot_uniform", kw_only=True)
    bias_initializer: Any = dataclasses.field(default="zeros", kw_only=True)
    kernel_regularizer: Any = dataclasses.field(default=None, kw_only=True)
    bias_regularizer: Any = dataclasses.field(default=None, kw_only=True)
    activity_regularizer: Any = dataclasses.field(default=None, kw_only=True)
    kernel_constraint: Any = dataclasses.field(default=None, kw_only=True)
    bias_constraint: Any = dataclasses.field(default=None, kw_only=True)


def merge(a: Params, b: Params) -> Params:
    """Two nested dicts as one: what `partition` took apart."""
    both = {name: merge(a[name], b[name]) for name in a if name in b}
    return {**a, **b, **both}


def like(new: Any, old: Any) -> Any:
    """A tree with its floats in the dtypes of another."""
    return jax.tree.map(lambda a, b: jnp.asarray(a, b.dtype) if is_float(b) else a, new, old)


def shape_of(value: Any, name: str, owner: str) -> tuple[int | None, ...]:
    """A shape as a tuple: `784` means `(784,)`, None an axis of any size."""
    axes = (value,) if is_int(value) else tuple(value) if isinstance(value, list | tuple) else None
    if axes is None or not all(axis is None or (is_int(axis) and axis > 0) for axis in axes):
        raise ValueError(f"{owner}: {name} is a tuple of positive integers (None for any size); got {value!r}")
    return axes
