"""A primitive of JAX that is carried out by plain JAX anywhere, and by a kernel in C where there is one."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
from jax.interpreters import ad, batching, mlir

from kjax import native

from .primitive import Primitive, run_eagerly


def make_either(name: str, plain: Callable, fast: Callable | None = None, takes: Callable | None = None) -> Primitive:
    """A primitive of several results; vmap takes the plain rule, derivatives are the caller's.

    `fast` is the rule for CPU where `native.usable`, for operands of which `takes(*shapes, **static)` is true.
    """
    primitive = Primitive(name)
    primitive.multiple_results = True
    run_eagerly(primitive, "axes", "epsilon", "shape", "dtype", "window", "causal", "precision")

    @primitive.def_abstract_eval
    def shapes(*operands: Any, **static: Any) -> Any:
        return jax.make_jaxpr(partial(plain, **static))(*operands).out_avals

    def batch(operands: Any, places: Any, **static: Any) -> Any:
        results = jax.vmap(partial(plain, **static), places)(*operands)
        return results, (0,) * len(results)

    def lower(context: Any, *operands: Any, **static: Any) -> Any:
        wanted = fast is not None and takes is not None and takes(*context.avals_in, **static)
        rule = fast if fast and wanted and native.usable(context) else plain
        return mlir.lower_fun(rule, multiple_results=True)(context, *operands, **static)

    batching.primitive_batchers[primitive] = batch
    mlir.register_lowering(primitive, mlir.lower_fun(plain, multiple_results=True))
    mlir.register_lowering(primitive, lower, platform="cpu")
    return primitive


Map = tuple[Primitive, Callable, int]
"""A primitive, its plain rule, and in how many operands, the first ones, it is linear."""


def make_transposes(one: Map, other: Map) -> None:
    """Gives two primitives of `make_either` their derivatives: as linear maps, each is the other's transpose."""
    for (primitive, plain, linear), (back, _, _) in ((one, other), (other, one)):
        ad.primitive_jvps[primitive] = partial(_jvp, primitive, plain, linear)
        ad.primitive_transposes[primitive] = partial(_transpose, back, linear)


def _jvp(primitive: Primitive, plain: Callable, linear: int, primals: Any, tangents: Any, **static: Any) -> Any:
    """Along the linear operands the primitive itself; along the others whatever the plain rule's tangent is."""
    filled = tuple(map(ad.instantiate_zeros, tangents))
    if all(type(tangent) is ad.Zero for tangent in tangents[linear:]):
        along = primitive.bind(*filled[:linear], *primals[linear:], **static)
        return primitive.bind(*primals, **static), along
    return jax.jvp(partial(plain, **static), primals, filled)


def _transpose(back: Primitive, linear: int, cotangents: Any, *operands: Any, **static: Any) -> list[Any]:
    fixed = operands[linear:]
    return [*back.bind(*map(ad.instantiate_zeros, cotangents), *fixed, **static), *[None] * len(fixed)]
