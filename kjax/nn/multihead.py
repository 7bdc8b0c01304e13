"""Attention in many heads, between learned projections."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp

from kjax.frozen import is_int, require_int
from kjax.nn.attend import check_inputs, inputs_of
from kjax.nn.composite import Composite
from kjax.nn.core import add_bias
from kjax.nn.errors import LayerError
from kjax.nn.kernels import all_of, attend, tensordot
from kjax.nn.layer import Layer, Params, State, WeightOptions
from kjax.nn.mask import Masked, over, plain, unmask
from kjax.nn.noise import Dropout

Shapes = tuple[tuple[int, int], tuple[int, int], tuple[int, int], tuple[int, ...]]
"""The heads and their sizes of queries, keys and values; the output's axes, () for one like the query's."""


class Projection(WeightOptions):
    """The last `bound` axes of an input mapped to axes of sizes `shape`, linearly, then the activation."""

    shape: tuple[int, ...]
    bound: int = 1
    use_bias: bool = True
    activation: Any = None

    def build(self, key: jax.Array, x: Any) -> tuple[Params, State]:
        bias = {"bias": self.shape} if self.use_bias else {}
        return self.weights(key, x.dtype, kernel=(*x.shape[-self.bound :], *self.shape), **bias), {}

    def call(self, params: Params, state: State, x: Any, training: bool, key: Any) -> tuple[Any, State]:
        wanted = params["kernel"].shape[: self.bound]
        if x.shape[-self.bound :] != wanted:
            self.refuse(f"was built for {wanted} features", x)
        return self.activation(add_bias(tensordot(x, params["kernel"], self.bound), params)), state


class HeadedAttention(Composite, WeightOptions):
    """Base of `MultiHeadAttention` and `GroupQueryAttention`: all but how many heads of which sizes there are."""

    sliding_window: int | None = dataclasses.field(default=None, kw_only=True)
    flash_attention: bool | None = dataclasses.field(default=None, kw_only=True)
    use_gate: bool = dataclasses.field(default=False, kw_only=True)
    seed: int | None = dataclasses.field(default=None, kw_only=True)
    rotary: Any = dataclasses.field(default=None, kw_only=True)
    use_causal_mask: bool = dataclasses.field(default=False, kw_only=True)
    use_attention_mask: bool = dataclasses.field(default=False, kw_only=True)
    return_attention_scores: bool = dataclasses.field(default=False, kw_only=True)

    def shapes(self) -> Shapes:
        """How large the projections are."""
        raise NotImplementedError(f"{type(self).__name__} defines no shapes(self)")

    def attended(self, ndim: int) -> tuple[int, ...]:
        """The axes of inputs of rank `ndim` over which attention goes."""
        return tuple(range(1, ndim - 1))

    def validate(self) -> None:
        super().validate()
        if self.flash_attention:
            raise ValueError(f"{type(self).__name__}: flash_attention=True has no meaning here; leave it out")
        if self.sliding_window is not None:
            require_int(self.sliding_window, "sliding_window", type(self).__name__)

    def parts(self) -> dict[str, Layer]:
        query, key, value, output = self.shapes()
        gate = {"gate": self._projection((query[0], value[1]), activation="sigmoid")} if self.use_gate else {}
        found = {"query": self._projection(query), "key": self._projection(key), **gate}
        found |= {"value": self._projection(value), "attention_output": self._projection(output, bound=2)}
        found |= {} if self.rotary is None else {"rotary": self.rotary}
        drop = Dropout(self.dropout, seed=self.seed)  # type: ignore[attr-defined]
        return found | ({"dropout": drop} if drop.rate else {})

    def _projection(self, shape: tuple[int, ...], **options: Any) -> Projection:
        shared = {name: getattr(self, name) for name in WeightOptions.__annotations__}
        return Projection(shape, use_bias=self.use_bias, **options, **shared)  # type: ignore[attr-defined]

    def build(self, key: jax.Array, x: Any) -> tuple[Params, State]:
        query, value, keys, _ = inputs_of(self, x)
        (heads, size), _, (_, found), output = self.shapes()
        turned, last = (jax.ShapeDtypeStruct((*query.shape[:-1], heads, n), query.dtype) for n in (size, found))
        given = {"query": query, "key": keys, "gate": query, "value": value, "attention_output": last, "rotary": turned}
        # How wide the output is, `parts` does not know; later the kernel tells.
        known = self._parts["attention_output"].replace(shape=output or query.shape[-1:])
        sized = self.with_layers(tuple((self._parts | {"attention_output": known}).values()))
        params: Params = {}
        state: State = {}
        for i, name in enumerate(self.names):
            if name in given:
                sized.init_child(i, key, given[name], params, state)
        return params, state

    def check_input(self, x: Any) -> None:
        check_inputs(self, x)
        query, value, _, given = inputs_of(self, x)
        axes = self.attended(len(query.shape))
        if len(axes) > 1 and (self.use_causal_mask or self.sliding_window is not None):
            self.refuse(f"has a mask of positions in time, but attends over the axes {axes}", query)
        if any(query.shape[a] != value.shape[a] for a in range(1, len(query.shape) - 1) if a not in axes):
            self.refuse(f"attends over {axes}; the query has shape {tuple(query.shape)}: other axes must agree", value)
        if given is not None:
            self._check_mask(given, query, value, axes)

    def _check_mask(self, mask: Any, query: Any, value: Any, axes: tuple[int, ...]) -> None:
        free = [query.shape[a] for a in range(len(query.shape) - 1) if a not in axes]
        ends = [part.shape[a] for part in (query, value) for a in axes]
        full = (*free, self.shapes()[0][0], *ends)
        missing = len(full) - len(mask.shape)
        own = (*mask.shape[: -len(ends)], *(1,) * missing, *mask.shape[-len(ends) :])
        fits = len(mask.shape) >= len(ends) and len(own) == len(full)
        if not (fits and all(n in (1, size) for n, size in zip(own, full, strict=True))):
            self.refuse(f"takes an attention mask of shape {full}, where the heads' axis may be left out", mask)

    def forward(self: Any, x: Any) -> Any:
        query, value, key, given = inputs_of(self, x)
        shape, own = plain(query).shape, unmask(query)[1]
        axes = self.attended(len(shape))
        turn = self.rotary or unchanged
        projected = [turn(self.query(query)), turn(self.key(key)), self.value(value)]
        q, k, v = (split_heads(plain(part), axes) for part in projected)
        steps = (steps_to_heads(part, axes) for part in projected[1:])
        mask = all_of(given_to_heads(given, len(shape), axes), *steps)
        y, weights = attend(q, k, v, mask, self.dropout or None, self.use_causal_mask, self.sliding_window)
        y = join_heads(y, axes, shape)
        y = y * plain(self.gate(query)) if self.use_gate else y
        y = self.attention_output(y if own is None else Masked(y, own))
        return (y, spread(weights, axes, shape, plain(key).shape)) if self.return_attention_scores else y


class MultiHeadAttention(HeadedAttention):
    """Attention in several heads at once: each projects its inputs, attends, and what they find is projected back.

        head = softmax(query @ key.T / sqrt(key_dim)) @ value,  with query, key and value projected for each head
        y = sum over heads of head @ its output kernel + bias

    Args:
        num_heads: how many heads.
        key_dim: a head's size for queries and keys.
        value_dim: a head's size for values; None for key_dim.
        dropout: the share of weights that are dropped in training.
        use_bias: whether the projections have biases.
        output_shape: the output's axes behind the query's (batch, time); None for as many features as the query has.
        attention_axes: the axes over which attention goes; None for all between batch and features.
        sliding_window: a step sees only those less than this many steps away.
        flash_attention: None or False; XLA makes its own choice.
        use_gate: whether a sigmoid of another projection of the query multiplies what the heads found.
        seed: an integer mixed into the dropout's key.
        rotary: a layer that turns the projected queries and keys: `RotaryEmbedding()`.
        use_causal_mask: whether a step sees only itself and what came before it. Keras asks for this, and for the
            following, at each call; here they are the layer's.
        use_attention_mask: whether the last input is a mask of what may be seen (anything but 0), of shape
            (batch, T, S), (batch, heads, T, S), or with 1 for an axis that it does not tell apart.
        return_attention_scores: whether the output is `(y, weights)`, the weights being (batch, heads, T, S).

    Initializers, regularizers and constraints hold for each projection by itself.

    Shapes: [query (batch, T, features), value (batch, S, features)] -> (batch, T, features). A third input is the
    key, for which the value stands otherwise; a single input, not in a list, attends to itself. Steps that the
    masks of key or value hide are not seen; the query's mask passes on. A step that sees nothing finds zeros. The
    softmax is computed in at least float32.

    Source: Vaswani et al., "Attention is all you need", 2017 (arXiv:1706.03762); gate: Qiu et al., 2025
    (arXiv:2505.06708); Keras's `MultiHeadAttention`, whose weights these are, in name, shape and order.

    Raises:
        ValueError: sizes that are not positive integers, or a dropout outside [0, 1).
        LayerError: inputs that do not go together, or a mask of another shape.

    >>> layer = MultiHeadAttention(num_heads=2, key_dim=4, use_causal_mask=True)
    >>> params, state = layer.init(jax.random.key(0), jnp.ones((1, 5, 8)))
    >>> jax.tree.map(jnp.shape, params["query"])
    {'bias': (2, 4), 'kernel': (8, 2, 4)}
    >>> layer.apply(params, state, jnp.ones((3, 5, 8)))[0].shape
    (3, 5, 8)
    """

    num_heads: int
    key_dim: int
    value_dim: int | None = None
    dropout: float = 0.0
    use_bias: bool = True
    output_shape: Any = None
    attention_axes: Any = None

    def convert(self, name: str, value: Any) -> Any:
        one = name in ("output_shape", "attention_axes") and is_int(value)
        return (int(value),) if one else super().convert(name, value)

    def validate(self) -> None:
        require_int(self.num_heads, "num_heads", "MultiHeadAttention")
        require_int(self.key_dim, "key_dim", "MultiHeadAttention")
        if self.value_dim is not None:
            require_int(self.value_dim, "value_dim", "MultiHeadAttention")
        for name in ("output_shape", "attention_axes"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, tuple) and value and all(map(is_int, value))):
                raise ValueError(f"MultiHeadAttention: {name} is an integer or several; got {value!r}")
        super().validate()

    def shapes(self) -> Shapes:
        key, value = (self.num_heads, self.key_dim), (self.num_heads, self.value_dim or self.key_dim)
        return key, key, value, self.output_shape or ()

    def attended(self, ndim: int) -> tuple[int, ...]:
        if self.attention_axes is None:
            return tuple(range(1, ndim - 1))
        axes = tuple(axis + ndim if axis < 0 else axis for axis in self.attention_axes)
        if not all(0 < axis < ndim - 1 for axis in axes) or len(set(axes)) < len(axes):
            raise LayerError(
                f"{self!r} has attention_axes={self.attention_axes}; inputs of rank {ndim} have the axes "
                f"1 … {ndim - 2} between batch and features"
            )
        return axes


class GroupQueryAttention(HeadedAttention):
    """Attention in several heads, of which groups share their keys and values.

    Args:
        head_dim: a head's size.
        num_query_heads: how many heads of queries.
        num_key_value_heads: how many heads of keys and values, a divisor of the former; with 1 this is multi-query
            attention.
        dropout, use_bias, sliding_window, flash_attention, use_gate, seed, rotary: as in `MultiHeadAttention`.
        use_causal_mask, use_attention_mask, return_attention_scores: likewise.

    Shapes and masks: as in `MultiHeadAttention`.

    Source: Ainslie et al., "GQA: training generalized multi-query transformer models", 2023 (arXiv:2305.13245);
    Keras's `GroupQueryAttention`, whose weights these are, in name, shape and order.

    Raises:
        ValueError: sizes that are not positive integers, heads that do not divide, a dropout outside [0, 1).
        LayerError: inputs that do not go together, or a mask of another shape.

    >>> layer = GroupQueryAttention(head_dim=4, num_query_heads=4, num_key_value_heads=2)
    >>> params, state = layer.init(jax.random.key(0), jnp.ones((1, 5, 8)))
    >>> params["query"]["kernel"].shape, params["key"]["kernel"].shape
    ((8, 4, 4), (8, 2, 4))
    """

    head_dim: int
    num_query_heads: int
    num_key_value_heads: int
    dropout: float = 0.0
    use_bias: bool = True

    def validate(self) -> None:
        for name in ("head_dim", "num_query_heads", "num_key_value_heads"):
            require_int(getattr(self, name), name, "GroupQueryAttention")
        if self.num_query_heads % self.num_key_value_heads:
            raise ValueError(
                f"GroupQueryAttention: num_key_value_heads must divide num_query_heads; got "
                f"{self.num_query_heads} heads of queries and {self.num_key_value_heads} of keys and values"
            )
        super().validate()

    def shapes(self) -> Shapes:
        query, key = ((heads, self.head_dim) for heads in (self.num_query_heads, self.num_key_value_heads))
        return query, key, key, ()


GroupedQueryAttention = GroupQueryAttention


# How axes move: projections are (batch, …, heads, size), attention works on (batch, free …, T, heads, size), where T
# counts what lies on the attended axes, and the free ones are the rest. Nothing moves where time alone is attended.


def order(ndim: int, axes: tuple[int, ...]) -> tuple[int, ...]:
    """Which axis of a projection stands where in attention."""
    free = (axis for axis in range(ndim - 2) if axis not in axes)
    return (*free, *axes, ndim - 2, ndim - 1)


def split_heads(x: jax.Array, axes: tuple[int, ...]) -> jax.Array:
    """A projection as attention takes it.

    >>> split_heads(jnp.ones((2, 3, 5, 4, 8)), (1,)).shape
    (2, 5, 3, 4, 8)
    """
    moved = x.transpose(order(x.ndim, axes))
    lead = x.ndim - 2 - len(axes)
    return moved.reshape(*moved.shape[:lead], math.prod(moved.shape[lead:-2]), *x.shape[-2:])


def join_heads(y: jax.Array, axes: tuple[int, ...], shape: tuple[int, ...]) -> jax.Array:
    """Undoes `split_heads` for a query of this shape (without heads)."""
    now = order(len(shape) + 1, axes)
    y = y.reshape(*y.shape[:-3], *(shape[axis] for axis in axes), *y.shape[-2:])
    return y.transpose(sorted(range(len(now)), key=now.__getitem__))


def steps_to_heads(x: Any, axes: tuple[int, ...]) -> Any:
    """The mask of a projection's steps, (batch, free …, 1, 1, S); None where it has none.

    A mask of whole rows, (batch,), hides no step.
    """
    value, mask = unmask(x)
    if mask is None or mask.ndim < 2:
        return None
    mask = jnp.broadcast_to(over(mask, value), (*value.shape[:-2], 1, 1))
    return jnp.moveaxis(split_heads(mask, axes), -3, -1)


def given_to_heads(mask: Any, ndim: int, axes: tuple[int, ...]) -> Any:
    """An attention mask as (batch, free …, heads, T, S), with 1 for what it does not tell apart."""
    if mask is None:
        return None
    ends = 2 * len(axes)
    missing = ndim + len(axes) - mask.ndim
    mask = jnp.expand_dims(mask.astype(bool), range(mask.ndim - ends, mask.ndim - ends + missing))
    queries, keys = mask.shape[-ends : -len(axes)], mask.shape[-len(axes) :]
    return mask.reshape(*mask.shape[:-ends], math.prod(queries), math.prod(keys))


def spread(weights: jax.Array, axes: tuple[int, ...], query: tuple[int, ...], key: tuple[int, ...]) -> jax.Array:
    """The weights with the attended axes of query and key apart."""
    return weights.reshape(*weights.shape[:-2], *(shape[axis] for shape in (query, key) for axis in axes))


def unchanged(x: Any) -> Any:
    """What stands where a layer is left out."""
    return x
