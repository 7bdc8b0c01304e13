"""Products of matrices that need not lie in order: what `einsum` does for two arrays, fast on CPU, gradients included.

Every axis is named by a letter, and every letter stands at two of three places, or at all three: in the left operand,
the right one, the result. So the derivatives by either operand are such products too, with the places exchanged, and
nothing is ever transposed for them. One primitive is enough.

On CPU a kernel of our own multiplies: it takes any order of axes by strides, where XLA copies what lies the wrong way
round, and holds the peak down to the products of 64x32x64 of a head of attention, where XLA reaches a quarter of it.
"""

import functools
import math
import string
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.interpreters import ad, batching, mlir

from kjax import native

from .primitive import Primitive, run_eagerly

Sizes = tuple[int, ...]


def product(equation: str, a: Array, b: Array, dtype: Any = None) -> Array:
    """The product of two arrays, summed over the axes that the result lacks.

    Args:
        equation: `"bti,io->bto"`, as `jnp.einsum` takes it; each letter once at a place, and at two places at least.
        a, b: the operands.
        dtype: what to sum up in and give back; None for that of the operands.

    >>> product("bti,io->bto", jnp.ones((2, 3, 4)), jnp.ones((4, 5))).shape
    (2, 3, 5)
    """
    wide = jnp.result_type(a, b)
    a, b = a.astype(wide), b.astype(wide)
    if unspread(a, b) and wide == jnp.float32 and dtype in (None, wide) and gains(equation, a.shape, b.shape):
        precision = jax.config.jax_default_matmul_precision  # type: ignore[attr-defined]
        return product_p.bind(a, b, equation=equation, precision=precision)
    return anywhere(a, b, equation=equation, dtype=dtype)


def unspread(*arrays: Array) -> bool:
    """Whether no type says, as in shard_map, how arrays are spread over devices: JAX's primitives alone pass it on."""
    return all(jax.typeof(x).sharding.mesh.empty for x in arrays)


def tensordot(x: Array, kernel: Array, bound: int = 1) -> Array:
    """The product over the last `bound` axes of x and the first ones of a kernel.

    >>> tensordot(jnp.ones((2, 3, 4)), jnp.ones((4, 5, 6))).shape
    (2, 3, 5, 6)
    """
    free, letters = x.ndim - bound, string.ascii_lowercase[: x.ndim]
    units = string.ascii_uppercase[: kernel.ndim - bound]
    return product(f"{letters},{letters[free:]}{units}->{letters[:free]}{units}", x, kernel)


def anywhere(a: Array, b: Array, *, equation: str, precision: Any = None, dtype: Any = None) -> Array:
    """XLA's own product."""
    left, right, out = places(equation)
    shared = [c for c in left if c in right]
    sides = [[[side.index(c) for c in shared if (c in out) == kept] for side in (left, right)] for kept in (0, 1)]
    y = lax.dot_general(a, b, sides, precision=precision, preferred_element_type=dtype)  # type: ignore[arg-type]
    now = [c for c in shared if c in out] + [c for c in left + right if c not in shared]
    return y if "".join(now) == out else y.transpose([now.index(c) for c in out])


def places(equation: str) -> tuple[str, str, str]:
    """The letters of the left operand, the right one, and the result."""
    operands, out = equation.split("->")
    left, right = operands.split(",")
    return left, right, out


# --- How the kernel takes a product ---


class Axis(NamedTuple):
    """One axis, or several that lie as one would: its size, and its strides in both operands and the result."""

    size: int
    a: int
    b: int
    out: int


class Layout(NamedTuple):
    """Whether the operands change places, and the axes as the kernel has them: four of the batch, then m, n and k."""

    swapped: bool
    axes: tuple[Axis, ...]


BATCH, FEW = 4, 2**14
ONE = Axis(1, 0, 0, 0)


def chosen(equation: str, a: Sizes, b: Sizes) -> Layout | None:
    """How the kernel takes a product; None where it does not, or XLA's is as fast."""
    found = layout(equation, a, b)
    return found if found and pays(found) else None


def gains(equation: str, a: Sizes, b: Sizes) -> bool:
    """Whether the kernel takes a product or one of its derivatives."""
    left, right, out = places(equation)
    sizes = dict(zip(left + right, (*a, *b), strict=True))
    orders = ((left, right, out), (out, right, left), (left, out, right))
    shapes = [[tuple(sizes[c] for c in place) for place in order[:2]] for order in orders]
    return any(chosen(f"{x},{y}->{z}", *own) for (x, y, z), own in zip(orders, shapes, strict=True))


def pays(found: Layout) -> bool:
    """Whether the kernel is faster, measured in float32 on 2 cores (AVX-512), in loops and in training steps.

    Gradients of kernels, whose left operand's rows lie as columns, take 0.3 to 0.9 of XLA's time, from 512x128x10 on:
    an MLP's step of 128 rows 0.86, and no less if its other products are ours too. Those gain from 256 rows on: a
    character GPT's step takes 0.79 of its time with the former alone, 0.76 with all. With 8 rows a product takes 1.5
    times as long as XLA's.

    A single row takes as long as XLA's (64x64: 1.6 µs). But XLA counts no work in a kernel, and what seems little work
    it runs in the thread that calls: `predict` of one row of 64-64-32-10 units takes 12 µs of XLA's so, else 12 or,
    where its thread has fallen asleep meanwhile, 50.
    """
    m, n, k = found.axes[BATCH:]
    several = math.prod(axis.size for axis in found.axes[:BATCH])
    if several * m.size == 1:
        return n.b == 1 and n.size * k.size <= FEW
    if several * m.size * n.size * k.size < 2**19 or k.size < 16:
        return False
    return m.a == 1 or (several * m.size >= 256 and min(m.size, n.size) >= 16)


@functools.cache
def layout(equation: str, a: Sizes, b: Sizes) -> Layout | None:
    """How the kernel takes a product, if it does: m, n and k must be one axis each, and n or k the last of b."""
    left, right, out = places(equation)
    sizes = dict(zip(left + right, (*a, *b), strict=True))
    if not all(isinstance(size, int) and size > 0 for size in sizes.values()):
        return None  # nothing to multiply, or sizes that only an exported program's caller knows
    last = next((c for c in reversed(out) if sizes[c] > 1), "")
    swapped = last in left
    operands = (right, left) if swapped else (left, right)
    steps = [strides(place, sizes) for place in (*operands, out)]
    axes = [Axis(size, *(step.get(c, 0) for step in steps)) for c, size in sizes.items() if size > 1]
    m, n, k, batch = (merged([axis for axis in axes if missing(axis) == i]) for i in (1, 0, 2, None))
    m, n, batch = m[-1:] or [ONE], n[-1:], [*batch, *m[:-1], *n[:-1]]
    if len(batch) > BATCH or not (len(m) == len(n) == len(k) == 1) or n[0].out != 1 or 1 not in (n[0].b, k[0].b):
        return None
    return Layout(swapped, (*[ONE] * (BATCH - len(batch)), *batch, *m, *n, *k))


def strides(place: str, sizes: dict[str, int]) -> dict[str, int]:
    """How far apart neighbours along each axis lie."""
    return {c: math.prod(sizes[d] for d in place[i + 1 :]) for i, c in enumerate(place)}


def missing(axis: Axis) -> int | None:
    """Which of the left operand, the right one and the result lacks an axis; None for none of them."""
    return axis[1:].index(0) if 0 in axis else None


def merged(axes: list[Axis]) -> list[Axis]:
    """The axes, outer ones first, those as one that lie so in all of the three."""
    found: list[Axis] = []
    for axis in sorted(axes, key=lambda axis: (axis.out, axis.a), reverse=True):
        if found and all(outer == inner * axis.size for outer, inner in zip(found[-1][1:], axis[1:], strict=True)):
            axis = Axis(found.pop().size * axis.size, *axis[1:])
        found.append(axis)
    return found


# --- The primitive ---

product_p = Primitive("product")
run_eagerly(product_p, "equation", "precision")


@product_p.def_abstract_eval
def shape(a: Any, b: Any, *, equation: str, precision: Any) -> Any:
    left, right, out = places(equation)
    sizes = dict(zip(left + right, (*a.shape, *b.shape), strict=True))
    return a.update(shape=tuple(sizes[c] for c in out), weak_type=False)


def one_cpu(a: Array, b: Array, *, equation: str, precision: Any, found: Layout) -> Array:
    """The product by our kernel."""
    left, right, out = places(equation)
    sizes = dict(zip(left + right, (*a.shape, *b.shape), strict=True))
    operands = (b, a) if found.swapped else (a, b)
    numbers = [number for axis in found.axes for number in axis]
    return native.call("product", [tuple(sizes[c] for c in out)], numbers, *operands)[0]


def lower_cpu(context: Any, a: Any, b: Any, *, equation: str, precision: Any) -> Any:
    shapes, narrow = [aval.shape for aval in context.avals_in], context.avals_in[0].dtype == jnp.float32
    found = chosen(equation, *shapes) if narrow and native.usable(context) else None
    rule = partial(one_cpu, found=found) if found else anywhere
    return mlir.lower_fun(rule, multiple_results=False)(context, a, b, equation=equation, precision=precision)


def batch(operands: Any, axes: Any, *, equation: str, precision: Any) -> tuple[Array, int]:
    """A vmapped axis is one more letter."""
    left, right, out = places(equation)
    new = next(c for c in string.ascii_letters if c not in equation)
    left, right = (
        place if axis is None else place[:axis] + new + place[axis:]
        for place, axis in zip((left, right), axes, strict=True)
    )
    return product_p.bind(*operands, equation=f"{left},{right}->{new}{out}", precision=precision), 0


def by_left(out: Array, a: Any, b: Array, *, equation: str, precision: Any) -> Array:
    left, right, result = places(equation)
    return product_p.bind(out, b, equation=f"{result},{right}->{left}", precision=precision)


def by_right(out: Array, a: Array, b: Any, *, equation: str, precision: Any) -> Array:
    left, right, result = places(equation)
    return product_p.bind(a, out, equation=f"{left},{result}->{right}", precision=precision)


batching.primitive_batchers[product_p] = batch
ad.defbilinear(product_p, by_left, by_right)
mlir.register_lowering(product_p, mlir.lower_fun(anywhere, multiple_results=False))
mlir.register_lowering(product_p, lower_cpu, platform="cpu")
