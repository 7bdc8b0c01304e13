"""Parameters picked by globs on their paths: `"*bias"` is every bias, `"head*"` all that a layer `head` has.

A path is the names on the way to an array, joined by slashes: `dense_1/kernel`. `*` also goes over slashes.
"""

import fnmatch
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from kjax.frozen import show, suggest
from kjax.optim.tunable import Tunable


class PerPath(Tunable):
    """A setting that differs between parameters: a value for each pattern, of which the first that matches counts.

    >>> PerPath(("head*", "*"), (1e-3, 1e-5))
    {'head*': 0.001, '*': 1e-05}
    """

    patterns: tuple[str, ...]
    values: tuple[Any, ...]

    def __repr__(self) -> str:
        return f"{{{', '.join(f'{p!r}: {show(v)}' for p, v in zip(self.patterns, self.values, strict=True))}}}"

    def map(self, function: Callable[[Any], Any]) -> dict[str, Any]:
        """`function` of every value, by pattern."""
        return {pattern: function(value) for pattern, value in zip(self.patterns, self.values, strict=True)}


class Group(NamedTuple):
    """What a parameter shares with others: which of the optimizer's variants moves it, at which rate."""

    variant: int = 0
    rate: int = 0
    decays: bool = True
    """Whether weight decay is for it."""


def groups_of(optimizer: Any, params: Any) -> list[Group]:
    """For each parameter, what it shares with others.

    Raises:
        ValueError: a pattern that matches nothing, or a parameter that no rate is for.
    """
    leaves, rates, owner = jax.tree.leaves(params), optimizer.lr, type(optimizer).__name__
    if not (isinstance(rates, PerPath) or optimizer.exclude_from_weight_decay or len(optimizer.variants()) > 1):
        return [Group()] * len(leaves)
    paths = path_names(params)
    variants = optimizer.choose(paths, [jnp.shape(p) for p in leaves])
    own = rates_of(rates, paths, owner) if isinstance(rates, PerPath) else [0] * len(paths)
    spared = first_matches(optimizer.exclude_from_weight_decay, paths, f"{owner}: exclude_from_weight_decay")
    return [Group(v, rate, found is None) for v, rate, found in zip(variants, own, spared, strict=True)]


def rates_of(rates: PerPath, paths: Sequence[str], owner: str) -> list[int]:
    """For each path the number of its rate."""
    found = first_matches(rates.patterns, paths, f"{owner}: lr")
    missing = [path for path, i in zip(paths, found, strict=True) if i is None]
    if missing:
        patterns = ", ".join(map(repr, rates.patterns))
        raise ValueError(
            f"{owner}: lr has no pattern for {', '.join(missing)}, only {patterns}: add '*' as its last one"
        )
    return [i for i in found if i is not None]


def path_names(params: Any) -> list[str]:
    """The path of every array, in the order of the leaves.

    >>> path_names({"dense": {"kernel": 1.0, "bias": 2.0}})
    ['dense/bias', 'dense/kernel']
    """
    paths = jax.tree_util.tree_leaves_with_path(params)
    return [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in paths]


def first_matches(patterns: Sequence[str], paths: Sequence[str], what: str) -> list[int | None]:
    """For each path the number of the first pattern that matches it, or None.

    Raises:
        ValueError: a pattern that no path is left for, but for a last "*", the rest of them, which may be none (as
            when all but the head is frozen); says which paths there are.

    >>> first_matches(["*bias"], ["dense/bias", "dense/kernel"], "lr")
    [0, None]
    """
    found = [next((i for i, glob in enumerate(patterns) if fnmatch.fnmatchcase(path, glob)), None) for path in paths]
    for i, glob in enumerate(patterns):
        if i not in found and not (glob == "*" and 0 < i == len(patterns) - 1):
            raise ValueError(f"{what}: the pattern {glob!r} {unused(glob, patterns[:i], paths)}")
    return found


def unused(glob: str, earlier: Sequence[str], paths: Sequence[str]) -> str:
    """Why a pattern has no effect, and what to write."""
    taken = fnmatch.filter(paths, glob)
    if taken:
        by = next(other for other in earlier if fnmatch.fnmatchcase(taken[0], other))
        return f"stands behind {by!r}, which takes all that it matches: put it first"
    hint = suggest(glob.strip("*"), [*paths, *(part for path in paths for part in path.split("/"))]) if paths else ""
    hint = "" if hint.startswith(" Known") else hint
    return f"matches no parameter that is trained.{hint} There are: {', '.join(paths) or 'none'}."
