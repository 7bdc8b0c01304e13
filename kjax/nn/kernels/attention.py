"""Attention: means of values, weighted by how well a query matches their keys.

Without dropout, and where nothing but positions is hidden, scores, softmax and means are one map, whose tangent is
linear in the tangents of queries, keys and values. It and its gradient have kernels in C where `kjax.native` is usable:
XLA's CPU backend goes over the scores eight times, and computes what a causal mask hides. Output and gradients together
take 0.43 to 0.94 of the time for 64 to 512 steps, and a training step of a GPT of 64 steps and 128 channels 0.89 of it
(2 cores, AVX-512).
"""

import math
import string
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.interpreters import ad, batching

from kjax import native
from kjax.dtypes import at_least_float32

from .either import make_either, make_transposes
from .primitive import Primitive
from .products import product, unspread

LONGEST, SEEN, VECTOR = 2**15, 2**11, 16
"""What `kjax/native/attention.c` holds of one head's keys or values, in floats, how many of them, and in what steps."""
LEAST = 2**19
"""Multiplications from which on the kernels gain: 8 heads of 8 steps take 1.4 times as long, 128 of 16 are even."""
FLOAT32 = np.dtype("float32")


def attend(
    query: Array, key: Array, value: Array, mask: Any = None, drop: Callable | None = None,
    causal: bool = False, window: int | None = None,
) -> tuple[Array, Array]:  # fmt: skip
    """Scaled dot products as the weights of means: `softmax(query @ key.T / sqrt(size)) @ value`, and these weights.

    Args:
        query: (…, T, heads, size).
        key: (…, S, groups, size); each of its heads serves heads / groups of the query's, which are neighbours.
        value: (…, S, groups, value size).
        mask: what may be seen, broadcastable to (…, heads, T, S); None for all.
        drop: what is done to the weights before they are used; None for nothing.
        causal, window: what position lets be seen, as in `band`.

    Returns:
        The means, (…, T, heads, value size), and the weights, (…, heads, T, S).

    >>> y, weights = attend(*[jnp.array([[[[1.0]], [[3.0]]]])] * 3, causal=True)
    >>> weights[0, 0, 0].tolist(), y[0, 0, 0].tolist()
    ([1.0, 0.0], [1.0])
    """
    if mask is None and drop is None and unspread(query, key, value) and takes(query, key, value):
        lead = query.shape[:-3]
        operands = [x.reshape(math.prod(lead), *x.shape[-3:]) for x in (query, key, value)]
        precision = jax.config.jax_default_matmul_precision  # type: ignore[attr-defined]
        found = attention_p.bind(*operands, causal=causal, window=window, precision=precision)
        return tuple(y.reshape(*lead, *y.shape[1:]) for y in found)
    mask = all_of(band(query.shape[-3], key.shape[-3], causal, window), mask)
    return weighted(query, key, value, mask, drop)


def weighted(query: Array, key: Array, value: Array, mask: Any, drop: Callable | None) -> tuple[Array, Array]:
    """The same, for a mask of positions and all else."""
    (*lead, steps, heads, size), groups = query.shape, key.shape[-2]
    few, letters = (groups, heads // groups), string.ascii_uppercase[: len(lead)]
    query = (query * size**-0.5).reshape(*lead, steps, *few, size)
    wide = at_least_float32(query.dtype)
    scores = product(f"{letters}tgrd,{letters}sgd->{letters}grts", query, key, wide)
    weights = weights_of(scores.reshape(*lead, heads, *scores.shape[-2:]), mask).astype(value.dtype)
    used = (weights if drop is None else drop(weights)).reshape(scores.shape)
    means = product(f"{letters}grts,{letters}sgv->{letters}tgrv", used, value, value.dtype)
    return means.reshape(*lead, steps, heads, value.shape[-1]), weights


def weights_of(scores: Array, mask: Any) -> Array:
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


# --- The three maps, on any platform. They take query (batch, T, heads, size), key (batch, S, groups, size), value
# (batch, S, groups, value size) and weights (batch, heads, T, S), which are zero where nothing is seen. ---

Window = int | None


def attention(query: Array, key: Array, value: Array, *, causal: bool, window: Window, precision: Any) -> Any:
    """The means and the weights."""
    with jax.default_matmul_precision(precision):
        return weighted(query, key, value, band(query.shape[1], key.shape[1], causal, window), None)


def push(
    along_query: Array, along_key: Array, along_value: Array, query: Array, key: Array, value: Array, weights: Array,
    *, precision: Any, **static: Any,
) -> tuple[Array]:  # fmt: skip
    """The tangent of the means."""
    with jax.default_matmul_precision(precision):
        moved = weights_along(along_query, along_key, query, key, weights)
        parts = [(moved, value), (weights, along_value)]
        first, second = (product("bgrts,bsgv->btgrv", _in_groups(w, 1, v), v) for w, v in parts)
        return ((first + second).reshape(*query.shape[:-1], value.shape[-1]),)


def weights_along(along_query: Array, along_key: Array, query: Array, key: Array, weights: Array) -> Array:
    """The tangent of the weights."""
    pairs = [(along_query, key), (query, along_key)]
    first, second = (product("btgrd,bsgd->bgrts", _in_groups(q, 2, k), k) for q, k in pairs)
    return _straightened(weights, (first + second).reshape(weights.shape) * query.shape[-1] ** -0.5)


def pull(
    g: Array, query: Array, key: Array, value: Array, weights: Array, *, precision: Any, **static: Any
) -> tuple[Array, Array, Array]:
    """The transpose of `push`: the gradients of query, key and value."""
    with jax.default_matmul_precision(precision):
        g, used = _in_groups(g, 2, value), _in_groups(weights, 1, value)
        slope = product("btgrv,bsgv->bgrts", g, value).reshape(weights.shape)
        scores = _in_groups(_straightened(weights, slope) * query.shape[-1] ** -0.5, 1, key)
        of_query = product("bgrts,bsgd->btgrd", scores, key).reshape(query.shape)
        of_key = product("bgrts,btgrd->bsgd", scores, _in_groups(query, 2, key))
        return of_query, of_key, product("bgrts,btgrv->bsgv", used, g)


def _straightened(weights: Array, along: Array) -> Array:
    """How the softmax passes on a tangent of scores, and a gradient of weights: it is symmetric."""
    return weights * (along - (weights * along).sum(-1, keepdims=True))


def _in_groups(x: Array, axis: int, shared: Array) -> Array:
    """The heads at `axis` as (groups, heads of one)."""
    groups = shared.shape[2]
    return x.reshape(*x.shape[:axis], groups, x.shape[axis] // groups, *x.shape[axis + 1 :])


# --- CPU ---


def takes(query: Any, key: Any, value: Any, *others: Any, **static: Any) -> bool:
    """Whether the kernels take operands of these shapes and dtypes."""
    sizes = (*query.shape[-3:], *key.shape[-3:], *value.shape[-3:])
    if not all(isinstance(size, int) and size for size in (*query.shape[:-3], *sizes)):
        return False
    if math.prod((*query.shape, key.shape[-3])) < LEAST:
        return False
    seen, most = -(-key.shape[-3] // VECTOR) * VECTOR, max(key.shape[-1], value.shape[-1])
    whole = key.shape[-1] % VECTOR == 0 == value.shape[-1] % VECTOR
    return whole and seen * most <= LONGEST and seen <= SEEN and {x.dtype for x in (query, key, value)} == {FLOAT32}


def attention_native(query: Array, key: Array, value: Array, *, causal: bool, window: Window, **static: Any) -> Any:
    batch, steps, heads, _ = query.shape
    results = [(*query.shape[:-1], value.shape[-1]), (batch, heads, steps, key.shape[1])]
    sizes, scale = _settings(query, key, value, causal, window)
    return native.call("attention", results, sizes, query, key, value, scale)


def pull_native(
    g: Array, query: Array, key: Array, value: Array, weights: Array, *, causal: bool, window: Window, **static: Any
) -> Sequence[Array]:
    sizes, scale = _settings(query, key, value, causal, window)
    results = [x.shape for x in (query, key, value)]
    return native.call("attention_grad", results, sizes, g, query, key, value, weights, scale)


def _settings(query: Array, key: Array, value: Array, causal: bool, window: Window) -> tuple[list[int], Array]:
    batch, steps, heads, size = query.shape
    seen, groups, wide = value.shape[1:]
    return [batch, steps, seen, heads, groups, size, wide, causal, window or 0], jnp.float32(size**-0.5)


# --- The primitives ---


attention_p = make_either("attention", attention, attention_native, takes)
push_p = make_either("attention_tangent", push)
pull_p = make_either("attention_gradient", pull, pull_native, lambda g, *operands, **static: takes(*operands))


def _attention_jvp(primals: Any, tangents: Any, **static: Any) -> Any:
    tangents = tuple(map(ad.instantiate_zeros, tangents))
    (query, key, _), (along_query, along_key, _) = primals, tangents
    means, weights = attention_p.bind(*primals, **static)
    (along,) = push_p.bind(*tangents, *primals, weights, **static)
    with jax.default_matmul_precision(static["precision"]):
        return (means, weights), (along, weights_along(along_query, along_key, query, key, weights))


def _fold(primitive: Primitive, operands: Any, places: Any, **static: Any) -> Any:
    """A vmapped axis is more of the batch."""
    n = next(x.shape[place] for x, place in zip(operands, places, strict=True) if place is not None)
    moved = [
        jnp.broadcast_to(x, (n, *x.shape)) if place is None else jnp.moveaxis(x, place, 0)
        for x, place in zip(operands, places, strict=True)
    ]
    found = primitive.bind(*(x.reshape(n * x.shape[1], *x.shape[2:]) for x in moved), **static)
    return [y.reshape(n, moved[0].shape[1], *y.shape[1:]) for y in found], (0,) * len(found)


ad.primitive_jvps[attention_p] = _attention_jvp
make_transposes((push_p, push, 3), (pull_p, pull, 1))
for primitive in (attention_p, push_p, pull_p):
    batching.primitive_batchers[primitive] = partial(_fold, primitive)
