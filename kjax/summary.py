"""A network as a table: layers, output shapes, numbers of parameters, and what feeds what."""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax

from kjax.flow import Flow
from kjax.nn.container import Container
from kjax.nn.graph import Graph
from kjax.nn.layer import Layer
from kjax.nn.mask import plain


class Seen(NamedTuple):
    """A layer in a network: its name, itself, its params and state, what it is first called on and gives."""

    name: str
    layer: Layer
    params: Any
    state: Any
    x: Any
    y: Any
    feeds: list[str]
    """What it is called on, for every call, where that is not just the layer before."""


def seen(net: Layer, params: Any, state: Any, x: Any) -> list[Seen]:
    """The layers of a container in order, with the shapes that go in and come out; nothing is computed."""
    if not isinstance(net, Container):
        return []
    calls = Flow(net, params, state, x).calls
    found = []
    for i, name in enumerate(net.names):
        own = [call for call in calls if call.layer == i]
        feeds = [f for call in own for f in net.feeds(call.number)] if isinstance(net, Graph) else []
        x, y = (own[0].x, own[0].y) if own else (None, None)
        found.append(Seen(name, net.layers[i], params.get(name, {}), state.get(name, {}), x, y, feeds))
    return found


def sizes(tree: Any) -> int:
    """How many numbers the arrays of a tree hold."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def without_penalty(state: Any) -> Any:
    """The state's arrays that are weights."""
    if not isinstance(state, dict):
        return state
    return {name: without_penalty(value) for name, value in state.items() if name != "penalty"}


def rows(net: Layer, params: Any, state: Any, x: Any, indent: str = "", frozen: bool = False) -> Iterator[list[str]]:
    """One row per layer of a container, blocks opened and indented."""
    frozen = frozen or not net.trainable
    if isinstance(net, Graph) and not indent:
        for own in net.inputs:
            yield [f"{own.name} (Input)", str((None, *own.shape)), "0", ""]
    for own in seen(net, params, state, x):
        still = frozen or not own.layer.trainable
        kind = f"{type(own.layer).__name__}{', frozen' if still and own.params else ''}"
        count = sizes(own.params) + sizes(without_penalty(own.state))
        shown = "unused" if own.x is None else shape(own.y)
        yield [f"{indent}{own.name} ({kind})", shown, f"{count:,}", ", ".join(own.feeds)]
        if own.x is not None:
            yield from rows(own.layer, own.params, own.state, own.x, indent + "  ", still)


def shape(y: Any) -> str:
    """`(None, 26, 26, 32)`; several outputs as a list."""
    said = [str((None, *leaf.shape[1:])) for leaf in jax.tree.leaves(plain(y))]
    return said[0] if len(said) == 1 else f"[{', '.join(said)}]"


def table(name: str, net: Layer, params: Any, state: Any, x: Any) -> str:
    """The whole summary, as Keras prints it; a column says what feeds a layer where they are not in a row."""
    lines = [["Layer (type)", "Output Shape", "Param #", "Connected to"], *rows(net, params, state, x)]
    if not any(line[3] for line in lines[1:]):
        lines = [line[:3] for line in lines]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rule = "─" * (sum(widths) + 2 * len(widths) - 2)
    align = "<<><"
    body = ["  ".join(f"{cell:{align[i]}{widths[i]}}" for i, cell in enumerate(line)).rstrip() for line in lines]
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
