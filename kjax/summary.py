"""A network as a table: layers, output shapes, numbers of parameters."""

import math
from collections.abc import Iterable
from typing import Any

import jax

from kjax.nn.layer import Layer
from kjax.nn.mask import unmask

Row = tuple[str, str, str]


def sizes(tree: Any) -> int:
    """How many numbers the arrays of a tree hold."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def without_penalty(state: Any) -> Any:
    """The state's arrays that are weights."""
    if not isinstance(state, dict):
        return state
    return {name: without_penalty(value) for name, value in state.items() if name != "penalty"}


def rows(net: Layer, params: Any, state: Any, x: Any, indent: str = "") -> Iterable[Row]:
    """One row per layer of a container, blocks opened and indented."""
    for name, layer in zip(net.names, net.layers, strict=True):  # type: ignore[attr-defined]
        own = params.get(name, {}), state.get(name, {})
        y = layer.output(*own, x)
        count = sizes(own[0]) + sizes(without_penalty(own[1]))
        yield f"{indent}{name} ({type(layer).__name__})", shape(y), f"{count:,}"
        if hasattr(layer, "names"):
            yield from rows(layer, *own, x, indent + "  ")
        x = y


def shape(y: Any) -> str:
    """`(None, 26, 26, 32)`; several outputs as a list."""
    leaves = jax.tree.leaves(unmask(y)[0])
    said = [str((None, *leaf.shape[1:])) for leaf in leaves]
    return said[0] if len(said) == 1 else f"[{', '.join(said)}]"


def table(name: str, net: Layer, params: Any, state: Any, x: Any) -> str:
    """The whole summary, as Keras prints it."""
    lines = [("Layer (type)", "Output Shape", "Param #"), *rows(net, params, state, x)]
    widths = [max(len(line[i]) for line in lines) for i in range(3)]
    rule = "─" * (sum(widths) + 4)
    body = [f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:>{widths[2]}}" for a, b, c in lines]
    trainable, frozen = net.partition(params)
    still = sizes(frozen) + sizes(without_penalty(state))
    foot = [
        f"Total params: {sizes(trainable) + still:,} ({weight(params, state)})",
        f"Trainable params: {sizes(trainable):,}",
        f"Non-trainable params: {still:,}",
    ]
    return "\n".join([f'Model: "{name}"', rule, body[0], rule, *body[1:], rule, *foot])


def weight(*trees: Any) -> str:
    """The memory that arrays take, readable: `4.58 MB`."""
    size = float(sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(trees)))
    for unit in ("bytes", "KB", "MB"):
        if size < 1000:
            return f"{size:.4g} {unit}"
        size /= 1000
    return f"{size:.4g} GB"
