"""Layers made of layers."""

import collections
import functools
from collections.abc import Iterator
from typing import Any

import jax

from kjax import activations
from kjax.frozen import snake_case
from kjax.nn.errors import inside
from kjax.nn.layer import Layer, Params, State


class Serial(Layer):
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

    layers: tuple[Layer, ...] = ()

    takes_mask = True
    takes_integers = True
    min_ndim = 0

    def validate(self) -> None:
        if not isinstance(self.layers, tuple):
            raise TypeError(f"{type(self).__name__} takes a list of layers; got {self.layers!r}")
        for i, layer in enumerate(self.layers):
            if not isinstance(layer, Layer):
                hint = (
                    f"did you forget the brackets, {layer.__name__}(…)?"
                    if isinstance(layer, type)
                    else "wrap a function in Lambda"
                )
                raise TypeError(f"{type(self).__name__}: layers[{i}] is not a layer: {layer!r} ({hint})")
        _ = self.names

    @functools.cached_property
    def names(self) -> tuple[str, ...]:
        """The layers' names, in order."""
        return unique_names(self.layers)

    @functools.cached_property
    def draws(self) -> bool:  # type: ignore[override]
        return any(layer.draws for layer in self.layers)

    @functools.cached_property
    def needs_rows(self) -> bool:
        return any(layer.needs_rows for layer in self.layers)

    def build(self, key: jax.Array, x: Any) -> tuple[Params, State]:
        params: Params = {}
        state: State = {}
        for i, name, layer in self._children():
            with inside(name, self._position(i), layer, x):
                own_params, own_state = layer.init(jax.random.fold_in(key, i), x)
                x = layer.output(own_params, own_state, x)
            if own_params:
                params[name] = own_params
            if own_state:
                state[name] = own_state
        return params, state

    def call(self, params: Params, state: State, x: Any, training: bool, key: Any) -> tuple[Any, State]:
        new_state = dict(state)
        for i, name, layer in self._children():
            own_key = jax.random.fold_in(key, i) if key is not None and layer.draws else None
            with inside(name, self._position(i), layer, x):
                x, own_state = layer.apply(params.get(name, {}), state.get(name, {}), x, training, own_key)
            if own_state:
                new_state[name] = own_state
        return x, new_state

    def penalty(self, params: Params, state: State) -> jax.Array | float:
        return sum(layer.penalty(params.get(name, {}), state.get(name, {})) for _, name, layer in self._children())

    def constrain(self, params: Params) -> Params:
        return {name: layer.constrain(params[name]) for _, name, layer in self._children() if name in params}

    def partition(self, params: Params) -> tuple[Params, Params]:
        if not self.trainable:
            return {}, params
        halves = {name: layer.partition(params[name]) for _, name, layer in self._children() if name in params}
        trainable, frozen = ({name: half[i] for name, half in halves.items() if half[i]} for i in (0, 1))
        return trainable, frozen

    def _children(self) -> Iterator[tuple[int, str, Layer]]:
        return ((i, name, layer) for i, (name, layer) in enumerate(zip(self.names, self.layers, strict=True)))

    def _position(self, i: int) -> str:
        return f"layer {i + 1} of {len(self.layers)}"


def unique_names(layers: tuple[Layer, ...]) -> tuple[str, ...]:
    """Each layer's given name, or its class in snake case with a number behind it from the second one on."""
    given = collections.Counter(layer.name for layer in layers if layer.name is not None)
    for name, times in given.items():
        if times > 1:
            raise ValueError(f"{times} layers are called {name!r}; give each a name of its own")
    names: list[str] = []
    count: collections.Counter[str] = collections.Counter()
    for layer in layers:
        base = layer.name or snake_case(type(layer).__name__)
        name = base
        while layer.name is None and (name in given or name in names):
            count[base] += 1
            name = f"{base}_{count[base]}"
        names.append(name)
    return tuple(names)


def named_layers(layer: Layer, prefix: str = "") -> Iterator[tuple[str, Layer]]:
    """Every layer inside a container with its path, `block/dense_1`, containers opened; a plain layer has none.

    >>> from kjax import nn
    >>> [path for path, _ in named_layers(nn.Serial([nn.Dense(1), nn.Serial([nn.Dense(1)], name="head")]))]
    ['dense', 'head/dense']
    """
    for name, child in zip(getattr(layer, "names", ()), getattr(layer, "layers", ()), strict=True):
        if getattr(child, "names", None) is None:
            yield prefix + name, child
        else:
            yield from named_layers(child, f"{prefix}{name}/")


def split_activation(layer: Layer) -> tuple[Layer, Any]:
    """The network without its last activation, and that activation; `(layer, None)` where it ends in none.

    `activation(headless.apply(…))` is `layer.apply(…)`, with the same params. Losses use it to work on logits.

    >>> from kjax import nn
    >>> split_activation(nn.Dense(3, activation="softmax"))[0]
    Dense(3)
    """
    if isinstance(layer, Serial) and layer.layers:
        last, activation = split_activation(layer.layers[-1])
        last = last.replace(name=layer.names[-1])
        return layer.replace(layers=(*layer.layers[:-1], last)), activation
    if not layer.ends_in_activation or layer.needs_rows or layer.activation is activations.linear:  # type: ignore[attr-defined]
        return layer, None
    return layer.replace(activation=activations.linear), layer.activation  # type: ignore[attr-defined]
