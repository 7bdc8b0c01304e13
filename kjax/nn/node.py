"""What layers give when they are called on nodes: a promise of an array, with its shape."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import jax

from kjax.nn.errors import inside
from kjax.nn.mask import unmask

if TYPE_CHECKING:
    from kjax.nn.layer import Layer

OPEN = (256, 384)
"""What an axis of any size is taken for while a graph is drawn; where the shapes that follow differ, it stays open."""


class Call:
    """One call of a layer (None for an input) on nodes.

    `several` tells a list of nodes from a single one; `donor` is the model whose weights the layer brings.
    """

    def __init__(
        self, layer: Any, sources: tuple["Node", ...], several: bool, donor: Any = None, name: str | None = None
    ):
        self.layer, self.sources, self.several, self.donor, self.name = layer, sources, several, donor, name


class Node:
    """The output of a layer in a graph that is being drawn. Layers can be called on it, and so can arithmetic:

    >>> from kjax import nn
    >>> a = nn.Input(shape=(4,))
    >>> b = nn.Dense(4)(a) * 2 + a
    >>> b[:, 1:], b.shape
    (<slice (None, 3) float32>, (None, 4))
    """

    __array_priority__ = 1000.0  # so that `array + node` asks the node

    def __init__(self, call: Call, part: int | str | None, specs: Sequence[Any]):
        self.call, self.part, self.specs = call, part, specs

    @property
    def shape(self) -> tuple[int | None, ...]:
        """The shape, None for the batch axis and for what follows from one that an `Input` left open."""
        first, last = (unmask(self.specs[i])[0].shape[1:] for i in (0, -1))
        return (None, *(a if a == b else None for a, b in zip(first, last, strict=True)))

    @property
    def dtype(self) -> Any:
        return unmask(self.specs[0])[0].dtype

    @property
    def ndim(self) -> int:
        """The number of axes, the batch's included."""
        return len(self.shape)

    def __repr__(self) -> str:
        name = self.call.name or ("input" if self.call.layer is None else self.call.layer.label)
        return f"<{name} {self.shape} {self.dtype}>"

    def __getitem__(self, index: Any) -> "Node":
        from kjax.nn.operation import Slice

        return Slice(index)(self)

    def __iter__(self) -> NoReturn:
        raise TypeError(f"{self!r} cannot be iterated over: slice it, node[:, 0]")

    def __bool__(self) -> NoReturn:
        raise TypeError(f"{self!r} has no value yet: it is true or false only inside a Lambda, as an array")

    def __array__(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError(f"{self!r} has no value yet: wrap NumPy's and JAX's functions, Lambda(jnp.tanh)(node)")


def call_on_nodes(layer: "Layer", inputs: tuple[Any, ...], donor: Any = None) -> Any:
    """`layer(node)`, `layer([a, b])` or `layer(a, b)`: the node (or a tuple of nodes) that it gives.

    Raises:
        TypeError: not nodes.
        LayerError: shapes that the layer cannot take.
    """
    several = len(inputs) != 1 or isinstance(inputs[0], list | tuple)
    sources = tuple(inputs if len(inputs) != 1 or not several else inputs[0])
    for source in sources or (None,):
        if not isinstance(source, Node):
            raise TypeError(
                f"{layer!r} was called on {type(source).__name__}. A layer holds no weights: call it on a node, "
                "Input(shape=…), to draw a graph, or use params, state = layer.init(key, x) and layer.apply"
            )
    open_ = max(len(source.specs) for source in sources)
    found = []
    for i in range(open_):
        specs = tuple(source.specs[min(i, len(source.specs) - 1)] for source in sources)
        given = specs if several else specs[0]
        with inside(layer.label, "called on " + ", ".join(map(repr, sources)), layer, given):
            found.append(output_spec(layer, given))
    return nodes_of(Call(layer, sources, several, donor), found)


def nodes_of(call: Call, specs: Sequence[Any]) -> Any:
    """The node that stands for a call's output, or a tuple or dict of them."""
    if isinstance(specs[0], dict):
        return {name: Node(call, name, [spec[name] for spec in specs]) for name in specs[0]}
    if isinstance(specs[0], tuple):
        return tuple(Node(call, i, parts) for i, parts in enumerate(zip(*specs, strict=True)))
    return Node(call, None, specs)


def output_spec(layer: "Layer", x: Any) -> Any:
    """The shapes and dtypes that a fresh layer gives for inputs like `x`; nothing is computed."""

    def run(x: Any) -> Any:
        params, state = layer.init(jax.random.key(0), x)
        return layer.apply(params, state, x)[0]

    return jax.eval_shape(run, x)
