"""Layers one after the other."""

from typing import Any

import jax

from kjax import activations
from kjax.nn.container import Container, Visit
from kjax.nn.layer import Layer, Params, State
from kjax.nn.mask import plain


class Chain(Container):
    """Base of containers that have a field `layers` and call them one after the other."""

    layers: tuple[Layer, ...] = ()

    def validate(self) -> None:
        if not isinstance(self.layers, tuple):
            raise TypeError(f"{type(self).__name__} takes a list of layers; got {self.layers!r}")
        super().validate()

    def run(self, x: Any, visit: Visit, training: bool = False) -> Any:
        for i in range(len(self.layers)):
            x = visit(i, i, x)
        return x


class Serial(Chain):
    """Layers one after the other; a layer itself.

    `params` and `state` are dicts keyed by layer name, without entries for layers that have none. A name is the
    layer's `name=` or its class in snake case, made unique within this container: `dense`, `dense_1`.

    Args:
        layers: the layers, in order; a container among them is a block with its own names.

    Raises:
        TypeError: something is not a layer.
        ValueError: two layers were given the same `name=`.

    >>> import jax, jax.numpy as jnp
    >>> from kjax import nn
    >>> net = nn.Serial([nn.Dense(4, activation="relu"), nn.Dense(2)])
    >>> params, state = net.init(jax.random.key(0), jnp.ones((1, 3)))
    >>> jax.tree.map(jnp.shape, params)
    {'dense': {'bias': (4,), 'kernel': (3, 4)}, 'dense_1': {'bias': (2,), 'kernel': (4, 2)}}
    >>> y, state = net.apply(params, state, jnp.ones((5, 3)))
    >>> y.shape
    (5, 2)
    """


Pipeline = Serial  # Keras's name for layers in a row that prepare data


class Residual(Chain):
    """What its layers, one after the other, add to their input: `x + layers(x)`. The input's mask stays.

    Args:
        layers: the layers, in order, as in `Serial`.

    Raises:
        LayerError: the layers give another shape than they take.

    Source: He et al., "Deep residual learning for image recognition", 2015 (arXiv:1512.03385).

    >>> import jax, jax.numpy as jnp
    >>> from kjax import nn
    >>> block = nn.Residual([nn.Dense(8, activation="relu"), nn.Dense(3)])
    >>> params, state = block.init(jax.random.key(0), jnp.ones((1, 3)))
    >>> block.apply(params, state, jnp.ones((5, 3)))[0].shape
    (5, 3)
    """

    computes_wide = False  # the sum's two sides are to have one dtype

    def build(self, key: jax.Array, x: Any) -> tuple[Params, State]:
        return Serial(self.layers).build(key, x)  # there is nothing to add where only shapes go through

    def run(self, x: Any, visit: Visit, training: bool = False) -> Any:
        value, y = plain(x), plain(super().run(x, visit, training))
        if value.shape != y.shape:
            self.refuse(f"adds what its layers give to their input, but that has shape {y.shape}", value)
        return value + y


def split_activation(layer: Layer) -> tuple[Layer, Any]:
    """The network without its last activation, and that activation; `(layer, None)` where it ends in none.

    `activation(headless.apply(…))` is `layer.apply(…)`, with the same params. Losses use it to work on logits.

    >>> from kjax import nn
    >>> split_activation(nn.Dense(3, activation="softmax"))[0]
    Dense(3)
    """
    if isinstance(layer, Serial) and layer.layers:
        return split_child(layer, len(layer.layers) - 1)
    if not layer.ends_in_activation or layer.needs_rows or layer.activation is activations.linear:  # type: ignore[attr-defined]
        return layer, None
    return layer.replace(activation=activations.linear), layer.activation  # type: ignore[attr-defined]


def split_child(container: Container, i: int) -> tuple[Any, Any]:
    """The container whose layer `i`, under its old name, lost its last activation, and that activation."""
    headless, activation = split_activation(container.layers[i])
    if activation is None:
        return container, None
    layers = list(container.layers)
    layers[i] = headless.replace(name=container.names[i])
    return container.replace(layers=tuple(layers)), activation
