"""How a convolution's three maps become primitives of JAX: bilinear, with rules for vmap and for each platform."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.interpreters import batching, mlir

from ... import native as kernels

if TYPE_CHECKING:
    from jax.extend.core import Primitive
else:
    # The public way to the class imports Pallas and more: 30 ms of each import of kjax.
    Primitive = type(lax.neg_p)

Steps = tuple[int, ...]
Pairs = tuple[tuple[int, int], ...]
Axes = tuple[int, int]
Rule = Callable[..., Array]
VARYING = ("vma", "manual_axis_type")
"""How versions of JAX call what a type says of devices in `shard_map`."""


class Native(NamedTuple):
    """A rule that calls a kernel in C, and what it takes: the operands' shapes and the window."""

    rule: Rule
    takes: Callable[..., bool]


class Window(NamedTuple):
    """The static half of a convolution; every field has one entry for each spatial axis."""

    size: Steps
    taps: Steps
    strides: Steps
    padding: Pairs
    dilation: Steps

    @property
    def out(self) -> Steps:
        axes = zip(*self, strict=True)
        return tuple((n + sum(pad) - (k - 1) * d - 1) // s + 1 for n, k, s, pad, d in axes)


def together(*arrays: Array) -> Sequence[Array]:
    """In `shard_map`, operands that all vary over the devices that any of them varies over, as JAX's own do.

    So the gradient of what the devices share is summed over them. JAX has another name for this in every version: a
    selection, of which XLA keeps nothing, does it in all.
    """
    kinds = [[getattr(jax.typeof(x), name, None) for name in VARYING] for x in arrays]
    if all(kind == kinds[0] for kind in kinds):
        return arrays
    cells = [lax.stop_gradient(x).ravel()[0].astype(jnp.float32) for x in arrays if x.size]
    return [jnp.where(True, x, sum(cells, jnp.float32(0)).astype(x.dtype)) for x in arrays]


def run_eagerly(primitive: Primitive, *static: str) -> None:
    """Outside of a program the primitive is one of its own, under `disable_jit` too; `static` names its settings."""
    compiled = jax.jit(primitive.bind, static_argnames=static)

    @primitive.def_impl
    def eager(*operands: Array, **settings: Any) -> Any:
        with jax.disable_jit(False):
            return compiled(*operands, **settings)


def make_primitive(name: str, anywhere: Rule, cpu: Rule, left: Axes, right: Axes, native: Native) -> Primitive:
    """A bilinear primitive with a rule for any platform and one for CPU, and one in C for what it takes.

    `left` names an axis of the left operand and one of the result: a vmapped axis of the left operand alone
    can join them, for the map acts on each of their entries alike. `right` is the same for the right operand.
    With `members`, both operands have one more leading axis, an ensemble's, and the map acts on pairs.
    """
    primitive = Primitive(name)
    run_anywhere = partial(_run, anywhere, jax.vmap)
    run_eagerly(primitive, "window", "members")

    @primitive.def_abstract_eval
    def shape(a: Any, b: Any, **static: Any) -> Any:
        found = jax.make_jaxpr(partial(run_anywhere, **static))(_plain(a), _plain(b)).out_avals[0]
        return found.update(**{name: getattr(a, name) for name in VARYING if hasattr(a, name)})

    batching.primitive_batchers[primitive] = partial(_batch, primitive, left, right)
    mlir.register_lowering(primitive, partial(_lower, run_anywhere))
    mlir.register_lowering(primitive, partial(_lower_cpu, run_anywhere, cpu, native), platform="cpu")
    return primitive


def _plain(aval: Any) -> jax.ShapeDtypeStruct:
    """The operand on one device: all the maps ask of it, and what is made within them has no other type."""
    return jax.ShapeDtypeStruct(aval.shape, aval.dtype)


def _lower(run: Callable, context: Any, a: Any, b: Any, **static: Any) -> Any:
    context = context.replace(avals_in=[jax.core.ShapedArray(aval.shape, aval.dtype) for aval in context.avals_in])
    return mlir.lower_fun(run, multiple_results=False)(context, a, b, **static)


def _lower_cpu(anywhere: Callable, cpu: Rule, native: Native, context: Any, a: Any, b: Any, **static: Any) -> Any:
    avals = context.avals_in
    if not all(aval.size for aval in avals):
        return _lower(anywhere, context, a, b, **static)  # nothing to compute, and shapes that other rules divide by
    shapes = [aval.shape[static["members"] :] for aval in avals]
    wanted = kernels.usable(context) and {aval.dtype for aval in avals} == {jnp.dtype("float32")}
    rule = native.rule if wanted and native.takes(*shapes, static["window"]) else cpu
    return _lower(partial(_run, rule, _one_by_one), context, a, b, **static)


def _run(rule: Rule, mapped: Callable, a: Array, b: Array, *, window: Window, members: bool) -> Array:
    one = partial(rule, window=window)
    return mapped(one)(a, b) if members else one(a, b)


def _one_by_one(rule: Callable) -> Callable:
    """A loop over the members of an ensemble: 3 to 12 times faster on CPU than XLA's grouped convolutions."""
    return lambda a, b: lax.map(lambda pair: rule(*pair), (a, b))


def _batch(primitive: Primitive, left: Axes, right: Axes, operands: Any, places: Any, **static: Any) -> Any:
    bind, members = partial(primitive.bind, window=static["window"]), static["members"]
    if None not in places:
        return _batch_pairs(bind, operands, places, members)
    return _batch_one(bind, list(operands), places, left if places[1] is None else right, members)


def _batch_pairs(bind: Rule, operands: Any, places: Any, members: bool) -> tuple[Array, int]:
    a, b = (jnp.moveaxis(x, place, 0) for x, place in zip(operands, places, strict=True))
    if not members:
        return bind(a, b, members=True), 0
    n, own = a.shape[:2]  # by number, for there may be none of something
    y = bind(*(x.reshape(n * own, *x.shape[2:]) for x in (a, b)), members=True)
    return y.reshape(n, own, *y.shape[1:]), 0


def _batch_one(bind: Rule, operands: list[Array], places: Any, axes: Axes, members: bool) -> tuple[Array, int]:
    which = 0 if places[1] is None else 1
    x, place = operands[which], places[which]
    axis, result = ((a + members if a >= 0 else a) % (x.ndim - 1) for a in axes)
    moved = jnp.moveaxis(x, place, axis)
    n, own = moved.shape[axis : axis + 2]
    operands[which] = moved.reshape(*moved.shape[:axis], n * own, *moved.shape[axis + 2 :])
    y = bind(*operands, members=members)
    return y.reshape(*y.shape[:result], n, y.shape[result] // max(n, 1), *y.shape[result + 1 :]), result
