"""Many steps in one compiled loop: each takes its batch, and the logs after each are kept where they are asked for."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from kjax.nn import kernels


def looped(
    step: Callable, summary: Callable, carry: tuple[Any, Any], data: Any, rows: jax.Array, ends: Sequence[Any],
    padded: bool, logs: Any = None,
) -> tuple[Any, ...]:  # fmt: skip
    """`(state, totals)` after some steps, and with room for logs `(state, totals, logs)`.

    Args:
        step: `(state, totals, batch, valid) -> (state, totals)`.
        summary: for the shapes of a batch, the function that makes logs of totals.
        carry: `(state, totals)` to begin with.
        data: arrays, the whole data set.
        rows: int32 (steps, batch), the rows of each batch; -1 is padding.
        ends: the first step and one behind the last; both are data.
        padded: whether `rows` holds any -1.
        logs: a dict of arrays with room for a value per step, or None; filled from their beginning.
    """
    start, stop = ends
    if logs is not None:
        results = summary(jax.eval_shape(lambda: take_rows(data, rows[0], padded)[0]))

    def body(i: Any, carry: Any) -> Any:
        state, totals, *noted = carry
        batch, valid = take_rows(data, rows[i], padded)
        # The totals come from the step before, and so do these logs: out of nothing but arrays that lie in memory,
        # they are compiled as they are by themselves, and have the same bits.
        noted = [note(logs, i - start - 1, results(totals)) for logs in noted]
        return *step(state, totals, batch, valid), *noted

    found = jax.lax.fori_loop(start, stop, body, carry if logs is None else (*carry, logs))
    return found if logs is None else (*found[:2], note(found[2], stop - start - 1, results(found[1])))


def note(logs: dict[str, jax.Array], i: Any, values: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """The logs with values in place `i`; what is noted before the first step is written over by what follows it."""
    i = jnp.maximum(i, 0)
    return {
        name: jax.lax.dynamic_update_index_in_dim(own, values[name].astype(own.dtype), i, 0)
        for name, own in logs.items()
    }


def take_rows(data: Any, rows: jax.Array, padded: bool) -> tuple[Any, Any]:
    """The rows of all arrays, and which of them are real (None for all)."""

    def taken(array: Any) -> jax.Array:
        return array.take(rows) if is_hosted(array) else kernels.take_rows(array, rows)

    return jax.tree.map(taken, data, is_leaf=is_hosted), rows >= 0 if padded else None


def is_hosted(array: Any) -> bool:
    """Whether this is an array that lies where it was."""
    return isinstance(array, kernels.HostArray)


def unpack(batch: Sequence[Any]) -> tuple[Any, Any, Any]:
    """`(x, y, sample_weight)` of a batch; the weight may be left out."""
    if not isinstance(batch, list | tuple) or len(batch) not in (2, 3):
        raise ValueError(f"a batch is (x, y) or (x, y, sample_weight); got {type(batch).__name__} of {len(batch)}")
    return (*batch, None) if len(batch) == 2 else tuple(batch)
