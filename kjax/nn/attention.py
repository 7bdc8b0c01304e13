"""Attention without projections: means of values, weighted by how well queries and keys match."""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from kjax import initializers
from kjax.dtypes import at_least_float32
from kjax.frozen import suggest
from kjax.nn.attend import check_inputs, inputs_of
from kjax.nn.kernels import all_of, band, weights_of
from kjax.nn.layer import Layer, Params, State
from kjax.nn.mask import Masked, over, plain, unmask
from kjax.nn.noise import Dropout

SCORES = ("dot", "concat")


class MatchedMean(Layer):
    """Base of `Attention` and `AdditiveAttention`: all but the scores of queries and keys."""

    seed: int | None = dataclasses.field(default=None, kw_only=True)
    use_causal_mask: bool = dataclasses.field(default=False, kw_only=True)
    return_attention_scores: bool = dataclasses.field(default=False, kw_only=True)

    takes_mask = True
    use_attention_mask: ClassVar[bool] = False

    def validate(self) -> None:
        _ = self._drop

    @property
    def draws(self) -> bool:  # type: ignore[override]
        return self._drop.rate > 0

    @property
    def _drop(self) -> Dropout:
        return Dropout(self.dropout, seed=self.seed)  # type: ignore[attr-defined]

    def check_input(self, x: Any) -> None:
        check_inputs(self, x)
        query, _, key, _ = inputs_of(self, x)
        if len(query.shape) != 3:
            self.refuse("takes inputs of rank 3, (batch, time, features)", query)
        if key.shape[-1] != query.shape[-1]:
            self.refuse(f"takes keys of as many features as the query's {query.shape[-1]}", key)

    def scores(self, params: Params, query: Any, key: Any) -> jax.Array:
        """How well each query, (batch, T, features), matches each key, (batch, S, features): (batch, T, S)."""
        raise NotImplementedError(f"{type(self).__name__} defines no scores(self, params, query, key)")

    def call(self, params: Params, state: State, x: Any, training: bool, key: Any) -> tuple[Any, State]:
        given = inputs_of(self, x)[:3]
        (query, value, keys), (of_query, of_value, _) = plain(given), map(steps, given)
        scores = self.scores(params, query, keys)
        hidden = None if of_value is None else of_value[:, None]
        reach = band(query.shape[1], keys.shape[1], self.use_causal_mask)
        weights = weights_of(scores, all_of(reach, hidden)).astype(value.dtype)
        used, _ = self._drop.call({}, {}, weights, training, key)
        y = used @ value
        if of_query is not None:
            y = jnp.where(over(of_query, y), y, jnp.zeros((), y.dtype))
        mask = unmask(given[0])[1]
        y = y if mask is None else Masked(y, mask)
        return ((y, weights) if self.return_attention_scores else y), state


def steps(x: Any) -> Any:
    """The mask of an input's time steps; None where it has none, or only one of its rows."""
    mask = unmask(x)[1]
    return mask if mask is not None and mask.ndim > 1 else None


class Attention(MatchedMean):
    """Dot-product attention: `softmax(query @ key.T) @ value`, the mean of the values that match a query.

    Args:
        use_scale: whether a learned number multiplies the scores (with "concat", what tanh is taken of).
        score_mode: "dot", or "concat": `weight * sum(tanh(query + key))`, with a learned weight.
        dropout: the share of weights that are dropped in training.
        seed: an integer mixed into the dropout's key.
        use_causal_mask: whether a step sees only itself and what came before it. Keras asks for this, and for the
            next, at each call; here they are the layer's.
        return_attention_scores: whether the output is `(y, weights)`, the weights being (batch, T, S).

    Shapes: [query (batch, T, features), value (batch, S, size)] -> (batch, T, size). A third input is the key,
    (batch, S, features), for which the value stands otherwise. Steps that the value's mask hides are not seen,
    and where the query's mask hides a step the output is zero; a step that sees nothing gets zeros.

    Source: Luong et al., "Effective approaches to attention-based neural machine translation", 2015
    (arXiv:1508.04025); Keras's `Attention`.

    Raises:
        ValueError: an unknown score_mode, or a dropout outside [0, 1).
        LayerError: inputs that do not go together.

    >>> query, value = jnp.array([[[9.0, 0]]]), jnp.array([[[9.0, 1], [0, 2]]])
    >>> Attention().apply({}, {}, (query, value))[0]
    Array([[[9., 1.]]], dtype=float32)
    """

    use_scale: bool = False
    score_mode: str = "dot"
    dropout: float = 0.0

    def validate(self) -> None:
        super().validate()
        if self.score_mode not in SCORES:
            raise ValueError(
                f"Attention: unknown score_mode {self.score_mode!r}.{suggest(str(self.score_mode), SCORES)}"
            )

    def build(self, key: jax.Array, x: Any) -> tuple[Params, State]:
        names = ["scale"] * self.use_scale + ["concat_score_weight"] * (self.score_mode == "concat")
        return {name: jnp.ones((), inputs_of(self, x)[0].dtype) for name in names}, {}

    def scores(self, params: Params, query: Any, key: Any) -> jax.Array:
        wide = at_least_float32(query.dtype)
        if self.score_mode == "concat":
            sums = query[:, :, None] + key[:, None]
            sums = sums * params["scale"] if self.use_scale else sums
            return jnp.tanh(sums).sum(-1, dtype=wide) * params["concat_score_weight"].astype(wide)
        found = jnp.matmul(query, key.swapaxes(1, 2), preferred_element_type=wide)
        return found * params["scale"].astype(wide) if self.use_scale else found


class AdditiveAttention(MatchedMean):
    """Additive attention: `softmax(sum(scale * tanh(query + key))) @ value`.

    Args:
        use_scale: whether each feature has a learned scale; otherwise it is 1.
        dropout, seed, use_causal_mask, return_attention_scores: as in `Attention`.

    Shapes and masks: as in `Attention`.

    Source: Bahdanau et al., "Neural machine translation by jointly learning to align and translate", 2014
    (arXiv:1409.0473); Keras's `AdditiveAttention`.

    Raises:
        ValueError: a dropout outside [0, 1).
        LayerError: inputs that do not go together.

    >>> query, value = jnp.ones((1, 1, 2)), jnp.array([[[1.0, 1], [1, 1]]])
    >>> AdditiveAttention(use_scale=False).apply({}, {}, (query, value))[0]
    Array([[[1., 1.]]], dtype=float32)
    """

    use_scale: bool = True
    dropout: float = 0.0

    def build(self, key: jax.Array, x: Any) -> tuple[Params, State]:
        query = inputs_of(self, x)[0]
        draw = initializers.get("glorot_uniform")
        return ({"scale": draw(key, query.shape[-1:], query.dtype)} if self.use_scale else {}), {}

    def scores(self, params: Params, query: Any, key: Any) -> jax.Array:
        matched = jnp.tanh(query[:, :, None] + key[:, None])
        matched = matched * jnp.expand_dims(params["scale"], range(3)) if self.use_scale else matched
        return matched.sum(-1, dtype=at_least_float32(query.dtype))
