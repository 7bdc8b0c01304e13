"""From one array to trees of them: what every optimizer shares, whatever its rule."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from kjax.optim.paths import Group

Tree = Any


def lift(settings: Callable, groups: list[Group], grads: Tree, slots: dict[str, Tree], params: Tree) -> Any:
    """The rule for every array of `params`: the new params, and the new slots by name.

    Args:
        settings: called with a dtype and a group, once for each pair there is: the optimizer whose rule it is, the
            part of the weights that stays (None: all), lr and t, in that dtype.
        groups: one for each array.
        grads: a tree like `params`.
        slots: by name, trees like `params`.
        params: a tree of arrays; each keeps its dtype, whatever it is computed in.
    """
    leaves, treedef = flatten(params)
    kinds = [(compute_dtype(p), group) for p, group in zip(leaves, groups, strict=True)]
    own = {kind: settings(*kind) for kind in dict.fromkeys(kinds)}
    columns = [treedef.flatten_up_to(tree) for tree in (grads, *slots.values())]
    rows = []
    for p, kind, g, *kept in zip(leaves, kinds, *columns, strict=True):
        optimizer, stays, lr, t = own[kind]
        g, p_in, *before = cast((g, p, *kept), kind[0])
        p_in = p_in if stays is None else p_in * stays
        new_p, new = optimizer.rule(g, p_in, dict(zip(slots, before, strict=True)), lr, t)
        made = zip([p, *kept], [new_p, *(new[name] for name in slots)], strict=True)
        rows.append([jnp.asarray(a, jnp.result_type(old)) for old, a in made])
    trees = [treedef.unflatten([row[i] for row in rows]) for i in range(1 + len(slots))]
    return trees[0], dict(zip(slots, trees[1:], strict=True))


def clip(grads: Tree, clipnorm: Any, clipvalue: Any, global_clipnorm: Any) -> Tree:
    """Gradients within limits for the norm of each, of all together, and for each element; None: no limit."""
    grads = jax.tree.map(lambda g: jnp.asarray(g, compute_dtype(g)), grads)
    if clipnorm is not None:
        grads = jax.tree.map(lambda g: g * shortening([g], clipnorm).astype(g.dtype), grads)
    if global_clipnorm is not None:
        factor = shortening(jax.tree.leaves(grads), global_clipnorm)
        grads = jax.tree.map(lambda g: g * factor.astype(g.dtype), grads)
    if clipvalue is not None:
        grads = jax.tree.map(lambda g: jnp.clip(g, -clipvalue.astype(g.dtype), clipvalue.astype(g.dtype)), grads)
    return grads


def shortening(arrays: list[Any], longest: Any) -> Any:
    """What to multiply these arrays by for a norm of at most `longest`; never a division by 0."""
    squares = sum((jnp.sum(jnp.square(a)).astype(longest.dtype) for a in arrays), jnp.zeros_like(longest))
    too_long = squares > jnp.square(longest)
    return jnp.where(too_long, longest / jnp.sqrt(jnp.where(too_long, squares, 1)), 1)


def flatten(tree: Tree) -> tuple[list[Any], Any]:
    """`jax.tree.flatten`, in types that a checker can follow."""
    return jax.tree.flatten(tree)


def compute_dtype(p: Any) -> Any:
    """What arithmetic on `p` is done in: at least float32."""
    return jnp.float64 if jnp.result_type(p) == jnp.float64 else jnp.float32


def widest(params: Tree) -> Any:
    """What a step's own numbers are computed in: float64 where any parameter is, else float32."""
    return jnp.float64 if jnp.float64 in map(compute_dtype, jax.tree.leaves(params)) else jnp.float32


def cast(tree: Tree, dtype: Any) -> Tree:
    """The same tree in another dtype."""
    return jax.tree.map(lambda a: jnp.asarray(a, dtype), tree)


def require_floating(params: Tree, owner: str) -> None:
    """Refuses what gradients cannot move."""
    for path, p in jax.tree_util.tree_leaves_with_path(params):
        if not jnp.issubdtype(jnp.result_type(p), jnp.floating):
            raise TypeError(
                f"{owner} moves floating-point arrays; params{jax.tree_util.keystr(path)} is {shown(p)}: "
                f"keep what is not trained out of params"
            )


def require_alike(owner: str, params: Tree, others: dict[str, Tree]) -> None:
    """Refuses trees that do not match `params`, and shows both."""
    leaves, structure = flatten(params)
    for name, other in others.items():
        if flatten(other)[1] != structure:
            raise ValueError(
                f"{owner}: {name} and params are different trees:\n"
                f"  params: {jax.tree.map(shown, params)}\n  {name}: {jax.tree.map(shown, other)}"
            )
        if any(jnp.shape(a) != jnp.shape(b) for a, b in zip(leaves, jax.tree.leaves(other), strict=True)):
            raise ValueError(f"{owner}: {name} and params have different shapes:{differing(params, name, other)}")


def differing(params: Tree, name: str, other: Tree) -> str:
    """One line for each array whose shape differs."""
    pairs = zip(jax.tree_util.tree_leaves_with_path(params), jax.tree.leaves(other), strict=True)
    return "".join(
        f"\n  at {jax.tree_util.keystr(path) or 'the root'}: params {shown(p)}, {name} {shown(q)}"
        for (path, p), q in pairs
        if jnp.shape(p) != jnp.shape(q)
    )


class Shown(str):
    """A text that is shown without quotes."""

    __repr__ = str.__str__


def shown(a: Any) -> Shown:
    """An array's dtype and shape.

    >>> shown(jnp.zeros((2, 3)))
    float32[2, 3]
    """
    return Shown(f"{jnp.result_type(a)}{list(jnp.shape(a))}")
