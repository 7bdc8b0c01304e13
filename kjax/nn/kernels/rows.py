"""How a map that acts on the rows of a batch alike becomes a primitive of JAX, with a kernel of its own for CPU."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.interpreters import ad, batching, mlir

from kjax import native

from .primitive import Primitive, run_eagerly

Rule = Callable[..., Sequence[Array]]
Axes = Sequence[int | None]


def make_row_primitive(name: str, plain: Rule, cpu: Rule | None, rows: Axes, results: Sequence[int]) -> Primitive:
    """A primitive with a rule in plain JAX, and one in native code for float32 on CPU.

    `rows` says which axis of each operand goes over the batch's rows, None for those that all rows share; `results`
    says the same of the results. A vmapped axis of operands with rows joins the rows. Where one that all share is
    vmapped too, and for derivatives, the plain rule is taken, as any function of JAX.
    """
    primitive = Primitive(name)
    primitive.multiple_results = True
    run_eagerly(primitive, "backwards")

    @primitive.def_abstract_eval
    def shapes(*operands: Any, **static: Any) -> Any:
        return jax.make_jaxpr(partial(plain, **static))(*operands).out_avals

    batching.primitive_batchers[primitive] = partial(_batch, primitive, plain, rows, results)
    ad.primitive_jvps[primitive] = partial(_jvp, plain)
    mlir.register_lowering(primitive, mlir.lower_fun(plain, multiple_results=True))
    if cpu is not None:
        mlir.register_lowering(primitive, partial(_lower_cpu, plain, cpu), platform="cpu")
    return primitive


def pull_linear(run: Rule, operands: Any, cotangents: Any) -> list[Any]:
    """The cotangents of operands that `run` is linear in; None for those that are known."""
    shapes = [_shape(x.aval if ad.is_undefined_primal(x) else x) for x in operands]
    found = jax.linear_transpose(run, *shapes)(list(map(ad.instantiate_zeros, cotangents)))
    return [g if ad.is_undefined_primal(x) else None for g, x in zip(found, operands, strict=True)]


def _shape(x: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape, x.dtype)


def _lower_cpu(plain: Rule, cpu: Rule, context: Any, *operands: Any, **static: Any) -> Any:
    takes = all(aval.dtype == np.float32 for aval in context.avals_in) and all(aval.size for aval in context.avals_out)
    rule = cpu if takes and native.usable(context) else plain
    return mlir.lower_fun(rule, multiple_results=True)(context, *operands, **static)


def _jvp(plain: Rule, primals: Any, tangents: Any, **static: Any) -> Any:
    return jax.jvp(partial(plain, **static), primals, tuple(map(ad.instantiate_zeros, tangents)))


def _batch(
    primitive: Primitive, plain: Rule, rows: Axes, results: Sequence[int], operands: Any, places: Any, **static: Any
) -> Any:
    if any(place is not None for place, row in zip(places, rows, strict=True) if row is None):
        return jax.vmap(partial(plain, **static), places)(*operands), [0] * len(results)
    n = next(x.shape[place] for x, place in zip(operands, places, strict=True) if place is not None)
    joined = [
        x if row is None else _join(x, place, row, n) for x, place, row in zip(operands, places, rows, strict=True)
    ]
    ys = primitive.bind(*joined, **static)
    return [_split(y, row, n) for y, row in zip(ys, results, strict=True)], results


def _split(y: Array, row: int, n: int) -> Array:
    """The rows of a vmapped axis of length n apart again."""
    return y.reshape(*y.shape[:row], n, y.shape[row] // max(n, 1), *y.shape[row + 1 :])


def _join(x: Array, place: int | None, row: int, n: int) -> Array:
    """An operand whose vmapped axis, of length n, goes into its rows."""
    if place is None:
        x = jnp.broadcast_to(jnp.expand_dims(x, row), (*x.shape[:row], n, *x.shape[row:]))
    else:
        x = jnp.moveaxis(x, place, row)
    return x.reshape(*x.shape[:row], n * x.shape[row + 1], *x.shape[row + 2 :])
