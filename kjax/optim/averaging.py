"""What stands around an optimizer's step: gradients gathered before it, weights averaged after it."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from kjax.optim.lift import compute_dtype

Advance = Callable[[Any, Any, Any], tuple[Any, Any]]
"""`(grads, opt_state, params) -> (params, opt_state)`."""


def zeros_like(params: Any) -> Any:
    """Zeros to add up in: at least float32, where a small addition to a large sum is not lost."""
    return jax.tree.map(lambda p: jnp.zeros(jnp.shape(p), compute_dtype(p)), params)


def accumulating(steps: int, advance: Advance) -> Advance:
    """One step by the mean of `steps` gradients; the params wait until it is there."""

    def gather(grads: Any, state: Any, params: Any) -> tuple[Any, Any]:
        params = jax.tree.map(jnp.asarray, params)
        total = jax.tree.map(lambda a, g: a + jnp.asarray(g, a.dtype), state.slots["gradient_sum"], grads)
        count = state.scalars["gradients"] + 1

        def go() -> tuple[Any, Any]:
            moved, new = advance(jax.tree.map(lambda a: a / steps, total), state, params)
            return moved, put(new, jax.tree.map(jnp.zeros_like, total), jnp.zeros_like(count))

        return jax.lax.cond(count >= steps, go, lambda: (params, put(state, total, count)))

    def put(state: Any, total: Any, count: Any) -> Any:
        slots, scalars = {**state.slots, "gradient_sum": total}, {**state.scalars, "gradients": count}
        return state._replace(slots=slots, scalars=scalars)

    return gather


def averaging(momentum: Any, overwrite_frequency: int | None, advance: Advance) -> Advance:
    """A step, and then the average of the weights a step further; now and then the weights are set to it."""

    def average(grads: Any, state: Any, params: Any) -> tuple[Any, Any]:
        params, new = advance(grads, state, params)
        kept = jnp.where(state.step == 0, 0, momentum)
        ema = jax.tree.map(lambda a, p: mix(a, p, kept.astype(a.dtype)), state.slots["ema"], params)
        if overwrite_frequency is not None:
            due = new.step % overwrite_frequency == 0
            params = jax.tree.map(lambda a, p: jnp.where(due, a.astype(p.dtype), p), ema, params)
        return params, new._replace(slots={**new.slots, "ema": ema})

    return average


def mix(a: Any, b: Any, part: Any) -> Any:
    """`part` of a, the rest of b."""
    return part * a + (1 - part) * jnp.asarray(b, a.dtype)
