"""What all kinds of attention share: their inputs, what may see what, and weighted means."""

import string
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from kjax.dtypes import at_least_float32
from kjax.nn.errors import LayerError
from kjax.nn.kernels import product
from kjax.nn.mask import plain, unmask


def inputs_of(layer: Any, x: Any) -> tuple[Any, Any, Any, Any]:
    """`(query, value, key, attention mask)` of a layer's inputs; the value stands in for the key, the query for both.

    Raises:
        LayerError: another number of inputs.
    """
    given = list(x) if isinstance(x, tuple | list) else [x]
    mask = unmask(given.pop())[0] if layer.use_attention_mask else None
    if not 1 <= len(given) <= 3:
        raise LayerError(
            f"{layer!r} takes [query, value] or [query, value, key]"
            f"{', and the attention mask behind them' * layer.use_attention_mask}; got {len(given)} of these"
        )
    return given[0], given[min(1, len(given) - 1)], given[-1], mask


def check_inputs(layer: Any, x: Any) -> None:
    """Refuses inputs that do not go together; a rank that is wrong, or a mask that is not asked for."""
    query, value, key, _ = map(plain, inputs_of(layer, x))
    for part in (query, value, key):
        if part.dtype == bool:
            layer.refuse("takes an attention mask, as its last input, only with use_attention_mask=True", part)
        if len(part.shape) < 3 or len(part.shape) != len(query.shape):
            layer.refuse("takes inputs of one rank, 3 or more, (batch, time, features)", part)
        if part.shape[0] != query.shape[0]:
            layer.refuse(f"takes inputs of one batch size; the query's is {query.shape[0]}", part)
    if value.shape[:-1] != key.shape[:-1]:
        layer.refuse(f"takes a value for each key, but the keys have shape {tuple(key.shape)}", value)


def attend(query: Any, key: Any, value: Any, mask: Any, drop: Callable) -> tuple[jax.Array, jax.Array]:
    """Scaled dot products as the weights of means: `softmax(query @ key.T / sqrt(size)) @ value`, and these weights.

    Args:
        query: (…, T, heads, size).
        key: (…, S, groups, size); each of its heads serves heads / groups of the query's, which are neighbours.
        value: (…, S, groups, value size).
        mask: what may be seen, broadcastable to (…, heads, T, S); None for all.
        drop: what is done to the weights before they are used.

    Returns:
        The means, (…, T, heads, value size), and the weights, (…, heads, T, S).
    """
    (*lead, steps, heads, size), groups = query.shape, key.shape[-2]
    few, letters = (groups, heads // groups), string.ascii_uppercase[: len(lead)]
    query = (query * size**-0.5).reshape(*lead, steps, *few, size)
    wide = at_least_float32(query.dtype)
    scores = product(f"{letters}tgrd,{letters}sgd->{letters}grts", query, key, wide)
    weights = weights_of(scores.reshape(*lead, heads, *scores.shape[-2:]), mask).astype(value.dtype)
    used = drop(weights).reshape(scores.shape)
    means = product(f"{letters}grts,{letters}sgv->{letters}tgrv", used, value, value.dtype)
    return means.reshape(*lead, steps, heads, value.shape[-1]), weights


def weights_of(scores: jax.Array, mask: Any) -> jax.Array:
    """The softmax over the last axis of what the mask leaves; zeros where it leaves nothing.

    >>> weights_of(jnp.zeros((2, 2)), jnp.array([[True, False], [False, False]])).tolist()
    [[1.0, 0.0], [0.0, 0.0]]
    """
    if mask is None:
        return jax.nn.softmax(scores)
    mask = jnp.broadcast_to(mask, scores.shape)
    weights = jax.nn.softmax(jnp.where(mask, scores, jnp.finfo(scores.dtype).min))
    return jnp.where(mask, weights, jnp.zeros((), scores.dtype))


def band(rows: int, columns: int, causal: bool, window: int | None = None) -> Any:
    """What position alone lets be seen, bool (rows, columns): the past, or what is less than `window` away; None: all.

    >>> band(2, 3, True).astype(int).tolist()
    [[1, 0, 0], [1, 1, 0]]
    """
    ahead = jnp.arange(columns)[None] - jnp.arange(rows)[:, None]
    seen = [ahead <= 0] if causal else []
    seen += [abs(ahead) < window] if window is not None else []
    return all_of(*seen)


def all_of(*masks: Any) -> Any:
    """Where all of the masks hold that are not None; None where there is none."""
    given = [mask for mask in masks if mask is not None]
    rank = max((mask.ndim for mask in given), default=0)
    found: Any = None
    for mask in given:
        mask = jnp.expand_dims(mask, range(rank - mask.ndim))
        found = mask if found is None else found & mask
    return found
