"""A loop over time whose gradient of the recurrent weights is one product behind the loop.

Reverse mode through `lax.scan` adds `left.T @ gradient` to the weights' gradient at every step: a small product that
reads and writes the whole matrix. Here each sum that a step makes is `product(left, weight) + plus`, where `plus` is
an input of that step. A tangent of the weight then acts just as one of `plus` does, and that one is known for all
steps at once: `product(lefts, tangent)`. Transposed, it is the one product.

Measured on 2 cores (AVX-512, float32) in one alternated run, processor time of the forward pass and all gradients of
an LSTM of 128 units over 80 steps of 32 rows: 35.2 ms, against 41.2 for `lax.scan` over the same hoisted input
products. A reverse pass written by hand, which would have no forward mode, took 30.5.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
from jax import Array, lax

from .primitive import together

Product = Callable[[Array, Array], Array]


class Plan(NamedTuple):
    """The static half of a recurrence."""

    step: Callable
    product: Product
    reverse: bool
    unroll: int | bool


def recurrence(plan: Plan, weights: Sequence[Array], inputs: Any, states: Any, fixed: Any, each: Any) -> Any:
    """`lax.scan` of a step whose products with weights are known by number; derivatives of any order and mode.

    Args:
        plan: `step(sums, others, states, fixed, each) -> (y, states)`, where `sums[i](left)` is
            `product(left, weights[i]) + plus[i]`; `product(left, weight)`, linear in both, acts on each of the
            leading rows of `left` alone; whether to run backwards in time; how many steps to unroll.
        weights: one for each sum.
        inputs: `(plus, others)` with time as the first axis of all: a `plus` for each sum, and whatever else depends
            on time.
        states: what the first step starts from.
        fixed: what every step sees, and nothing is differentiated by: dropout masks.
        each: the same with time as the first axis: the time mask.

    Returns:
        `(ys, states)`: the outputs with time as the first axis, and the last states.
    """
    leaves, structure = jax.tree.flatten((tuple(weights), inputs, states, fixed, each))
    return _recurrence(plan, *jax.tree.unflatten(structure, together(*leaves)))


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _recurrence(plan: Plan, weights: Any, inputs: Any, states: Any, fixed: Any, each: Any) -> Any:
    return _run(plan, weights, inputs, states, fixed, each)[0]


@_recurrence.defjvp
def _tangents(plan: Plan, primals: Any, tangents: Any) -> Any:
    weights, inputs, states, fixed, each = primals
    along_weights, (along_plus, along_others), along_states, *_ = tangents

    def run(inputs: Any, states: Any) -> Any:
        return _run(plan, weights, inputs, states, fixed, each)

    out, linear, lefts = jax.linearize(run, inputs, states, has_aux=True)
    moved = map(partial(_at_once, plan.product), lefts, along_weights)
    along_plus = tuple(a + b for a, b in zip(along_plus, moved, strict=True))
    return out, linear((along_plus, along_others), along_states)


def _run(plan: Plan, weights: Any, inputs: Any, states: Any, fixed: Any, each: Any) -> Any:
    def body(states: Any, given: Any) -> Any:
        ((plus, others), own), lefts = given, [None] * len(weights)

        def total(i: int, left: Array) -> Array:
            lefts[i] = left  # type: ignore[call-overload]
            return plan.product(left, weights[i]) + plus[i]

        sums = [partial(total, i) for i in range(len(weights))]
        y, states = plan.step(sums, others, states, fixed, own)
        return states, (y, tuple(lefts))

    states, (ys, lefts) = lax.scan(body, states, (inputs, each), reverse=plan.reverse, unroll=plan.unroll)
    return (ys, states), lefts


def _at_once(product: Product, lefts: Array, weight: Array) -> Array:
    """The products of all time steps as one."""
    y = product(lefts.reshape(-1, *lefts.shape[2:]), weight)
    return y.reshape(*lefts.shape[:2], *y.shape[1:])
