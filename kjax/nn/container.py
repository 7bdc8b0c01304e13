"""What all layers made of layers share: names, states and keys of their own for each of them."""

import collections
import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax

from kjax.nn.errors import inside
from kjax.nn.layer import Layer, Params, State

Visit = Callable[[int, int, Any], Any]


class Container(Layer):
    """Base of `Serial` and `Graph`: a layer that has a field `layers`.

    `params` and `state` are dicts keyed by layer name, without entries for layers that have none. A name is the
    layer's `name=` or its class in snake case, made unique within this container: `dense`, `dense_1`.
    """

    takes_mask = True
    takes_integers = True
    min_ndim = 0
    pays_for_activity = False
    computes_wide = True
    made_of_layers = True

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers; a field of subclasses, or derived from theirs."""
        raise NotImplementedError(f"{type(self).__name__} says nothing of its layers")

    def validate(self) -> None:
        for i, layer in enumerate(self.layers):
            if not isinstance(layer, Layer):
                hint = (
                    f"did you forget the brackets, {layer.__name__}(…)?"
                    if isinstance(layer, type)
                    else getattr(layer, "instead_of_a_layer", "wrap a function in Lambda")
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

    def effective(self, params: Params, state: State) -> Params:
        """The params that the layers run on outside of training: `params`, or what a subclass makes of them."""
        return params

    def penalty(self, params: Params, state: State) -> jax.Array | float:
        params = self.effective(params, state)
        return sum(layer.penalty(params.get(name, {}), state.get(name, {})) for name, layer in self._named())

    def constrain(self, params: Params) -> Params:
        return {name: layer.constrain(params[name]) for name, layer in self._named() if name in params}

    def partition(self, params: Params) -> tuple[Params, Params]:
        if not self.trainable:
            return {}, params
        halves = {name: layer.partition(params[name]) for name, layer in self._named() if name in params}
        trainable, frozen = ({name: half[i] for name, half in halves.items() if half[i]} for i in (0, 1))
        return trainable, frozen

    def run(self, x: Any, visit: Visit, training: bool = False) -> Any:
        """Calls `visit(layer number, call number, input)` for each call of a layer, in order; returns the output.

        What a container is made of: `build`, `call`, summaries and pictures of it all follow from this.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no run(self, x, visit, training)")

    def build(self, key: jax.Array, x: Any) -> tuple[Params, State]:
        params: Params = {}
        state: State = {}
        self.run(x, lambda i, number, given: self.init_child(i, key, given, params, state))
        return self._in_order(params), self._in_order(state)

    def _in_order(self, tree: dict[str, Any]) -> dict[str, Any]:
        """In the order of the layers, which may first be called in another."""
        return {name: tree[name] for name in self.names if name in tree}

    def call(self, params: Params, state: State, x: Any, training: bool, key: Any) -> tuple[Any, State]:
        new_state, called = dict(state), set()

        def visit(i: int, number: int, given: Any) -> Any:
            before = new_state.get(self.names[i], {}) if i in called else {}
            called.add(i)
            own_key = jax.random.fold_in(key, number) if key is not None and self.layers[i].draws else None
            y = self.apply_child(i, own_key, given, params, new_state, training)
            if before:
                new_state[self.names[i]] = with_earlier(new_state[self.names[i]], before)
            return y

        return self.run(x, visit, training), new_state

    def init_child(self, i: int, key: jax.Array, x: Any, params: Params, state: State) -> Any:
        """Makes the arrays of layer `i` for inputs like `x`, puts them into both dicts, returns its output's shape."""
        name, layer = self.names[i], self.layers[i]
        with inside(name, self.position(i), layer, x):
            if name not in params and name not in state:
                own_params, own_state = layer.init(jax.random.fold_in(key, i), x)
                params.update({name: own_params} if own_params else {})
                state.update({name: own_state} if own_state else {})
            return layer.output(params.get(name, {}), state.get(name, {}), x)

    def apply_child(self, i: int, key: Any, x: Any, params: Params, state: State, training: bool) -> Any:
        """The output of layer `i`; its new state goes into the dict. `key` is the call's own."""
        name, layer = self.names[i], self.layers[i]
        with inside(name, self.position(i), layer, x):
            y, own_state = layer.apply(params.get(name, {}), state.get(name, {}), x, training, key)
        state.update({name: own_state} if own_state else {})
        return y

    def position(self, i: int) -> str:
        """Where layer `i` stands, for messages."""
        return f"layer {i + 1} of {len(self.layers)}"

    def with_layers(self, layers: tuple[Layer, ...]) -> Any:
        """This container with other layers under the old names."""
        return self.replace(layers=layers)

    def _named(self) -> Iterator[tuple[str, Layer]]:
        return zip(self.names, self.layers, strict=True)


def with_earlier(state: State, before: State) -> State:
    """A state whose penalties count those of an earlier call too: a shared layer costs as often as it is called."""
    return {
        name: value + before[name] if name == "penalty"
        else with_earlier(value, before.get(name, {})) if isinstance(value, dict) else value
        for name, value in state.items()
    }  # fmt: skip


def unique_names(layers: tuple[Layer, ...]) -> tuple[str, ...]:
    """Each layer's given name, or its class in snake case with a number behind it from the second one on."""
    given = collections.Counter(layer.name for layer in layers if layer.name is not None)
    for name, times in given.items():
        if times > 1:
            raise ValueError(f"{times} layers are called {name!r}; give each a name of its own")
    return numbered([layer.label for layer in layers], set(given))


def numbered(names: list[str], taken: set[str]) -> tuple[str, ...]:
    """The names made unique by a number behind them, `taken` ones staying as they are.

    >>> numbered(["dense", "head", "dense"], {"head"})
    ('dense', 'head', 'dense_1')
    """
    found: dict[str, None] = {}
    count: collections.Counter[str] = collections.Counter()
    for base in names:
        name = base
        while base not in taken and (name in taken or name in found):
            count[base] += 1
            name = f"{base}_{count[base]}"
        found[name] = None
    return tuple(found)


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


def all_layers(layer: Layer, prefix: str = "") -> Iterator[tuple[str, Layer]]:
    """Like `named_layers`, containers included, each before what is in it."""
    for name, child in zip(getattr(layer, "names", ()), getattr(layer, "layers", ()), strict=True):
        yield prefix + name, child
        yield from all_layers(child, f"{prefix}{name}/")
