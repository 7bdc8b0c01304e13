"""Numbers and arrays as people ask for them: alone, in a list, by name."""

from collections.abc import Sequence
from typing import Any

import jax


def listed(logs: dict[str, float]) -> Any:
    """The loss alone, or a list where there are metrics, as Keras returns them."""
    values = list(logs.values())
    return values[0] if len(values) == 1 else values


def named_leaves(names: Sequence[str], trees: Sequence[Any]) -> dict[str, Any]:
    """All arrays under the names of what they are part of."""
    found = {}
    for name, tree in zip(names, trees, strict=False):
        leaves = jax.tree.leaves(tree)
        found.update({name: tree} if hasattr(tree, "shape") else {f"{name}[{i}]": a for i, a in enumerate(leaves)})
    return found
