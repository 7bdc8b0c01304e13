"""Networks of any shape: layers called on nodes, and the pure layer that such calls make."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from kjax.frozen import explained, suggest
from kjax.nn.compose import split_child
from kjax.nn.container import Container, Visit, numbered, unique_names
from kjax.nn.errors import LayerError
from kjax.nn.layer import Layer, shape_of
from kjax.nn.node import OPEN, Call, Node


class InputSpec(NamedTuple):
    """An input of a graph: its name, the shape of one example, its dtype."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str


class Ref(NamedTuple):
    """A value in a graph: an input, or what a call gave (`part` where that is a tuple or dict); inputs count first."""

    value: int
    part: int | str | None = None


class Graph(Container):
    """Layers joined in any way without cycles: several inputs and outputs, shared layers, skip connections.

    Args:
        inputs: a node that `Input` made, or a list or dict of them. Any other node may stand there too: the graph
            then begins in the middle.
        outputs: a node, or a list or dict of them.

    A graph is a pure layer like any other: hashable, equal when built equally, callable on nodes as a layer of a
    larger graph. One layer *object* called twice has one set of weights; two equal layers have two.
    `apply` takes a list of arrays where `inputs` is a list, or a dict by the inputs' names, and gives what
    `outputs` is: an array, a tuple or a dict. The order of the layers, and so of the weights, is Keras's: those
    furthest from the outputs first.

    Raises:
        TypeError: something is not a node.
        ValueError: the outputs need an input that is not among `inputs`; two inputs or layers have one name.

    >>> from kjax import nn
    >>> a = nn.Input(shape=(3,))
    >>> h = nn.Dense(8, activation="relu")(a)
    >>> net = Graph(a, nn.Dense(3)(h) + a)
    >>> params, state = net.init(jax.random.key(0), jnp.ones((1, 3)))
    >>> net.apply(params, state, jnp.ones((5, 3)))[0].shape
    (5, 3)
    """

    inputs: Any
    outputs: Any
    layers: tuple[Layer, ...] = ()
    calls: tuple[Any, ...] = ()
    output_names: tuple[str, ...] = ()
    takes: str = "one"
    gives: str = "one"

    def __post_init__(self) -> None:
        if not self.output_names:
            for name, value in Plan(self.inputs, self.outputs).fields().items():
                object.__setattr__(self, name, value)
        super().__post_init__()

    @property
    def shared(self) -> tuple[int, ...]:
        """The layer of each call."""
        return tuple(i for i, _ in self.calls)

    @property
    def input_names(self) -> tuple[str, ...]:
        """The inputs' names, in order."""
        return tuple(spec.name for spec in self.inputs)

    def specs(self) -> Any:
        """What `init` takes: the shapes of the inputs for a batch of one.

        Raises:
            ValueError: an input with an axis of any size.
        """
        for spec in self.inputs:
            if None in spec.shape:
                raise ValueError(f"input {spec.name!r} has shape {spec.shape}: fit, or build with real sizes, first")
        found = tuple(jax.ShapeDtypeStruct((1, *spec.shape), jnp.dtype(spec.dtype)) for spec in self.inputs)
        return found[0] if self.takes == "one" else found

    def in_order(self, x: Any) -> tuple[Any, ...]:
        """The inputs given as one value, a list or a dict, in order.

        Raises:
            LayerError: too few or too many of them, or another name.
        """
        if isinstance(x, dict):
            wrong = [n for n in x if n not in self.input_names]
            missing = [n for n in self.input_names if n not in x]
            if wrong or missing:
                said = f"got {', '.join(map(repr, x))}"
                raise LayerError(
                    f"{self._what()} takes the inputs {', '.join(map(repr, self.input_names))}; {said}."
                    f"{suggest(str(wrong[0]), self.input_names) if wrong else ''}"
                )
            return tuple(x[name] for name in self.input_names)
        values = tuple(x) if isinstance(x, list | tuple) else (x,)
        if len(values) != len(self.inputs):
            raise LayerError(
                f"{self._what()} takes {len(self.inputs)} inputs, {', '.join(map(repr, self.input_names))}, "
                f"as a list or a dict; got {len(values)}"
            )
        return values

    def _what(self) -> str:
        return f"graph {self.name!r}" if self.name else "the graph"

    def run(self, x: Any, visit: Visit, training: bool = False) -> Any:
        values = list(self.in_order(x))

        def fetch(ref: Ref) -> Any:
            value: Any = values[ref.value]
            return value if ref.part is None else value[ref.part]

        for number, (i, refs) in enumerate(self.calls):
            values.append(visit(i, number, fetch(refs) if isinstance(refs, Ref) else tuple(map(fetch, refs))))
        found = [fetch(ref) for ref in self.outputs]
        if self.gives == "one":
            return found[0]
        return dict(zip(self.output_names, found, strict=True)) if self.gives == "dict" else tuple(found)

    def feeds(self, number: int) -> list[str]:
        """The names of what a call takes."""
        refs = self.calls[number][1]
        return [self.source(ref) for ref in ([refs] if isinstance(refs, Ref) else refs)]

    def source(self, ref: Ref) -> str:
        """The name of the input or layer that gives a value, with the part of it where it gives several."""
        n = len(self.inputs)
        name = self.input_names[ref.value] if ref.value < n else self.names[self.calls[ref.value - n][0]]
        return name if ref.part is None else f"{name}[{ref.part}]"

    def position(self, i: int) -> str:
        return f"layer {i + 1} of {len(self.layers)} in {self._what()}"

    def __repr__(self) -> str:
        name = f", name={self.name!r}" if self.name else ""
        said = [f"{len(group)} {word}{'s' if len(group) > 1 else ''}" for group, word in (
            (self.inputs, "input"), (self.outputs, "output"), (self.layers, "layer"))]  # fmt: skip
        return f"Graph(<{', '.join(said)}>{name})"


class Plan:
    """What nodes say about a graph: its layers, the order of their calls, and who feeds whom."""

    def __init__(self, inputs: Any, outputs: Any):
        self.takes, self.inputs = form(inputs, "inputs")
        self.gives, self.outputs = form(outputs, "outputs")
        self.starts = {id(node): i for i, node in enumerate(self.inputs.values())}
        self.calls: list[Call] = []
        self._preorder: dict[int, Layer] = {}
        self._walk()
        self.layers = self._ordered()

    def fields(self) -> dict[str, Any]:
        """The fields of the graph."""
        index = {id(layer): i for i, layer in enumerate(self.layers)}
        self._numbers = {id(call): len(self.inputs) + i for i, call in enumerate(self.calls)}
        calls = tuple((index[id(call.layer)], self._refs(call)) for call in self.calls)
        return {
            "inputs": self._specs(),
            "outputs": tuple(self._ref(node) for node in self.outputs.values()),
            "layers": tuple(self.layers),
            "calls": calls,
            "output_names": self._output_names(calls),
            "takes": self.takes,
            "gives": self.gives,
        }

    def _specs(self) -> tuple[InputSpec, ...]:
        given = [node.call.name for node in self.inputs.values() if node.call.name]
        names = [node.call.name or "input" for node in self.inputs.values()]
        if self.takes == "dict":
            names = given = list(self.inputs)
        repeated = [name for name in given if given.count(name) > 1]
        if repeated or len(self.starts) < len(self.inputs):
            raise ValueError(f"inputs must differ, and so must their names; got {', '.join(map(repr, names))}")
        unique = numbered(names, set(given))
        return tuple(
            InputSpec(name, node.shape[1:], str(node.dtype))
            for name, node in zip(unique, self.inputs.values(), strict=True)
        )

    def _output_names(self, calls: tuple[Any, ...]) -> tuple[str, ...]:
        """The keys of a dict, or the names of the layers that give the outputs, as Keras has it."""
        if self.gives == "dict":
            return tuple(self.outputs)
        names = unique_names(tuple(self.layers))
        refs = [self._ref(node).value - len(self.inputs) for node in self.outputs.values()]
        specs = self._specs()
        return numbered([names[calls[r][0]] if r >= 0 else specs[r + len(specs)].name for r in refs], set())

    def _walk(self) -> None:
        """Finds all calls, those that feed a call before it; without recursion, for nets of any depth."""
        seen: set[int] = set()
        for output in self.outputs.values():
            stack: list[tuple[Node, bool]] = [(output, False)]
            while stack:
                node, done = stack.pop()
                if done:
                    self.calls.append(node.call)
                elif id(node) not in self.starts and id(node.call) not in seen:
                    self._require_fed(node)
                    seen.add(id(node.call))
                    self._preorder.setdefault(id(node.call.layer), node.call.layer)
                    stack.append((node, True))
                    stack.extend((source, False) for source in reversed(node.call.sources))

    def _require_fed(self, node: Node) -> None:
        if node.call.layer is None:
            named = [n.call.name or "without a name" for n in self.inputs.values()]
            raise ValueError(
                f"the outputs need {node!r}, which is not among the inputs ({', '.join(map(repr, named))}): "
                "add it to inputs="
            )

    def _ordered(self) -> list[Layer]:
        """The layers as Keras orders them: those furthest from the outputs first, then as found from the outputs."""
        depth: dict[int, int] = {}
        deepest: dict[int, int] = {}
        for call in reversed(self.calls):
            own = depth.setdefault(id(call), 0)
            deepest[id(call.layer)] = max(own, deepest.get(id(call.layer), 0))
            for source in call.sources:
                depth[id(source.call)] = max(depth.get(id(source.call), 0), own + 1)
        return sorted(self._preorder.values(), key=lambda layer: -deepest[id(layer)])

    def _refs(self, call: Call) -> Any:
        refs = tuple(self._ref(node) for node in call.sources)
        return refs if call.several else refs[0]

    def _ref(self, node: Node) -> Ref:
        return Ref(self.starts[id(node)]) if id(node) in self.starts else Ref(self._numbers[id(node.call)], node.part)


def form(nodes: Any, name: str) -> tuple[str, dict[Any, Node]]:
    """Whether nodes came as one, many or a dict, and they themselves by key."""
    found = nodes if isinstance(nodes, dict) else dict(enumerate(nodes if isinstance(nodes, list | tuple) else [nodes]))
    for key, node in found.items():
        if not isinstance(node, Node):
            raise TypeError(
                f"{name} are nodes, as Input(shape=…) and calls of layers on it give them; got {node!r}"
                + (f" for {key!r}" if isinstance(nodes, dict) else "")
            )
    if not found:
        raise ValueError(f"{name} are empty: give at least one node")
    return "dict" if isinstance(nodes, dict) else "many" if isinstance(nodes, list | tuple) else "one", found


@explained
def Input(
    shape: Any = None,
    batch_shape: Any = None,
    dtype: Any = "float32",
    name: str | None = None,
    batch_input_shape: Any = None,
) -> Node:
    """The node that a graph begins with, to call layers on.

    Args:
        shape: the shape of one example, None for an axis of any size; `()` for one number.
        batch_shape: the same with the batch axis (None) in front; `batch_input_shape` is another name of it.
        dtype: of the arrays that will come: integers for an `Embedding`.
        name: what it is fed by in a dict.

    Raises:
        ValueError: no shape, or one of something else than positive integers.

    >>> x = Input(shape=(28, 28, 1), name="picture")
    >>> x
    <picture (None, 28, 28, 1) float32>
    """
    batch_shape = batch_input_shape if batch_shape is None else batch_shape
    if (shape is None) == (batch_shape is None):
        raise ValueError("Input takes either shape=(…) of one example or batch_shape=(None, …)")
    own = shape_of(shape if batch_shape is None else tuple(batch_shape)[1:], "shape", "Input")
    kind = jax.dtypes.canonicalize_dtype(dtype)
    specs = [jax.ShapeDtypeStruct((1, *(axis or size for axis in own)), kind) for size in OPEN]
    return Node(Call(None, (), False, name=name), None, specs if None in own else specs[:1])


InputLayer = Input


def headless(graph: Graph) -> tuple[Graph, tuple[Any, ...]]:
    """The graph whose outputs lost their last activation where they can, and the activations (None elsewhere)."""
    activations: list[Any] = []
    used = [ref for _, refs in graph.calls for ref in ([refs] if isinstance(refs, Ref) else refs)]
    for ref in graph.outputs:
        i = graph.calls[ref.value - len(graph.inputs)][0] if ref.value >= len(graph.inputs) else None
        alone = i is not None and graph.shared.count(i) == 1 and [*used, *graph.outputs].count(ref) == 1
        activation = None
        if alone and ref.part is None and i is not None:
            graph, activation = split_child(graph, i)
        activations.append(activation)
    return graph, tuple(activations)


def donors(outputs: Any) -> dict[int, Any]:
    """The models that were called on the way to the outputs, by the identity of their layer."""
    found: dict[int, Any] = {}
    stack: list[Node] = list(form(outputs, "outputs")[1].values())
    seen: set[int] = set()
    while stack:
        node = stack.pop()
        if id(node.call) not in seen:
            seen.add(id(node.call))
            stack.extend(node.call.sources)
            if node.call.donor is not None:
                found[id(node.call.layer)] = node.call.donor
    return found
