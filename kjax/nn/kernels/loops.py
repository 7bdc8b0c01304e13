"""How the time loop of a recurrent layer becomes primitives of JAX, with kernels of its own for CPU.

Three primitives for each kind of loop: the loop; its derivative along a direction, linear in that direction; and the
transpose of the derivative, the reverse loop. Each has a rule in plain JAX, which says what it computes, runs on every
platform, and is what derivatives of higher order are taken of. On CPU the loop and its transpose are native: XLA pays a
dozen small operations for each step, and gives a product of few rows one core.

The derivative takes what the weights' tangents add to all sums from outside, as `recurrence` does: so the gradient of
the recurrent kernel is one product behind the reverse loop.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.interpreters import ad

from kjax import native

from .primitive import Primitive, together
from .products import tensordot
from .rows import Rule, make_row_primitive, pull_linear


class Rules(NamedTuple):
    """A kind of loop, as rules in plain JAX; widths count units, and all arrays but states and weights begin with time.

    forward: `(plus, *weights, *states, real, backwards) -> (hs, …, *states)`, from the inputs' part of the sums to
        what is kept of each step, the outputs first, and the last states.
    tangent: `(*weights, real, hs, …, *states, *along, *states, backwards)`: the tangents of what `forward` gives,
        from what it kept, its first states, and the tangents of sums and first states.
    along: `(plus, weights, operands, kept, backwards)`: the tangents of sums, from those of plus and of the weights
        (None where a weight has none), the operands of `forward` and what it kept.
    """

    name: str
    forward: Rule
    tangent: Rule
    along: Callable[..., Sequence[Array]]
    gates: int
    weights: int
    states: int
    kept: Sequence[int]
    sums: Sequence[int]

    def split_forward(self, operands: Sequence[Any]) -> tuple[Any, Sequence[Any], Sequence[Any], Any]:
        """Plus, weights, states, real."""
        plus, *others, real = operands
        return plus, others[: self.weights], others[self.weights :], real


class Loop(NamedTuple):
    """The primitives of a kind of loop."""

    forward: Primitive
    tangent: Primitive
    reverse: Primitive


def make_loop(rules: Rules) -> Loop:
    """The primitives, with their rules for derivatives."""
    weights, states, kept = (None,) * rules.weights, (0,) * rules.states, (1,) * len(rules.kept)
    known, sums, out = (*weights, 1, *kept, *states), (1,) * len(rules.sums), (*kept, *states)
    loop = Loop(
        make_row_primitive(rules.name, rules.forward, partial(_forward_cpu, rules), (1, *weights, *states, 1), out),
        make_row_primitive(f"{rules.name}_tangent", rules.tangent, None, (*known, *sums, *states), out),
        make_row_primitive(f"{rules.name}_reverse", partial(_reverse, rules), partial(_reverse_cpu, rules),
                           (*known, 1, *states), (*sums, *states)),
    )  # fmt: skip
    ad.primitive_jvps[loop.forward] = partial(_forward_jvp, rules, loop)
    ad.primitive_transposes[loop.tangent] = partial(_tangent_transpose, rules, loop)
    ad.primitive_transposes[loop.reverse] = partial(_reverse_transpose, rules)
    return loop


def run_loop(loop: Loop, plus: Array, weights: Any, states: Any, real: Array | None, backwards: bool) -> Any:
    """`(hs, states)`: the outputs of all steps, and the last states; derivatives of any order and mode.

    Args:
        loop: what to run.
        plus: `(time, batch, gates * units)`, the inputs' part of the sums.
        weights: what all steps share.
        states: each `(batch, units)`, what the first step starts from.
        real: `(time, batch)`, False where a step leaves the states of an example as they are; None for nowhere.
        backwards: whether the last step comes first.
    """
    real = jnp.ones(plus.shape[:2], plus.dtype) if real is None else real.astype(plus.dtype)
    hs, *others = loop.forward.bind(*together(plus, *weights, *states, real), backwards=backwards)
    return hs, tuple(others[len(others) - len(states) :])


# --- What rules are made of ---


def before(states: Array, first: Array, backwards: bool) -> Array:
    """The state before each step."""
    return jnp.concatenate([states[1:], first[None]] if backwards else [first[None], states[:-1]])


def add_product(along: Array, lefts: Array, weight: Array | None) -> Array:
    """What a weight's tangent adds to all sums; nothing where there is none."""
    return along if weight is None else along + tensordot(lefts, weight)


def hold(real: Array, new: Array, old: Array) -> Array:
    """A state, as it was where a step is not real."""
    return jnp.where(real[:, None] != 0, new, old)


def _reverse(rules: Rules, *operands: Array, backwards: bool) -> list[Array]:
    """The gradients of the sums and of the first states, from those of all h (none: of length 0) and last states."""
    known, (g_hs, *g_states) = operands[: -1 - rules.states], operands[-1 - rules.states :]
    hs = known[rules.weights + 1]
    sums = [jnp.concatenate([hs] * width, -1) for width in rules.sums]  # for their types alone

    def run(*along: Array) -> Any:
        hs, *others = rules.tangent(*known, *along, backwards=backwards)
        return hs, *others[len(rules.kept) - 1 :]

    g_hs = g_hs if len(g_hs) else jnp.zeros_like(hs)
    return list(jax.linear_transpose(run, *sums, *g_states)((g_hs, *g_states)))


# --- CPU ---


def _forward_cpu(rules: Rules, *operands: Array, backwards: bool) -> Sequence[Array]:
    plus, _, states, _ = rules.split_forward(operands)
    return _call(rules, rules.name, rules.kept, (*plus.shape[:2], states[0].shape[1], backwards), operands)


def _reverse_cpu(rules: Rules, *operands: Array, backwards: bool) -> Sequence[Array]:
    hs, g_hs = operands[rules.weights + 1], operands[-1 - rules.states]
    sizes = (*hs.shape, backwards, len(g_hs) > 0)
    return _call(rules, f"{rules.name}_reverse", rules.sums, sizes, operands)


def _call(
    rules: Rules, name: str, widths: Sequence[int], sizes: Sequence[int], operands: Sequence[Array]
) -> Sequence[Array]:
    """The arrays of all steps, of these widths, and the states; the kernel finds room for its weights behind them."""
    steps, batch, units = sizes[:3]
    each, states = [(steps, batch, width * units) for width in widths], [(batch, units)] * rules.states
    packed = (-(-units // 16) * 16, rules.gates * units)
    return native.call(name, [*each, *states, packed], sizes, *operands)[:-1]


# --- Derivatives ---


def _forward_jvp(rules: Rules, loop: Loop, primals: Any, tangents: Any, *, backwards: bool) -> Any:
    _, weights, states, real = rules.split_forward(primals)
    along, along_weights, along_states, _ = rules.split_forward(tangents)
    out = loop.forward.bind(*primals, backwards=backwards)
    kept = out[: len(rules.kept)]
    moved = [None if type(w) is ad.Zero else w for w in along_weights]
    sums: Sequence[Any] = rules.along(ad.instantiate_zeros(along), moved, primals, kept, backwards)
    sums = [*sums, *map(ad.instantiate_zeros, along_states)]
    return out, loop.tangent.bind(*weights, real, *kept, *states, *sums, backwards=backwards)


def _tangent_transpose(rules: Rules, loop: Loop, cotangents: Any, *operands: Any, backwards: bool) -> Any:
    """The reverse loop, unless gradients come to what only derivatives of higher order see."""
    cut = len(operands) - len(rules.sums) - rules.states
    known, along = operands[:cut], operands[cut:]
    g_hs, inner, g_states = cotangents[0], cotangents[1 : len(rules.kept)], cotangents[len(rules.kept) :]
    if all(type(g) is ad.Zero for g in inner):
        none = type(g_hs) is ad.Zero
        g_hs = jnp.zeros((0, *g_hs.aval.shape[1:]), g_hs.aval.dtype) if none else g_hs
        found = loop.reverse.bind(*known, g_hs, *map(ad.instantiate_zeros, g_states), backwards=backwards)
        found = [g if ad.is_undefined_primal(x) else None for g, x in zip(found, along, strict=True)]
    else:
        found = pull_linear(partial(rules.tangent, *known, backwards=backwards), along, cotangents)
    return [None] * cut + found


def _reverse_transpose(rules: Rules, cotangents: Any, *operands: Any, backwards: bool) -> Any:
    """The derivative again, through the plain rules."""
    cut = len(operands) - 1 - rules.states
    run = partial(_reverse, rules, *operands[:cut], backwards=backwards)
    return [None] * cut + pull_linear(run, operands[cut:], cotangents)
