"""A network as boxes and edges: rows of layers in boxes, boxes in frames; what is drawn, before it is."""

import collections
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax

from kjax import activations
from kjax.flow import Flow, Step
from kjax.layout import Edge, Point, layout
from kjax.nn.compose import Serial
from kjax.nn.container import Container, numbered
from kjax.nn.graph import Graph
from kjax.nn.layer import Layer
from kjax.nn.mask import plain
from kjax.nn.operation import Operation
from kjax.summary import shape

ROW, PAD, SPACE, COLUMN = 15.0, 7.0, 4.0, 14.0
"""Points: the height of a row, what is left free beside its text, between its words, and between its columns."""
FRAME, TITLE = 12.0, 14.0
"""Points: what is left free inside a frame, and for its title."""

KINDS = {
    "convolution": r"Conv",
    "pooling": r"Pool|UpSampling",
    "normalization": r"Norm",
    "recurrent": r"LSTM|GRU|RNN|Bidirectional",
    "attention": r"Attention",
    "dense": r"Dense|Embedding",
    "activation": r"Activation|ReLU|ELU|Softmax",
    "merge": r"Operation|Add|Subtract|Multiply|Average|Maximum|Minimum|Concatenate|Dot$",
}
"""How the class's name tells a layer's kind; the first that fits."""


class Options(NamedTuple):
    """What is shown of each layer."""

    shapes: bool = False
    dtype: bool = False
    names: bool = True
    nested: bool = False
    activations: bool = False
    trainable: bool = False
    across: bool = False
    """Whether data flows from left to right, not from top to bottom."""


class Row(NamedTuple):
    """A line of a box: what the layer is called, what it is, what it gives, and its kind."""

    name: str
    note: str
    detail: str
    kind: str


class Box(NamedTuple):
    """Layers in a row, or a frame round a diagram, or (neither) a point of a frame's border."""

    rows: tuple[Row, ...] = ()
    title: str = ""
    inner: Any = None


class Line(NamedTuple):
    """From a box's output to another's input; the numbers tell a frame's several apart."""

    source: int
    output: int
    target: int
    input: int


class Diagram(NamedTuple):
    """Boxes, each after those that feed it, and the lines between; in a frame, the points where data enters, leaves."""

    boxes: list[Box]
    lines: list[Line]
    first: list[int]
    last: list[int]


def diagram(net: Layer, params: Any, state: Any, x: Any, options: Options) -> Diagram:
    """The boxes and lines of a network for inputs like `x`."""
    if not isinstance(net, Container):
        name = net.label
        net, params, state = Serial((net,)), {name: params}, {name: state}
    return Builder(net, params, state, x, options, not net.trainable, True).diagram()


class Builder:
    """Makes the diagram of one container; `top` is the outermost, whose inputs are rows of their own."""

    def __init__(self, net: Container, params: Any, state: Any, x: Any, options: Options, frozen: bool, top: bool):
        self.net, self.params, self.state, self.x = net, params, state, x
        self.options, self.frozen, self.top = options, frozen, top
        self.flow = Flow(net, params, state, x)
        self.steps = self.flow.steps
        self.calls = collections.Counter(step.layer for step in self.flow.calls)
        self.outputs = {value[0] for value in self.flow.outputs if value}
        self.sources = [list(dict.fromkeys(v[0] for v in step.sources if v)) for step in self.steps]
        self.uses = [[j for j, own in enumerate(self.sources) if i in own] for i in range(len(self.steps))]

    def diagram(self) -> Diagram:
        chains = self.chains()
        boxes = [self.box(chain) for chain in chains]
        at = {step: i for i, chain in enumerate(chains) for step in chain}
        lines = dict.fromkeys(
            Line(at[v[0]], v[1], at[i], k)
            for i, step in enumerate(self.steps)
            for k, v in enumerate(step.sources)
            if v and at[v[0]] != at[i]
        )
        first = [at[i] for i, step in enumerate(self.steps) if is_input(step) and not self.top]
        last = []
        for k, value in enumerate(self.flow.outputs if not self.top else ()):
            last.append(len(boxes))
            boxes.append(Box())
            if value:
                lines[Line(at[value[0]], value[1], last[k], 0)] = None
        return Diagram(boxes, list(lines), first, last)

    def chains(self) -> list[list[int]]:
        """The steps, those that follow one upon the other without a fork together, each after all that feed it."""
        found: list[list[int]] = []
        chain_of: dict[int, list[int]] = {}
        for i in range(len(self.steps)):
            before = self.sources[i]
            if len(before) == 1 and len(self.uses[before[0]]) == 1 and self.in_row(before[0]) and self.in_row(i):
                chain_of[i] = chain_of[before[0]]
            else:
                chain_of[i] = []
                found.append(chain_of[i])
            chain_of[i].append(i)
        return found

    def in_row(self, i: int) -> bool:
        """Whether a step is a row of a box: neither a frame nor a point of one."""
        return not self.is_frame(self.steps[i]) and (self.top or not is_input(self.steps[i]))

    def is_frame(self, step: Step) -> bool:
        layer = None if step.layer is None else self.net.layers[step.layer]
        return self.options.nested and isinstance(layer, Container) and bool(layer.layers)

    def box(self, chain: list[int]) -> Box:
        step = self.steps[chain[0]]
        if self.is_frame(step):
            return self.frame(step)
        return Box(tuple(self.row(i) for i in chain) if self.in_row(chain[0]) else ())

    def frame(self, step: Step) -> Box:
        layer = self.net.layers[step.layer or 0]
        params, state = self.params.get(step.name, {}), self.state.get(step.name, {})
        frozen = self.frozen or not layer.trainable
        inner = Builder(layer, params, state, step.x, self.options, frozen, False).diagram()  # type: ignore[arg-type]
        name, note, _, _ = self.layer_row(step)
        return Box((), f"{name} {note}".strip(), inner)

    def row(self, i: int) -> Row:
        """What is said of a step."""
        step = self.steps[i]
        if step.layer is not None:
            row = self.layer_row(step)
        elif is_input(step):
            name = input_names(self.net, self.x, sum(map(is_input, self.steps)))[i]
            row = Row(*((name, "(Input)") if self.options.names else ("Input", "")), "", "input")
        else:
            row = Row(step.name, "", "", "merge")
        said = [shape(step.y)] if self.options.shapes else []
        if self.options.dtype:
            said.append(", ".join(dict.fromkeys(str(leaf.dtype) for leaf in jax.tree.leaves(plain(step.y)))))
        if i in self.outputs and self.uses[i]:
            said.append("output")
        return row._replace(detail="  ".join(said))

    def layer_row(self, step: Step) -> Row:
        layer = self.net.layers[step.layer or 0]
        notes = [layer.operation if isinstance(layer, Operation) else type(layer).__name__]
        name = step.name if self.options.names else notes.pop()
        activation = getattr(layer, "activation", None)
        if self.options.activations and activation not in (None, activations.linear):
            notes.append(getattr(activation, "__name__", type(activation).__name__))
        if self.calls[step.layer] > 1:
            notes.append("shared")
        if self.options.trainable and step.name in self.params and (self.frozen or not layer.trainable):
            notes.append("frozen")
        return Row(name, f"({', '.join(notes)})" if notes else "", "", kind(layer))


def is_input(step: Step) -> bool:
    return step.layer is None and not step.name


def input_names(net: Layer, x: Any, n: int) -> Sequence[str]:
    """What the inputs are called."""
    if isinstance(x, dict) and len(x) == n:
        return sorted(x)
    return net.input_names if isinstance(net, Graph) else numbered(["input"] * n, set())


def kind(layer: Layer) -> str:
    """What sort of layer it is, by its name; "block" for a container, "other" for the rest."""
    if isinstance(layer, Container) and layer.layers:
        return "block"
    return next((kind for kind, words in KINDS.items() if re.search(words, type(layer).__name__)), "other")


class Arranged:
    """A diagram with its place for each box, in points, from its top left corner.

    Args:
        diagram: what to arrange.
        measure: gives the width of a text.
        across: as in `Options`.
    """

    def __init__(self, diagram: Diagram, measure: Callable[[str], float], across: bool):
        self.diagram, self.measure, self.across = diagram, measure, across
        self.inner = {i: Arranged(box.inner, measure, across) for i, box in enumerate(diagram.boxes) if box.inner}
        self.sizes = [self._size(i, box) for i, box in enumerate(diagram.boxes)]
        self.edges = list(dict.fromkeys(
            Edge(a, b, self._port(a, output, -1), self._port(b, into)) for a, output, b, into in diagram.lines
        ))  # fmt: skip
        found = layout([self.turn(size) for size in self.sizes], self.edges, diagram.first, diagram.last)
        self.centres = [self.turn(point) for point in found.centres]
        self.routes = [[self.turn(point) for point in route] for route in found.routes]
        self.size = self.turn(found.size)

    def turn(self, point: Point) -> Point:
        """From the layout's directions to the picture's, or back."""
        return (point[1], point[0]) if self.across else point

    def origin(self, i: int) -> Point:
        """Where, in its frame, an inner diagram begins."""
        (width, height), (inner_width, inner_height) = self.sizes[i], self.inner[i].size
        if self.across:
            return (width - inner_width) / 2, TITLE + FRAME
        return TITLE + FRAME, (height - inner_height) / 2

    def _size(self, i: int, box: Box) -> Point:
        if box.inner:
            long = self.measure(box.title) + 2 * FRAME
            width, height = self.inner[i].size
            if self.across:
                return max(width + 2 * FRAME, long), height + 2 * FRAME + TITLE
            return width + 2 * FRAME + TITLE, max(height + 2 * FRAME, long)
        if not box.rows:
            return 0.0, 0.0
        left = max(self.measure(row.name) + SPACE + self.measure(row.note) for row in box.rows)
        right = max(self.measure(row.detail) for row in box.rows)
        return left + (COLUMN + right if right else 0.0) + 2 * PAD, ROW * len(box.rows)

    def _port(self, i: int, number: int, end: int = 0) -> float | None:
        """Where an output (`end` -1) or input must be on a box's border, from its middle; None for anywhere."""
        if i in self.inner:
            inner, side = self.inner[i], 1 if self.across else 0
            point = inner.centres[(inner.diagram.last if end else inner.diagram.first)[number]]
            return point[side] + self.origin(i)[side] - self.sizes[i][side] / 2
        if not self.across:
            return None
        half = max(len(self.diagram.boxes[i].rows) - 1, 0) * ROW / 2  # into the first row, out of the last
        return half if end else -half
